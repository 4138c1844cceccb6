"""graphql-transport-ws, message by message.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from gateway.settings import Settings
from repositories.aggregates.event_store import EventStore, row_of_event
from repositories.core.clock import now
from repositories.identity import UserDeactivated, UserSuspended
from repositories.tables.identity import User
from tests.api.client import Gateway, gid
from tests.api.people import PASSWORD, make_member, open_session, refresh
from tests.api.sockets import MY_EVENTS, PROTOCOL, Peer, serve_sockets
from tests.databases import ON_SQLITE
from tests.factories import viewer_of

INIT = {"type": "connection_init"}
QUERY = {"query": "{ __typename }"}

MALFORMED: list[tuple[str | bytes, str]] = [
    (b"{}", "Messages must be text, not binary."),
    ("", "The message is not JSON: Input is a zero-length, empty document: line 1 column 1 (char 0)."),
    ("{", "The message is not JSON: unexpected end of data: line 1 column 2 (char 1)."),
    ("[" * 65 + "]" * 65, "The message is nested more than 64 levels deep."),
    ("[]", "A message must be a JSON object with a `type`."),
    ("{}", "A message must be a JSON object with a `type`."),
    ('{"type": 1}', "A message must be a JSON object with a `type`."),
    ('{"type": "start"}', 'Clients must not send messages of type "start".'),
    ('{"type": "next", "id": "1"}', 'Clients must not send messages of type "next".'),
    ('{"type": "connection_ack"}', 'Clients must not send messages of type "connection_ack".'),
    ('{"type": "connection_init", "payload": 1}', "`payload` of `connection_init` must be an object."),
    ('{"type": "ping", "payload": []}', "`payload` of `ping` must be an object."),
    ('{"type": "pong", "payload": "x"}', "`payload` of `pong` must be an object."),
    ('{"type": "complete"}', "`id` of `complete` must be a string of 1 to 128 characters."),
    ('{"type": "subscribe", "id": ""}', "`id` of `subscribe` must be a string of 1 to 128 characters."),
    ('{"type": "subscribe", "id": 1}', "`id` of `subscribe` must be a string of 1 to 128 characters."),
    (f'{{"type": "subscribe", "id": "{"x" * 129}"}}', "`id` of `subscribe` must be a string of 1 to 128 characters."),
    (f'{{"type": "complete", "id": "{"x" * 129}"}}', "`id` of `complete` must be a string of 1 to 128 characters."),
    ('{"type": "subscribe", "id": "1", "payload": 1}', "`payload` of `subscribe` must be an object."),
]
MALFORMED_PAYLOADS: list[tuple[Any, str]] = [
    (None, 'The body must be a JSON object such as {"query": "{ viewer { id } }"}.'),
    ({}, "`query` is missing: send the text of the operation."),
    ({"query": 1}, "`query` must be a string."),
    ({**QUERY, "operationName": 1}, "`operationName` must be a string."),
    ({**QUERY, "variables": []}, "`variables` must be an object."),
    ({**QUERY, "extensions": "x"}, "`extensions` must be an object."),
]


@pytest.fixture
def logs_no_warning(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """For what a client does wrong, which is no fault of the gateway."""
    yield
    assert [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING] == []


@ON_SQLITE
async def test_malformed_message_closes_the_socket_with_4400(gateway: Gateway) -> None:
    async with serve_sockets(gateway) as site:
        for message, reason in MALFORMED:
            async with site.peer() as peer:
                await peer.connection.send(message)
                assert await peer.wait_closed() == (4400, reason), message
        for payload, reason in MALFORMED_PAYLOADS:
            async with site.initialised_peer() as peer:
                await peer.send("subscribe", id="1", payload=payload)
                assert await peer.wait_closed() == (4400, f"`payload` of `subscribe`: {reason}"), payload


@ON_SQLITE
async def test_close_codes_of_the_protocol(gateway: Gateway) -> None:
    async with serve_sockets(gateway) as site:
        async with site.peer() as peer:
            await peer.subscribe("1", "{ __typename }")
            assert await peer.wait_closed() == (4401, "Unauthorized")
        async with site.initialised_peer() as peer:
            await peer.send("connection_init")
            assert await peer.wait_closed() == (4429, "Too many initialisation requests")
        async with site.peer() as peer:
            await asyncio.gather(peer.send("connection_init"), peer.send("connection_init"))
            assert await peer.wait_closed() == (4429, "Too many initialisation requests")
        for subprotocols in (None, ["graphql-ws"], ["soap", "graphql-ws"]):
            async with site.peer(subprotocols=subprotocols) as peer:
                assert peer.connection.subprotocol is None
                assert await peer.wait_closed() == (4406, "Subprotocol not acceptable")
        async with site.peer(subprotocols=["graphql-ws", PROTOCOL]) as peer:
            assert peer.connection.subprotocol == PROTOCOL
            await peer.initialise()
        async with site.peer() as peer:
            await peer.connection.send(" " * 256_001)
            assert (await peer.wait_closed())[0] == 1009


@ON_SQLITE
async def test_operation_ids_are_unique_while_in_use(gateway: Gateway, ada: User) -> None:
    async with serve_sockets(gateway) as site:
        for key in ("one", "é" * 100):
            async with site.initialised_peer(gateway.token(ada)) as peer:
                await peer.subscribe(key, MY_EVENTS)
                await peer.subscribe(key, "{ __typename }")
                reason = f"Subscriber for {key} already exists".encode()[:123].decode(errors="ignore")
                assert await peer.wait_closed() == (4409, reason)
        async with site.initialised_peer(gateway.token(ada)) as peer:
            for _ in range(3):
                await peer.subscribe("again", MY_EVENTS)
                await peer.send("complete", id="again")
            await peer.wait_until_started()
            await site.wait_for_subscribers(1)  # the one that waits for the end of the session


@ON_SQLITE
async def test_connection_must_be_initialised_in_time(gateway: Gateway) -> None:
    impatient_gateway = Gateway(gateway.database, settings=Settings(socket_init_timeout=0.5))
    async with serve_sockets(impatient_gateway) as site:
        async with site.peer() as peer:
            await peer.send("ping")
            assert await peer.receive() == {"type": "pong"}
            assert await peer.wait_closed() == (4408, "Connection initialisation timeout")
        async with site.initialised_peer() as peer:
            await asyncio.sleep(0.6)
            await peer.wait_until_started()


@ON_SQLITE
async def test_pings_are_answered_and_pongs_ignored(gateway: Gateway) -> None:
    async with serve_sockets(gateway) as site, site.peer() as peer:
        await peer.send("pong")
        await peer.send("complete", id="unknown")
        await peer.send("ping")
        assert await peer.receive() == {"type": "pong"}
        await peer.initialise()
        await peer.send("pong", payload={"a": 1})
        await peer.send("complete", id="unknown")
        await peer.send("ping", payload=None)
        assert await peer.receive() == {"type": "pong"}
        await peer.send("ping", payload={"at": [1, {"b": "é"}]})
        assert await peer.receive() == {"type": "pong", "payload": {"at": [1, {"b": "é"}]}}


@ON_SQLITE
@pytest.mark.parametrize(
    ("allowed", "origin", "headers", "status"),
    [
        ("", "own", {}, 101),
        ("", "https://evil.example", {}, 403),
        ("", "null", {}, 403),
        ("", "http://[x", {}, 403),
        ("", "http://[::1", {}, 403),
        ("", "http://a]:b", {}, 403),
        ("", "http://\xbd:1", {}, 403),
        ("", "://", {}, 403),
        ("", "", {}, 403),
        ("https://app.example.com", "http://[x", {}, 403),
        ("", "OWN", {}, 101),
        ("", "https://behind.example", {"Sec-Fetch-Site": "same-origin"}, 101),
        ("https://app.example.com", "https://app.example.com", {"Sec-Fetch-Site": "cross-site"}, 101),
        ("https://app.example.com", "https://app.example.com.evil.example", {}, 403),
        ("*", "https://any.example", {}, 101),
    ],
)
@pytest.mark.usefixtures("logs_no_warning")
async def test_pages_of_other_origins_cannot_connect(
    gateway: Gateway, allowed: str, origin: str, headers: dict[str, str], status: int
) -> None:
    configured_gateway = Gateway(gateway.database, settings=Settings(cors_origins=allowed))
    async with serve_sockets(configured_gateway) as site:
        given: Any = {
            "origin": {"own": site.http, "OWN": site.http.upper()}.get(origin, origin),
            "additional_headers": headers,
        }
        if status == 101:
            async with site.peer(**given) as peer:
                await peer.initialise()
                return
        with pytest.raises(InvalidStatus) as caught:
            async with site.peer(**given):
                pass
    response = caught.value.response
    assert (response.status_code, json.loads(response.body)) == (
        403,
        {
            "errors": [
                {
                    "message": "Pages of this origin may not connect: GATEWAY_CORS_ORIGINS does not list it.",
                    "extensions": {"code": "FORBIDDEN"},
                }
            ]
        },
    )


@ON_SQLITE
@pytest.mark.parametrize("path", ["/", "/health", "/graphql/", "/graphql%20", "/explorer/start", "/none"])
@pytest.mark.usefixtures("logs_no_warning")
async def test_sockets_on_other_paths_are_not_found(gateway: Gateway, path: str) -> None:
    async with serve_sockets(gateway) as site:
        site.address = site.http.replace("http:", "ws:") + path
        with pytest.raises(InvalidStatus) as caught:
            async with site.peer():
                pass
    error = {"message": "WebSockets are opened on /graphql.", "extensions": {"code": "NOT_FOUND"}}
    assert (caught.value.response.status_code, json.loads(caught.value.response.body)) == (404, {"errors": [error]})


WHO = "{ viewer { email } }"
UNAUTHENTICATED = [
    {
        "message": "Sign in first: send an Authorization header with a bearer token.",
        "locations": [{"line": 1, "column": 16}],
        "path": ["myEvents"],
        "extensions": {"code": "UNAUTHENTICATED"},
    }
]


@ON_SQLITE
async def test_token_is_sent_in_the_payload_or_in_a_header(gateway: Gateway, ada: User, bob: User) -> None:
    adas, bobs = (f"Bearer {gateway.token(user)}" for user in (ada, bob))
    cases: list[tuple[dict[str, str], Any, str | None]] = [
        ({}, {"Authorization": adas}, "ada@example.com"),
        ({}, {"authorization": adas}, "ada@example.com"),
        ({"Authorization": adas}, None, "ada@example.com"),
        ({"Authorization": adas}, {"Authorization": None}, "ada@example.com"),
        ({"Authorization": adas}, {"Authorization": bobs}, "bob@example.com"),
        ({}, {"token": adas}, None),
    ]
    async with serve_sockets(gateway) as site:
        for headers, payload, email in cases:
            async with site.peer(additional_headers=headers) as peer:
                await peer.send("connection_init", payload=payload)
                assert await peer.receive() == {"type": "connection_ack"}
                assert (await peer.ask(WHO))["data"] == {"viewer": {"email": email} if email else None}


@ON_SQLITE
async def test_invalid_token_closes_the_socket_with_4403(gateway: Gateway, ada: User) -> None:
    reason = "Forbidden: The Authorization header is not valid. Send `Bearer` and a current token, or no header at all."
    late = gateway.tokens.issue(ada, frozenset(), -31)
    async with serve_sockets(gateway) as site:
        for given in ("", "Bearer", "Bearer nonsense", 7, f"Basic {gateway.token(ada)}", f"Bearer {late}"):
            async with site.peer() as peer:
                await peer.send("connection_init", payload={"Authorization": given})
                assert await peer.wait_closed() == (4403, reason)
        async with site.peer(additional_headers={"Authorization": "Bearer nonsense"}) as peer:
            await peer.send("connection_init")
            assert await peer.wait_closed() == (4403, reason)


@ON_SQLITE
async def test_rejected_operation_leaves_the_socket_open(gateway: Gateway, ada: User) -> None:
    async with serve_sockets(gateway) as site:
        async with site.initialised_peer() as peer:
            assert await peer.ask(MY_EVENTS) == UNAUTHENTICATED
            assert await peer.ask(WHO) == {"data": {"viewer": None}}
        async with site.initialised_peer(gateway.token(ada)) as peer:
            errors = await peer.ask("subscription { domainEvents { id } }")
            assert [error["extensions"] for error in errors] == [{"code": "FORBIDDEN"}]
            unknown = await peer.ask('subscription { myEvents(types: ["TaskComplete"]) { id } }')
            assert [error["message"] for error in unknown] == [
                "There is no `TaskComplete`. Did you mean `TaskCompleted`?"
            ]
            codes = {
                "": "GRAPHQL_PARSE_FAILED",
                "{": "GRAPHQL_PARSE_FAILED",
                "{ nonsense }": "GRAPHQL_VALIDATION_FAILED",
                "query($id: ID!) { node(id: $id) { id } }": "GRAPHQL_VALIDATION_FAILED",
                "subscription { a: myEvents { id } b: myEvents { id } }": "GRAPHQL_VALIDATION_FAILED",
            }
            for text, code in codes.items():
                assert [error["extensions"]["code"] for error in await peer.ask(text)] == [code], text
            assert await peer.ask(WHO) == {"data": {"viewer": {"email": "ada@example.com"}}}


async def test_queries_and_mutations_have_one_response(gateway: Gateway, ada: User) -> None:
    """It can contain errors beside data, and the cost on request. Persisted queries work as well."""
    create = "mutation($title: String!) { createTask(input: {title: $title}) { task { title } } }"
    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(ada)) as peer:
        result = await peer.ask(create, variables={"title": "From a socket"})
        assert result == {"data": {"createTask": {"task": {"title": "From a socket"}}}}
        both = await peer.ask('{ tasks { nodes { title } } node(id: "nonsense") { id } }')
        assert both["data"] == {"tasks": {"nodes": [{"title": "From a socket"}]}, "node": None}
        assert [error["extensions"]["code"] for error in both["errors"]] == ["VALIDATION_ERROR"]
        costly = await peer.ask(WHO, extensions={"cost": True})
        assert costly["extensions"]["cost"]["limit"] == 100_000
        document = "query A { viewer { email } } query B { viewer { firstName } }"
        key = {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(document.encode()).hexdigest()}}
        lost = await peer.ask("", extensions=key)
        assert [error["extensions"]["code"] for error in lost] == ["PERSISTED_QUERY_NOT_FOUND"]
        for text in (document, ""):
            response = await peer.ask(text, extensions=key, operationName="B")
            assert response == {"data": {"viewer": {"firstName": "Ada"}}}


async def test_subscription_delivers_until_it_is_completed(gateway: Gateway, ada: User, bob: User) -> None:
    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(ada)) as peer:
        await peer.subscribe("events", MY_EVENTS)
        await peer.subscribe("tasks", "subscription { taskChanged { eventType task { title } } }")
        await site.wait_for_subscribers(3)
        await gateway.client(bob).do("createTask", "task { id }", title="Bob's")
        await gateway.client(ada).do("createTask", "task { id }", title="Ada's")
        messages = {}
        for _ in range(2):
            message = await peer.receive()
            messages[message.pop("id")] = message
        assert {key: (message["type"], message["payload"]["data"]) for key, message in messages.items()} == {
            "events": ("next", {"myEvents": {"eventType": "TaskCreated"}}),
            "tasks": ("next", {"taskChanged": {"eventType": "TaskCreated", "task": {"title": "Ada's"}}}),
        }
        ids = {message["payload"]["extensions"]["id"] for message in messages.values()}
        assert len(ids) == 1
        await peer.send("complete", id="events")
        await site.wait_for_subscribers(2)
        await gateway.client(ada).do("createTask", "task { id }", title="Another")
        assert (await peer.receive())["id"] == "tasks"
        await peer.wait_until_started()


async def test_resumed_subscription_misses_no_event(gateway: Gateway, ada: User) -> None:
    token, client = gateway.token(ada), gateway.client(ada)
    created = "subscription { taskChanged { task { title } } }"

    async def receive_title(peer: Peer) -> tuple[str, str]:
        payload = (await peer.receive())["payload"]
        return payload["data"]["taskChanged"]["task"]["title"], payload["extensions"]["id"]

    async with serve_sockets(gateway) as site:
        async with site.initialised_peer(token) as peer:
            await peer.subscribe("1", created)
            await site.wait_for_subscribers(2)
            await client.do("createTask", "task { id }", title="First")
            title, last = await receive_title(peer)
            assert title == "First"
        for title in ("Second", "Third"):
            await client.do("createTask", "task { id }", title=title)
        async with site.initialised_peer(token) as peer:
            await peer.subscribe("1", created, extensions={"lastEventId": last})
            assert [(await receive_title(peer))[0] for _ in range(2)] == ["Second", "Third"]
            await client.do("createTask", "task { id }", title="Fourth")
            assert (await receive_title(peer))[0] == "Fourth"
            for unknown in ("nonsense", "01890000-0000-7000-8000-000000000000"):
                errors = await peer.ask(created, extensions={"lastEventId": unknown})
                assert errors == [
                    {
                        "message": "There is no such event. "
                        "Subscribe again without the id, and read the current state.",
                        "extensions": {"code": "CANNOT_RESUME"},
                    }
                ]
            (error,) = await peer.ask(created, extensions={"lastEventId": 7})
            assert error["extensions"] == {"code": "BAD_REQUEST"}


# the end of a socket


@ON_SQLITE
async def test_socket_ends_with_its_token(gateway: Gateway, ada: User) -> None:
    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.tokens.issue(ada, frozenset(), 1)) as peer:
        await peer.subscribe("1", MY_EVENTS)
        assert await peer.wait_closed() == (
            4403,
            "Forbidden: The token has expired: connect again with a current token.",
        )


ENDED = (4403, "Forbidden: The session has ended: sign in again.")


@pytest.mark.usefixtures("cheap_passwords")
async def test_socket_ends_with_its_session(gateway: Gateway, admin: User) -> None:
    """Covers every way in which a session ends. Sockets of other sessions go on, unless those sessions end too."""
    ada = await make_member(gateway.database)
    async with serve_sockets(gateway) as site:
        for how in ("sign out", "revoke", "administrator", "reuse", "password"):
            other, others = await open_session(gateway)
            client, tokens = await open_session(gateway)
            async with (
                site.initialised_peer(tokens["accessToken"]) as peer,
                site.initialised_peer(others["accessToken"]) as bystander,
            ):
                await peer.subscribe("1", MY_EVENTS)
                if how == "sign out":
                    await client.do("signOut", "sessions { id }")
                elif how == "administrator":
                    current = await client.data("{ mySessions(first: 50) { nodes { id isCurrent } } }")
                    (key,) = [node["id"] for node in current["mySessions"]["nodes"] if node["isCurrent"]]
                    await gateway.client(admin).do("revokeSession", "session { id }", id=key)
                elif how == "revoke":
                    mine = await other.data("{ mySessions(first: 50) { nodes { id isCurrent } } }")
                    current = await client.data("{ mySessions(first: 50) { nodes { id isCurrent } } }")
                    (key,) = [node["id"] for node in current["mySessions"]["nodes"] if node["isCurrent"]]
                    assert key in {node["id"] for node in mine["mySessions"]["nodes"]}
                    await other.do("revokeSession", "session { id }", id=key)
                elif how == "reuse":
                    await refresh(gateway.client(), tokens["refreshToken"])
                    await refresh(gateway.client(), tokens["refreshToken"])
                else:
                    changed = {"currentPassword": PASSWORD, "newPassword": f"{PASSWORD}!"}
                    await other.do("changePassword", "user { id }", **changed)
                assert await peer.wait_closed() == ENDED, how
                await bystander.wait_until_started()
            async with site.peer() as peer:
                await peer.send("connection_init", payload={"Authorization": f"Bearer {tokens['accessToken']}"})
                assert await peer.wait_closed() == (4403, "Forbidden: This session has ended. Sign in again.")
        async with (
            site.initialised_peer(gateway.token(ada)) as without_session,
            site.initialised_peer(gateway.token(admin)) as bystander,
        ):
            await gateway.client(admin).do("suspendUser", "user { id }", id=gid("User", ada))
            assert await without_session.wait_closed() == ENDED
            await bystander.wait_until_started()


async def test_subscription_has_started_before_the_next_message(gateway: Gateway, ada: User) -> None:
    """A client that subscribes and then writes gets the event, without knowing how long subscribing takes."""
    create = 'mutation { createCategory(input: {name: "%s", color: "#000000"}) { userErrors { message } } }'
    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(ada)) as peer:
        for number in range(10):
            await peer.subscribe(f"events {number}", MY_EVENTS)
            await peer.subscribe(f"create {number}", create % number)
            messages = [await peer.receive() for _ in range(3)]
            assert {(one["id"], one["type"]) for one in messages} == {
                (f"events {number}", "next"),
                (f"create {number}", "next"),
                (f"create {number}", "complete"),
            }
            await peer.send("complete", id=f"events {number}")
            await site.wait_for_subscribers(1)


async def test_forged_event_does_not_end_the_socket_of_another_user(gateway: Gateway, ada: User, bob: User) -> None:
    """Policies let users insert events without the gateway, so the gateway checks the session itself."""
    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(ada)) as peer:
        await peer.subscribe("1", "subscription { lifeLockDashboard { totalTasks } }")
        assert (await peer.receive())["id"] == "1"
        for kind in (UserSuspended, UserDeactivated, UserSuspended):
            async with gateway.database.transaction(viewer_of(bob)) as write:
                await EventStore(write).load([row_of_event(kind(ada.id, ada.id), actor=bob.id, at=now())])
            await site.feed.catch_up()
        await gateway.client(ada).do("createTask", "task { id }", title="x")
        assert (await peer.receive())["payload"]["data"] == {"lifeLockDashboard": {"totalTasks": 1}}
        await peer.wait_until_started()
