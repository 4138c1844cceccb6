"""Responses are bounded in bytes, and so are the responses that a viewer's clients have not read."""

import json
import tracemalloc
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from gateway.settings import Settings
from gateway.transport.held_bytes import HeldBytes
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.life_lock.tasks import Tasks
from repositories.tables.identity import User
from tests.api.client import Client, Gateway, connect_database
from tests.api.event_streams import run_gateway
from tests.api.raw_http import RawConnection, connect, request
from tests.api.sockets import serve_sockets_unchecked
from tests.databases import ON_SQLITE
from tests.factories import make_category, make_tasks, make_user
from tests.waiting import until

LIMIT = 10_000_000
TOO_LARGE = (
    f"The response would be larger than {LIMIT:,} bytes, which is the limit. "
    "Request smaller pages, or select fewer long texts."
)
PAGES = "{ %s }" % " ".join(f"a{n}: tasks(first: 500) {{ nodes {{ description }} }}" for n in range(45))  # noqa: UP031
CREATE = "createTask(input: {title: %s}) { task { %s } }"


def client_with(gateway: Gateway, user: User, **settings: Any) -> Client:
    return Gateway(gateway.database, settings=Settings(**settings)).client(user)


def held_bytes_of(gateway: Gateway) -> HeldBytes:
    app: Any = gateway.app
    held: HeldBytes = app._endpoints["http"]._operations.held_bytes
    return held


def summarize(answer: Any) -> list[tuple[Any, str, str]]:
    return [(error.get("path"), error["extensions"]["code"], error["message"]) for error in answer.errors]


async def titles(database: Database) -> list[str]:
    async with database.snapshot(SERVICE) as snapshot:
        return sorted(task.title for task in await Tasks(snapshot).find(limit=100))


async def test_response_of_225_megabytes_is_not_built(gateway: Gateway, ada: User) -> None:
    await make_tasks(gateway.database, ada, 500, description="x" * 10_000)
    client = gateway.client(ada)
    await client.ask("{ tasks(first: 1) { nodes { description } } }")
    tracemalloc.start()
    answer = await client.ask(PAGES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (answer.data, summarize(answer)) == (None, [(None, "RESPONSE_TOO_LARGE", TOO_LARGE)])
    assert peak < 60_000_000
    assert len((await client.data("{ tasks(first: 500) { nodes { description } } }"))["tasks"]["nodes"]) == 500


@pytest.mark.parametrize("text", ["x", "ä", "€", "😀", '"', "\n", "\x1f"])
async def test_limit_counts_bytes_and_not_characters(gateway: Gateway, ada: User, text: str) -> None:
    """Those of the JSON, in which some characters are escaped."""
    await make_tasks(gateway.database, ada, 2, description=text * 1000)
    size = 2 * 1000 * (len(orjson.dumps(text)) - 2)
    query = "{ tasks(first: 2) { nodes { description } } }"
    small = client_with(gateway, ada, max_response_bytes=size)
    large = client_with(gateway, ada, max_response_bytes=size + 300)
    assert (await small.ask(query)).codes == ["RESPONSE_TOO_LARGE"]
    assert (await large.ask(query)).codes == []


@ON_SQLITE
async def test_size_is_that_of_the_response_or_a_little_more(gateway: Gateway, ada: User) -> None:
    """A limit of that size rejects the response, because values of a fixed form count with their longest one."""
    category = await make_category(gateway.database, ada, name="Home")
    await make_tasks(gateway.database, ada, 100, description="x" * 100, category_id=category.id)
    query = """{ tasks(first: 100) { nodes { id databaseId title description status priorityLevel dueDate createdAt
        completedAt version category { id name color } } } }"""
    size = len(orjson.dumps((await gateway.client(ada).ask(query)).data))
    assert (await client_with(gateway, ada, max_response_bytes=size).ask(query)).codes == ["RESPONSE_TOO_LARGE"]
    assert (await client_with(gateway, ada, max_response_bytes=size * 3 // 2).ask(query)).codes == []


@ON_SQLITE
async def test_operations_of_a_batch_share_the_bytes_of_a_response(gateway: Gateway, ada: User) -> None:
    """Those that fit have their data. The next one has none, and all are answered."""
    await make_tasks(gateway.database, ada, 10, description="x" * 1000)
    client = client_with(gateway, ada, max_response_bytes=25_000, max_batch=10)
    query = {"query": "{ tasks(first: 10) { nodes { description } } }"}
    response = await client.http.post("/graphql", json=[query] * 4, headers=client.headers)
    answers = response.json()
    assert [answer["data"] is None for answer in answers] == [False, False, True, True]
    assert [answer.get("errors", [{}])[0].get("extensions", {}).get("code") for answer in answers] == [
        *(None, None),
        *("RESPONSE_TOO_LARGE", "RESPONSE_TOO_LARGE"),
    ]
    assert len(response.content) < 26_000


@ON_SQLITE
async def test_object_that_many_rows_share_counts_for_each_of_them(gateway: Gateway, ada: User) -> None:
    category = await make_category(gateway.database, ada, name="x" * 100)
    await make_tasks(gateway.database, ada, 200, category_id=category.id)
    client = client_with(gateway, ada, max_response_bytes=20_000)
    answer = await client.ask("{ tasks(first: 200) { nodes { category { name } } } }")
    assert answer.codes == ["RESPONSE_TOO_LARGE"]


@ON_SQLITE
async def test_objects_of_abstract_types_are_counted(gateway: Gateway, ada: User) -> None:
    await make_category(gateway.database, ada, name="x" * 100)
    fields = " ".join(f"n{n}: name" for n in range(50))
    client = client_with(gateway, ada, max_response_bytes=5000)
    [node] = (await client.data("{ categories(first: 1) { nodes { id } } }"))["categories"]["nodes"]
    answer = await client.ask(
        f"query($id: ID!) {{ node(id: $id) {{ ... on Category {{ {fields} }} }} }}", id=node["id"]
    )
    assert answer.codes == ["RESPONSE_TOO_LARGE"]


async def test_mutation_says_which_fields_took_effect(gateway: Gateway, ada: User) -> None:
    client = client_with(gateway, ada, max_response_bytes=2000)
    many = " ".join(f"t{n}: title" for n in range(50))
    fields = [CREATE % ('"A"', "title"), CREATE % (f'"{"B" * 100}"', many), CREATE % ('"C"', "title")]
    answer = await client.ask("mutation { a: %s b: %s c: %s }" % tuple(fields))  # noqa: UP031
    rest = TOO_LARGE.removeprefix("The response").replace(f"{LIMIT:,}", "2,000")
    assert answer.data == {"a": {"task": {"title": "A"}}, "b": None, "c": None}
    assert summarize(answer) == [
        (["b"], "RESPONSE_TOO_LARGE", f"This was carried out, but the response{rest}"),
        (["c"], "RESPONSE_TOO_LARGE", f"This changed nothing, because the response{rest}"),
    ]
    assert await titles(gateway.database) == ["A", "B" * 100]


async def test_rows_of_one_statement_are_limited(postgres_only: DatabaseOptions) -> None:
    """The rows have all columns, selected or not. A later statement gets a new connection."""
    async with connect_database(postgres_only, max_result_bytes=1_000_000) as database:
        user = await make_user(database)
        await make_tasks(database, user, 200, description="x" * 10_000)
        client = Gateway(database).client(user)
        answer = await client.ask("{ tasks(first: 200) { nodes { id } } }")
        message = "The rows that this reads are larger than 1,000,000 bytes, which is the limit."
        [error] = answer.errors
        assert error["extensions"]["code"] == "RESPONSE_TOO_LARGE"
        assert error["message"].startswith(message)
        assert len((await client.data("{ tasks(first: 50) { nodes { id } } }"))["tasks"]["nodes"]) == 50


BOTH = "{ a: tasks(first: 450) { nodes { description } } b: tasks(first: 450) { nodes { description } } }"
DROPPED = "bytes of your responses wait to be read, and the limit is 12,000,000. Read them first."


async def ask_without_reading(address: str, stack: AsyncExitStack, token: str, accept: str) -> RawConnection:
    body = json.dumps({"query": BOTH}).encode()
    headers = f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\nAccept: {accept}\r\n".encode()
    connection = await stack.enter_async_context(connect(address))
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await connection.send(request(b"/graphql", headers, body))
    return connection


@ON_SQLITE
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_unread_responses_of_a_viewer_are_limited(gateway: Gateway, ada: User, bob: User, accept: str) -> None:
    """The second response exceeds the limit. Another viewer is not affected, and reading releases the bytes."""
    await make_tasks(gateway.database, ada, 450, description="x" * 10_000)
    await make_tasks(gateway.database, bob, 450, description="x" * 10_000)
    served = Gateway(gateway.database, settings=Settings(max_held_bytes=12_000_000))
    tokens = [gateway.token(user) for user in (ada, bob)]
    held = held_bytes_of(served)
    async with run_gateway(served) as address, AsyncExitStack() as stack:
        first = await ask_without_reading(address, stack, tokens[0], accept)
        await until(lambda: held.of(ada.id.int) > 9_000_000)
        second = await ask_without_reading(address, stack, tokens[0], accept)
        second.writer.transport.resume_reading()  # type: ignore[attr-defined]
        response = await second.response()
        [error] = json.loads(response.body)["errors"]
        assert (response.status, error["extensions"]["code"]) == (429, "RATE_LIMITED")
        assert DROPPED in error["message"]
        await ask_without_reading(address, stack, tokens[1], accept)
        await until(lambda: held.of(bob.id.int) > 9_000_000)
        first.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await first.reader.readexactly(9_000_000)) == 9_000_000
        await until(lambda: held.of(ada.id.int) == 0)
    await until(lambda: held.of(bob.id.int) == 0)


@ON_SQLITE
async def test_unread_responses_on_websockets_are_limited(gateway: Gateway, ada: User) -> None:
    await make_tasks(gateway.database, ada, 450, description="x" * 10_000)
    served = Gateway(gateway.database, settings=Settings(max_held_bytes=12_000_000))
    held, token = held_bytes_of(served), gateway.token(ada)
    async with (
        serve_sockets_unchecked(served) as site,
        site.peer(max_queue=1, max_size=None) as first,
        site.peer(max_size=None) as second,
    ):
        await first.initialise(token)
        await second.initialise(token)
        first.connection.transport.pause_reading()
        await first.subscribe("a", BOTH)
        await until(lambda: held.of(ada.id.int) > 9_000_000)
        await second.subscribe("b", BOTH)
        message = await second.receive()
        assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "RATE_LIMITED")
        assert DROPPED in message["payload"][0]["message"]
        first.connection.transport.resume_reading()
        assert [(await first.receive())["type"] for _ in range(2)] == ["next", "complete"]
        await until(lambda: held.of(ada.id.int) == 0)
