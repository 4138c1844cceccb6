"""GraphQL over server-sent events on a real socket, byte by byte, in graphql-sse's distinct connections mode."""

import json
from typing import Any

import pytest

from gateway.settings import Settings
from repositories.core.ids import new_id
from repositories.engines.database import Database
from repositories.tables.identity import User
from tests.api.client import Gateway
from tests.api.event_streams import (
    BEGINNING,
    CHANGES,
    COMPLETE,
    codes,
    create,
    created,
    event_of,
    feed_of,
    open_event_stream,
    request_stream,
    run_gateway,
    without_retry_line,
)
from tests.api.stored_rows import life_lock_rows
from tests.databases import ON_SQLITE
from tests.waiting import until

CREATE = 'mutation { createTask(input: {title: "Over SSE"}) { task { title } } }'


async def test_subscription_is_a_stream_of_events(gateway: Gateway, ada: User, bob: User) -> None:
    """Compares every byte. The viewer gets only events about rows that are visible to the viewer."""
    async with (
        run_gateway(gateway) as address,
        open_event_stream(gateway, address, CHANGES, ada, X_Request_ID="mine") as stream,
    ):
        await create(gateway, bob, "Not hers")
        await create(gateway, ada, "First", "Second")
        chunks = [await stream.chunk(), await stream.chunk()]
        ids = [event_of(chunk)[0] for chunk in chunks]
        assert chunks == [
            f'event: next\nid: {key}\ndata: {{"data":{{"taskChanged":{{"eventType":"TaskCreated","task":'
            f'{{"title":"{title}"}}}}}},"extensions":{{"id":"{key}"}}}}\n\n'.encode()
            for key, title in zip(ids, ("First", "Second"), strict=True)
        ]
        assert len(set(ids)) == 2
        stream.headers.pop("date")
        stream.headers.pop("server")
        assert stream.headers == {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            "x-request-id": "mine",
            "transfer-encoding": "chunked",
        }


async def test_live_query_responds_at_once_and_after_changes(database: Database, ada: User) -> None:
    gateway = Gateway(database, settings=Settings(live_interval=0))
    document = "subscription { lifeLockDashboard { totalTasks } }"
    async with run_gateway(gateway) as address, open_event_stream(gateway, address, document, ada) as stream:
        assert await stream.next() == (None, {"data": {"lifeLockDashboard": {"totalTasks": 0}}})
        await create(gateway, ada, "New")
        assert await stream.next() == (None, {"data": {"lifeLockDashboard": {"totalTasks": 1}}})


@ON_SQLITE
@pytest.mark.parametrize(
    ("document", "response"),
    [
        ("{ viewer { email } }", {"data": {"viewer": {"email": "ada@example.com"}}}),
        (CREATE, {"data": {"createTask": {"task": {"title": "Over SSE"}}}}),
    ],
)
async def test_query_or_mutation_is_one_event(gateway: Gateway, ada: User, document: str, response: Any) -> None:
    async with run_gateway(gateway) as address, request_stream(address, document, gateway.token(ada)) as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        data = json.dumps(response, separators=(",", ":")).encode()
        assert await stream.body() == b"event: next\ndata: " + data + b"\n\n" + COMPLETE


@ON_SQLITE
@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
        ("subscription { nonsense }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription($x: Int!) { taskChanged(ids: [$x]) { eventType } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ nonsense }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ tasks(first: 500) { nodes { category { tasks(first: 500) { nodes { id } } } } } }", "QUERY_TOO_COMPLEX"),
    ],
)
async def test_operation_errors_are_sent_in_the_stream(gateway: Gateway, document: str, code: str) -> None:
    """The protocol demands it: a client that gets a status 400 cannot read the reason."""
    async with run_gateway(gateway) as address, request_stream(address, document) as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert codes(await stream.body()) == [code]


@ON_SQLITE
@pytest.mark.parametrize(
    ("document", "is_signed_in", "code"),
    [
        (CHANGES, False, "UNAUTHENTICATED"),
        ("subscription { domainEvents { id } }", True, "FORBIDDEN"),
        ('subscription { myEvents(types: ["Nonsense"]) { id } }', True, "VALIDATION_ERROR"),
    ],
)
async def test_rejected_subscription_is_an_error_in_the_stream(
    gateway: Gateway, ada: User, document: str, code: str, *, is_signed_in: bool
) -> None:
    token = gateway.token(ada) if is_signed_in else None
    async with run_gateway(gateway) as address, request_stream(address, document, token) as stream:
        assert codes(without_retry_line(await stream.rest())) == [code]


@ON_SQLITE
@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"token": "nonsense"}, 401, "UNAUTHENTICATED"),
        ({"Content_Type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({"document": ""}, 400, "BAD_REQUEST"),
        ({"method": "PUT"}, 405, "METHOD_NOT_ALLOWED"),
        ({"method": "DELETE"}, 405, "METHOD_NOT_ALLOWED"),
        ({"method": "GET", "document": CREATE}, 405, "METHOD_NOT_ALLOWED"),
        ({"method": "GET", "Sec_Fetch_Site": "cross-site", "Origin": "https://evil.example"}, 403, "FORBIDDEN"),
        ({"Accept": "application/json"}, 400, "BAD_REQUEST"),
        ({"Accept": "*/*"}, 400, "BAD_REQUEST"),
        ({"Accept": "text/event-stream;q=0, */*"}, 400, "BAD_REQUEST"),
        ({"Accept": "text/*"}, 406, "NOT_ACCEPTABLE"),
    ],
)
async def test_invalid_requests_are_rejected_in_json(
    gateway: Gateway, given: dict[str, Any], status: int, code: str
) -> None:
    async with run_gateway(gateway) as address, request_stream(address, **{"document": CHANGES, **given}) as stream:
        assert (stream.status, stream.headers["content-type"]) == (status, "application/json; charset=utf-8")
        (error,) = json.loads(await stream.body())["errors"]
        assert error["extensions"] == {"code": code}
        if code == "BAD_REQUEST" and "Accept" in given:
            assert "text/event-stream" in error["message"]
            assert "graphql-transport-ws" in error["message"]
    assert await life_lock_rows(gateway.database) == [[], [], [], []]


@ON_SQLITE
@pytest.mark.parametrize(
    ("accept", "of_query"),
    [
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream, multipart/mixed", "text/event-stream"),
        ("application/json;q=0.5, text/event-stream", "text/event-stream"),
        ("application/json, text/event-stream", "application/json"),
        ("application/graphql-response+json, application/json, text/event-stream", "application/graphql-response+json"),
        ("*/*, text/event-stream", "application/json"),
        ("*/*, text/event-stream;q=0.1", "application/json"),
    ],
)
async def test_accept_header_with_several_types(gateway: Gateway, ada: User, accept: str, of_query: str) -> None:
    """A subscription always gets an event stream if it is accepted; a query gets one only if it is preferred."""
    async with run_gateway(gateway) as address:
        async with request_stream(address, "{ __typename }", Accept=accept) as answer:
            assert (answer.status, answer.headers["content-type"]) == (200, f"{of_query}; charset=utf-8")
        async with open_event_stream(gateway, address, CHANGES, ada, Accept=accept) as stream:
            assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"


@ON_SQLITE
async def test_batch_cannot_be_an_event_stream(database: Database, ada: User) -> None:
    gateway = Gateway(database, settings=Settings(max_batch=2))
    headers = gateway.client(ada).headers
    for accept, documents in (
        ("text/event-stream", ["{ __typename }"]),
        ("application/json, text/event-stream", [CHANGES]),
    ):
        batch = [{"query": document} for document in documents]
        answer = await gateway.http.post("/graphql", json=batch, headers=headers | {"Accept": accept})
        assert (answer.status_code, answer.json()["errors"][0]["extensions"]) == (400, {"code": "BAD_REQUEST"})


async def test_resumed_subscription_neither_misses_nor_repeats_events(gateway: Gateway, ada: User) -> None:
    """The last event id is sent in the header, as browsers do, or in the request. The header has precedence."""
    async with run_gateway(gateway) as address:
        async with open_event_stream(gateway, address, CHANGES, ada) as stream:
            await create(gateway, ada, "First", "Second")
            (first, _), (second, _) = await stream.next(), await stream.next()
        assert first is not None
        assert second is not None
        await create(gateway, ada, "Third")
        for given, titles in (
            ({"Last_Event_ID": first}, ("Second", "Third")),
            ({"Last_Event_ID": second}, ("Third",)),
            ({"extensions": {"lastEventId": first}}, ("Second", "Third")),
            ({"extensions": {"lastEventId": first}, "Last_Event_ID": second}, ("Third",)),
            ({"method": "GET", "Last_Event_ID": first}, ("Second", "Third")),
            ({"method": "GET", "extensions": {"lastEventId": second}}, ("Third",)),
        ):
            async with open_event_stream(gateway, address, CHANGES, ada, **given) as stream:
                got = [(await stream.next())[1]["data"] for _ in titles]
                assert got == [created(title) for title in titles], given
        async with open_event_stream(gateway, address, CHANGES, ada, Last_Event_ID=second) as stream:
            await create(gateway, ada, "Fourth")
            assert [(await stream.next())[1]["data"] for _ in range(2)] == [created("Third"), created("Fourth")]


async def test_subscription_that_cannot_be_resumed_is_rejected(database: Database, ada: User) -> None:
    gateway = Gateway(database, settings=Settings(subscription_replay=2))
    token = gateway.token(ada)
    async with run_gateway(gateway) as address:
        async with open_event_stream(gateway, address, CHANGES, ada) as stream:
            await create(gateway, ada, "First", "Second", "Third", "Fourth")
            first = (await stream.next())[0] or ""
        attempts: tuple[tuple[dict[str, Any], str], ...] = (
            ({"Last_Event_ID": str(new_id())}, "CANNOT_RESUME"),
            ({"Last_Event_ID": "nonsense"}, "CANNOT_RESUME"),
            ({"extensions": {"lastEventId": "nonsense"}}, "CANNOT_RESUME"),
            ({"extensions": {"lastEventId": 1}}, "BAD_REQUEST"),
        )
        for given, code in attempts:
            async with request_stream(address, CHANGES, token, **given) as stream:
                body = without_retry_line(await stream.rest())
                assert codes(body) == [code]
                assert code == "BAD_REQUEST" or b"Subscribe again without the id" in body
        async with request_stream(address, CHANGES, token, Last_Event_ID=first) as stream:
            assert await stream.chunk() == BEGINNING
            got = [(await stream.next())[1]["data"] for _ in range(2)]
            assert got == [created("Second"), created("Third")]
            assert codes(await stream.rest()) == ["CANNOT_RESUME"]


@ON_SQLITE
async def test_page_of_an_allowed_origin_reads_the_stream(database: Database, ada: User) -> None:
    """The request is like that of EventSource: a GET without a preflight."""
    site = "https://app.example"
    gateway = Gateway(database, settings=Settings(cors_origins=site))
    given: dict[str, Any] = {"method": "GET", "Origin": site, "Sec_Fetch_Site": "cross-site"}
    async with run_gateway(gateway) as address:
        feed = feed_of(gateway)
        async with request_stream(address, CHANGES, gateway.token(ada), **given) as stream:
            assert (stream.status, stream.headers["access-control-allow-origin"]) == (200, site)
            assert await stream.chunk() == BEGINNING
            await until(lambda: feed.subscriber_count == 2)
            await create(gateway, ada, "Seen elsewhere")
            assert (await stream.next())[1]["data"] == created("Seen elsewhere")
