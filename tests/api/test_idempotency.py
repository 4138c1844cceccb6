"""Idempotency keys: a repeated mutation takes effect once and gets the payload of the first request."""

import asyncio
import datetime as dt
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from httpx import Response

from repositories.core.clock import now
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.idempotency_keys import IdempotencyKeys
from repositories.sql.statements import Statement, scalar
from repositories.sql.table import Table
from repositories.tables.administration import JobRun
from repositories.tables.idempotency import IdempotencyRecord
from repositories.tables.identity import OutboxMessage, User, UserRole
from resolvers.administration.jobs import clean_idempotency_keys
from resolvers.services.job import JobContext
from schema import schema
from schema.operations.mutation import accepts_no_key
from tests.api.client import USER_ERRORS, Answer, Client, Gateway, connect_database, gid, serve
from tests.api.mailbox import Mailbox, MailGateway
from tests.api.people import PASSWORD, make_member
from tests.api.row_story import EVERY, MUTATIONS, PAYMENTS, Story
from tests.api.sockets import connect_socket, serve_sockets
from tests.api.stored_rows import stored_events
from tests.api.test_statements import summarize_statements
from tests.factories import make_points, make_session, make_task, make_user
from tests.waiting import until

CREATE = f"mutation($i: CreateTaskInput!) {{ createTask(input: $i) {{ task {{ id title }} {USER_ERRORS} }} }}"
_DAY = dt.timedelta(days=1)


async def _send(client: Client, document: str, key: str, **variables: Any) -> Response:
    headers = {"Idempotency-Key": key, **client.headers}
    return await client.http.post("/graphql", json={"query": document, "variables": variables}, headers=headers)


def _is_replayed(response: Response) -> bool:
    return bool(response.headers.get("Idempotency-Replayed") == "true")


async def _titles(client: Client) -> list[str]:
    data = await client.data("{ tasks(order: [{field: TITLE}]) { nodes { title } } }")
    return [node["title"] for node in data["tasks"]["nodes"]]


async def _records(database: Database) -> list[IdempotencyRecord]:
    table = IdempotencyRecord.__table__
    statement = Statement(sa.select(*table.c).order_by(table.c.created_at, table.c.field), IdempotencyRecord)
    async with database.transaction(SERVICE) as write:
        return await write.rows(statement)


async def _stored(database: Database) -> list[Any]:
    return [await stored_events(database), await _records(database)]


# once per key


async def test_a_repeated_mutation_takes_effect_once(gateway: Gateway, ada: User, database: Database) -> None:
    client = gateway.client(ada)
    first = await _send(client, CREATE, "k1", i={"title": "Water"})
    before = await _stored(database)
    second = await _send(client, CREATE, "k1", i={"title": "Water"})
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.json() == first.json()
    assert first.json()["data"]["createTask"]["userErrors"] == []
    assert (_is_replayed(first), _is_replayed(second)) == (False, True)
    assert await _titles(client) == ["Water"]
    assert await _stored(database) == before
    assert (await _send(client, CREATE, "k2", i={"title": "Water"})).json() != first.json()
    assert await _titles(client) == ["Water", "Water"]


async def test_a_repetition_gets_the_row_as_it_is_now(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    made = (await _send(client, CREATE, "k", i={"title": "Water"})).json()["data"]["createTask"]["task"]
    await client.do("updateTask", "task { id }", id=made["id"], version=1, title="Wine")
    repeated = (await _send(client, CREATE, "k", i={"title": "Water"})).json()
    assert repeated["data"]["createTask"] == {"task": {"id": made["id"], "title": "Wine"}, "userErrors": []}
    await client.do("deleteTask", "task { id }", id=made["id"])
    assert (await _send(client, CREATE, "k", i={"title": "Water"})).json() == repeated
    await client.do("purgeTask", "task { id }", id=made["id"])
    repeated = (await _send(client, CREATE, "k", i={"title": "Water"})).json()
    assert repeated["data"]["createTask"] == {"task": None, "userErrors": []}
    assert await _titles(client) == []


async def test_each_viewer_has_keys_of_their_own(gateway: Gateway, ada: User, bob: User) -> None:
    for user in (ada, bob):
        response = await _send(gateway.client(user), CREATE, "k", i={"title": "Water"})
        assert not _is_replayed(response)
        assert await _titles(gateway.client(user)) == ["Water"]


async def test_concurrent_requests_have_one_effect(gateway: Gateway, ada: User, database: Database) -> None:
    client = gateway.client(ada)
    responses = await asyncio.gather(*(_send(client, CREATE, "k", i={"title": "Water"}) for _ in range(20)))
    assert [response.status_code for response in responses] == [200] * 20
    assert len({response.text for response in responses}) == 1
    assert responses[0].json()["data"]["createTask"]["userErrors"] == []
    assert sum(map(_is_replayed, responses)) == 19
    assert await _titles(client) == ["Water"]
    assert len(await _records(database)) == 1


async def test_other_variables_or_another_operation_under_one_key_execute_nothing(
    gateway: Gateway, ada: User, database: Database
) -> None:
    client = gateway.client(ada)
    await _send(client, CREATE, "k", i={"title": "Water"})
    before = await _stored(database)
    other = CREATE.replace("mutation", "mutation Other")
    both = f"""mutation($i: CreateTaskInput!) {{ first: createTask(input: $i) {{ {USER_ERRORS} }}
        createTask(input: $i) {{ {USER_ERRORS} }} }}"""
    for document, title in ((CREATE, "Wine"), (other, "Water"), (both, "Water")):
        response = await _send(client, document, "k", i={"title": title})
        (error,) = response.json()["errors"]
        assert (response.status_code, error["extensions"]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED"), document
        assert "data" not in response.json()
        assert not _is_replayed(response)
    assert await _stored(database) == before
    assert await _titles(client) == ["Water"]


async def test_a_rejected_mutation_is_not_stored(gateway: Gateway, ada: User, database: Database) -> None:
    client = gateway.client(ada)
    for title in ("", "x" * 256):
        response = await _send(client, CREATE, "k", i={"title": title})
        assert response.json()["data"]["createTask"]["userErrors"] != []
    stale = f"mutation($i: UpdateTaskInput!) {{ updateTask(input: $i) {{ {USER_ERRORS} }} }}"
    task = await make_task(database, ada)
    response = await _send(client, stale, "k", i={"id": gid("Task", task), "version": 7, "title": "Wine"})
    assert response.json()["data"]["updateTask"]["userErrors"][0]["code"] == "STALE_VERSION"
    assert await _records(database) == []
    response = await _send(client, CREATE, "k", i={"title": "Water"})
    assert response.json()["data"]["createTask"]["userErrors"] == []


async def test_each_field_of_a_document_has_its_own_record(gateway: Gateway, ada: User, database: Database) -> None:
    """The fields that were rejected run again."""
    client = gateway.client(ada)
    document = f"""mutation($a: CreateCategoryInput!, $b: CreateCategoryInput!) {{
        a: createCategory(input: $a) {{ category {{ name }} {USER_ERRORS} }}
        b: createCategory(input: $b) {{ category {{ name }} {USER_ERRORS} }} }}"""
    taken = await client.do("createCategory", "category { id }", name="Home")
    variables = {"a": {"name": "Work"}, "b": {"name": "Home"}}
    first = (await _send(client, document, "k", **variables)).json()["data"]
    assert [first[key]["category"] for key in "ab"] == [{"name": "Work"}, None]
    await client.do("deleteCategory", "category { id }", id=taken["category"]["id"])
    response = await _send(client, document, "k", **variables)
    assert [response.json()["data"][key]["category"] for key in "ab"] == [{"name": "Work"}, {"name": "Home"}]
    assert _is_replayed(response)
    assert [record.field for record in await _records(database)] == ["a", "b"]
    names = "{ categories { nodes { name } } }"
    assert [node["name"] for node in (await client.data(names))["categories"]["nodes"]] == ["Home", "Work"]


async def test_a_failed_transaction_is_not_stored(
    gateway: Gateway, ada: User, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        message = "the disk is full"
        raise OSError(message)

    client = gateway.client(ada)
    with monkeypatch.context() as patched:
        patched.setattr("repositories.aggregates.event_store.EventStore.append", fail)
        response = await _send(client, CREATE, "k", i={"title": "Water"})
    assert response.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert await _records(database) == []
    assert not _is_replayed(await _send(client, CREATE, "k", i={"title": "Water"}))
    assert await _titles(client) == ["Water"]


# requests


@pytest.mark.parametrize("key", ["", "x" * 256, "Schlüssel", "a\x7f", "a\tb"])
async def test_an_invalid_key_is_rejected(gateway: Gateway, ada: User, database: Database, key: str) -> None:
    client = gateway.client(ada)
    before = await _stored(database)
    body = {"query": CREATE, "variables": {"i": {"title": "Water"}}, "extensions": {"idempotencyKey": key}}
    answers = [await client.http.post("/graphql", json=body, headers=client.headers)]
    if key.isascii():
        answers.append(await _send(client, CREATE, key, i={"title": "Water"}))
    for response in answers:
        (error,) = response.json()["errors"]
        assert error["extensions"] == {"code": "BAD_REQUEST"}
        assert "1 to 255" in error["message"]
    assert "`extensions.idempotencyKey`" in answers[0].json()["errors"][0]["message"]
    assert await _stored(database) == before


async def test_keys_of_the_longest_length_are_accepted(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    assert not _is_replayed(await _send(client, CREATE, "x" * 255, i={"title": "Water"}))
    assert _is_replayed(await _send(client, CREATE, "x" * 255, i={"title": "Water"}))


async def test_two_different_keys_are_rejected(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    body = {"query": CREATE, "variables": {"i": {"title": "Water"}}, "extensions": {"idempotencyKey": "a"}}
    response = await client.http.post("/graphql", json=body, headers={**client.headers, "Idempotency-Key": "b"})
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    assert await _titles(client) == []


async def test_the_extension_is_an_alternative_to_the_header(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    body = {"query": CREATE, "variables": {"i": {"title": "Water"}}, "extensions": {"idempotencyKey": "k"}}
    first, second = [(await client.http.post("/graphql", json=body, headers=client.headers)).json() for _ in "12"]
    assert "extensions" not in first
    assert second == {**first, "extensions": {"idempotencyReplayed": True}}
    assert _is_replayed(await _send(client, CREATE, "k", i={"title": "Water"}))


async def test_a_mutation_over_websocket_can_be_repeated(gateway: Gateway, ada: User) -> None:
    rest = {"variables": {"i": {"title": "Water"}}, "extensions": {"idempotencyKey": "k"}}
    async with serve_sockets(gateway) as site, connect_socket(site.http, gateway.token(ada)) as peer:
        first, second = [await peer.ask(CREATE, **rest) for _ in "12"]
        assert "extensions" not in first
        assert second == {**first, "extensions": {"idempotencyReplayed": True}}
        (error,) = await peer.ask(CREATE, **rest | {"variables": {"i": {"title": "Wine"}}})
        assert error["extensions"] == {"code": "IDEMPOTENCY_KEY_REUSED"}
    assert await _titles(gateway.client(ada)) == ["Water"]


async def test_a_mutation_whose_response_was_lost_can_be_repeated(
    gateway: Gateway, ada: User, database: Database
) -> None:
    """The client disconnects after the mutation was committed."""
    body = json.dumps({"query": CREATE, "variables": {"i": {"title": "Water"}}}).encode()
    head = f"POST /graphql HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {gateway.token(ada)}\r\n"
    head += f"Content-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: {len(body)}\r\n\r\n"
    async with serve(gateway.app) as address:
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(address).port)

        committed = asyncio.Event()

        async def disconnect(_: object) -> None:
            writer.transport.abort()
            committed.set()

        database.commit_listeners.append(disconnect)
        writer.write(head.encode() + body)
        await committed.wait()
    response = await _send(gateway.client(ada), CREATE, "k", i={"title": "Water"})
    assert _is_replayed(response)
    assert response.json()["data"]["createTask"]["task"]["title"] == "Water"
    assert await _titles(gateway.client(ada)) == ["Water"]


async def test_an_anonymous_mutation_with_a_key_is_rejected(gateway: Gateway) -> None:
    document = f"mutation($i: RequestPasswordResetInput!) {{ requestPasswordReset(input: $i) {{ {USER_ERRORS} }} }}"
    response = await _send(gateway.client(), document, "k", i={"email": "ada@example.com"})
    assert (response.status_code, response.json()["errors"][0]["extensions"]["code"]) == (401, "UNAUTHENTICATED")


async def test_queries_ignore_the_key(gateway: Gateway, ada: User, database: Database) -> None:
    for _ in "12":
        response = await _send(gateway.client(ada), "{ viewer { id } }", "k")
        assert response.status_code == 200
        assert not _is_replayed(response)
    assert await _records(database) == []


@pytest.mark.usefixtures("cheap_passwords")
async def test_mutations_that_return_secrets_accept_no_key(gateway: Gateway, ada: User, database: Database) -> None:
    """The whole request is rejected, also the fields before it."""
    client = gateway.client(ada)
    root = schema._schema.mutation_type
    assert root is not None
    mutations = root.fields
    secret = [name for name, field in mutations.items() if accepts_no_key(field)]
    assert secret == ["signUp", "signIn", "refreshSession"]
    before = await _stored(database)
    for name in secret:
        assert "accepts no idempotency key" in mutations[name].description
        input_type = f"{name[0].upper()}{name[1:]}Input"
        values: dict[str, Any] = {
            "signUp": {"email": "x@example.com", "password": PASSWORD, "firstName": "Xy", "lastName": "Zz"},
            "signIn": {"email": "x@example.com", "password": PASSWORD},
            "refreshSession": {"refreshToken": "x"},
        }
        document = f"""mutation($i: {input_type}!, $t: CreateTaskInput!) {{
            createTask(input: $t) {{ task {{ id }} }} ...F }}
            fragment F on Mutation {{ x: {name}(input: $i) {{ viewer {{ id }} }} }}"""
        response = await _send(client, document, "k", i=values[name], t={"title": "Water"})
        (error,) = response.json()["errors"]
        assert (error["extensions"]["code"], f"`{name}`" in error["message"]) == ("BAD_REQUEST", True)
    assert await _stored(database) == before


@pytest.mark.usefixtures("cheap_passwords")
async def test_a_change_of_the_password_can_be_repeated(gateway: Gateway, database: Database) -> None:
    """The current password of the request is the old one by then. No password is stored, not even hashed."""
    user = await make_member(database)
    client = gateway.client(user)
    document = f"mutation($i: ChangePasswordInput!) {{ changePassword(input: $i) {{ user {{ id }} {USER_ERRORS} }} }}"
    values = {"currentPassword": PASSWORD, "newPassword": "another horse battery"}
    first = await _send(client, document, "k", i=values)
    assert first.json()["data"]["changePassword"]["userErrors"] == []
    before = await stored_events(database)
    second = await _send(client, document, "k", i=values)
    assert (second.json(), _is_replayed(second)) == (first.json(), True)
    assert await stored_events(database) == before
    response = await _send(client, document, "k", i=values | {"newPassword": "third horse battery"})
    assert response.status_code == 422
    (record,) = await _records(database)
    assert record.outcome == {"type": "User", "id": str(user.id)}


# time and space


async def test_an_outcome_is_kept_for_a_day(gateway: Gateway, ada: User, database: Database) -> None:
    start = now()
    for offset, is_replayed in ((dt.timedelta(0), False), (_DAY - dt.timedelta(seconds=1), True), (_DAY, False)):
        later = gateway.at(start + offset)
        assert _is_replayed(await _send(later.client(ada), CREATE, "k", i={"title": "Water"})) is is_replayed
    assert await _titles(gateway.client(ada)) == ["Water", "Water"]
    assert len(await _records(database)) == 1


async def test_the_job_keeps_the_store_bounded(database: Database, ada: User) -> None:
    """10,000 expired records are deleted, and those that have not expired stay."""
    at = now()
    expired = [_row(ada, f"old {index}", at - _DAY * 2) for index in range(10_000)]
    async with database.transaction(SERVICE) as write:
        await IdempotencyKeys(write).add_missing([*expired, _row(ada, "new", at)])
    assert await clean_idempotency_keys(JobContext(database, at)) == 10_000
    assert [record.key for record in await _records(database)] == ["new"]


def _row(user: User, key: str, at: dt.datetime) -> dict[str, Any]:
    times = {"created_at": at, "expires_at": at + _DAY}
    return {"viewer_id": user.id, "key": key, "field": "x", "fingerprint": "0" * 64, "outcome": {}, **times}


async def test_a_repetition_waits_for_a_bounded_time(postgres_only: DatabaseOptions) -> None:
    """SQLite has one writer, whose timeout other tests check."""
    at = now()
    async with connect_database(postgres_only, statement_timeout=0.2) as database:
        ada = await make_user(database)
        client = Gateway(database).client(ada)
        async with database.transaction(SERVICE) as write:
            claimed = await IdempotencyKeys(write).claim(
                ada.id, "k", "createTask", fingerprint="0" * 64, at=at, until=at + _DAY
            )
            assert claimed is not None
            (error,) = (await _send(client, CREATE, "k", i={"title": "Water"})).json()["errors"]
            assert error["extensions"]["code"] == "SERVICE_UNAVAILABLE"
            assert "still running" in error["message"]
            await until(lambda: database.pool_state().used == 0)
        assert await _titles(client) == []


# cost


async def test_a_key_costs_two_statements(gateway: Gateway, ada: User, statements: list[str]) -> None:
    client = gateway.client(ada)
    await client.ask(CREATE, i={"title": "Water"})
    statements.clear()
    await client.ask(CREATE, i={"title": "Water"})
    without = summarize_statements(statements)
    statements.clear()
    await _send(client, CREATE, "k", i={"title": "Water"})
    assert summarize_statements(statements) == [
        "INSERT idempotency_keys",
        without[0],
        "UPDATE idempotency_keys",
        *without[1:],
    ]


# every mutation


class _RepeatingStory(Story):
    """Sends every mutation twice with one key, and checks that the second request changes nothing."""

    async def send(self, mutation: str, document: str, values: dict[str, Any]) -> Answer:
        client, key = self.client(mutation), f"{self.number}"
        if mutation in _WITHOUT_KEY:
            return await client.ask(document, i=values)
        first = await _send(client, document, key, i=values)
        rows, count = await self.rows(), await self.count_events()
        second = await _send(client, document, key, i=values)
        assert (await self.rows(), await self.count_events()) == (rows, count), mutation
        payload = (first.json()["data"] or {}).get(mutation)
        if payload is not None and not payload["userErrors"]:
            self._compare(mutation, payload, second)
        return Answer(first.status_code, first.json())

    def _compare(self, mutation: str, payload: Any, second: Response) -> None:
        if mutation in _ENDS_SESSION:
            assert second.status_code == 401, mutation
            return
        assert _is_replayed(second), (mutation, second.text)
        repeated = second.json()["data"][mutation]
        missing: Any = {key: [] if isinstance(value, list) else None for key, value in payload.items()}
        is_gone = mutation.startswith("purge") or mutation in _DELETES
        assert repeated == (missing if is_gone else payload), mutation


_WITHOUT_KEY = {"signUp", "signIn", "refreshSession"}
_ENDS_SESSION = {"signOut", "deactivateAccount"}
_DELETES = {"deleteCategory", "deleteCategories", "revokeRole"}
"""Mutations that delete rows permanently. The payload of a repetition has no row then."""


@pytest.mark.usefixtures("cheap_passwords")
async def test_every_mutation_can_be_repeated(database: Database, admin: User) -> None:
    gateway = Gateway(database, payments=PAYMENTS)
    await make_session(database, admin)
    await make_user(database, role=UserRole.ADMIN)  # an owner of partners must have a role
    await make_points(database, admin, 1_000_000)
    story = _RepeatingStory(gateway, admin)
    for mutation, pick in EVERY:
        await story.run(mutation, pick)
    assert set(MUTATIONS) - story.succeeded == set()


async def test_every_message_is_sent_once(database: Database, mailbox: Mailbox, admin: User) -> None:
    """The mutations that are not part of the story: they send a message, or use the token of one."""
    gateway = MailGateway(database, mailbox)
    client = gateway.client(admin)
    mutations: dict[str, dict[str, Any]] = {
        "inviteUser": {"email": "new@example.com"},
        "requestEmailVerification": {"email": "admin@example.com"},
        "requestPasswordReset": {"email": "admin@example.com"},
        "requestEmailChange": {"newEmail": "other@example.com"},
    }
    for mutation, values in mutations.items():
        document = f"""mutation($i: {mutation[0].upper()}{mutation[1:]}Input!) {{
            {mutation}(input: $i) {{ email {USER_ERRORS} }} }}"""
        first, second = [await _send(client, document, mutation, i=values) for _ in "12"]
        assert first.json()["data"][mutation] == {"email": next(iter(values.values())), "userErrors": []}
        assert (second.json(), _is_replayed(second)) == (first.json(), True), mutation
    assert await _count(database, OutboxMessage) == len(mutations)


async def test_the_statistics_are_refreshed_once(gateway: Gateway, database: Database, admin: User) -> None:
    document = "mutation { refreshUserDashboardStats { refreshedAt } }"
    first, second = [await _send(gateway.client(admin), document, "k") for _ in "12"]
    assert (second.json(), _is_replayed(second)) == (first.json(), True)
    assert await _count(database, JobRun) == 1


async def _count(database: Database, row: type[Table]) -> int:
    async with database.transaction(SERVICE) as write:
        return await write.one(Statement(sa.select(sa.func.count()).select_from(row.__table__), scalar(int)))
