"""Real clients on a real socket: urql, Apollo, graphql-ws and graphql-sse in Node, and gql in Python."""

import asyncio
from pathlib import Path

import pytest
from gql import Client as GqlClient
from gql import gql
from gql.transport.exceptions import TransportQueryError, TransportServerError
from gql.transport.httpx import HTTPXAsyncTransport
from graphql import GraphQLError, print_schema

from gateway.server.process import http_protocol
from gateway.settings import Settings
from repositories.tables.identity import User
from schema import schema
from tests import node
from tests.api.client import ROOT, Gateway, serve
from tests.api.event_streams import create, feed_of, run_gateway
from tests.api.sockets import serve_sockets
from tests.databases import ON_SQLITE
from tests.factories import make_category, make_tasks
from tests.waiting import until


@pytest.fixture(scope="session")
def node_clients() -> Path:
    """The folder with the Node clients and their packages."""
    return node.install_packages(ROOT / "tests" / "clients")


async def test_urql_runs_queries_and_mutations(gateway: Gateway, ada: User, node_clients: Path) -> None:
    category = await make_category(gateway.database, ada, name="Home")
    tasks = await make_tasks(gateway.database, ada, 45, category_id=category.id)
    titles = sorted(task.title.lower() for task in tasks)
    async with serve(gateway.app) as address:
        results = await node.run(node_clients, "urql.mjs", address, gateway.token(ada))
    assert [len(page) for page in results["pages"]] == [20, 20, 5]
    assert [title.lower() for page in results["pages"] for title in page] == titles
    created = results["created"]["task"]
    assert (created["title"], created["version"], results["created"]["userErrors"]) == ("From a frontend", 1, [])
    assert (results["completed"]["task"]["id"], results["completed"]["task"]["status"]) == (created["id"], "COMPLETED")
    assert [(error["code"], error["field"]) for error in results["rejected"]["userErrors"]] == [
        ("VALIDATION_ERROR", ["title"]),
        ("VALIDATION_ERROR", ["priorityLevel"]),
    ]
    assert results["before"]["viewer"]["email"] == "ada@example.com"
    before, changed = (results[when]["lifeLockDashboard"] for when in ("before", "changed"))
    assert (before["totalTasks"], before["completedTasks"]) == (45, 0)
    assert (changed["totalTasks"], changed["completedTasks"]) == (46, 1)
    assert sum(day["completed"] for day in before["weeklyProgress"]) == 0
    assert sum(day["completed"] for day in changed["weeklyProgress"]) == 1
    assert results["total"] == 46
    assert results["stranger"] == {"status": 401, "codes": ["UNAUTHENTICATED"]}
    assert results["missing"] == ["VALIDATION_ERROR"]


async def test_apollo_repeats_a_mutation_whose_response_was_lost(
    gateway: Gateway, ada: User, node_clients: Path
) -> None:
    async with serve(gateway.app) as address:
        results = await node.run(node_clients, "apollo.mjs", address, gateway.token(ada))
    first, second = results["responses"]
    assert first["key"] == second["key"]
    assert (first["replayed"], second["replayed"]) == (None, "true")
    assert results["created"]["userErrors"] == []
    nodes = (await gateway.client(ada).data("{ tasks { nodes { __typename id title } } }"))["tasks"]["nodes"]
    assert nodes == [results["created"]["task"]]


async def test_graphql_ws_subscribes_and_resumes_after_an_interruption(
    gateway: Gateway, ada: User, node_clients: Path
) -> None:
    async with serve_sockets(gateway) as site:
        results = await node.run(node_clients, "graphql-ws.mjs", site.http, gateway.token(ada))
    created, titles = results.pop("created"), results.pop("titles")
    assert created[0] == "Before"
    assert titles == created[-len(titles) :]
    assert titles[-3:] == ["Second", "Third", "Fourth"]
    assert results == {
        "viewer": {"email": "ada@example.com"},
        "forbidden": ["FORBIDDEN"],
        "anonymous": ["UNAUTHENTICATED"],
        "invalid": ["GRAPHQL_VALIDATION_FAILED"],
        "stranger": {
            "code": 4403,
            "reason": "Forbidden: The Authorization header is not valid. "
            "Send `Bearer` and a current token, or no header at all.",
        },
        "connections": [False, True],
    }


async def test_graphql_sse_runs_all_kinds_of_operations(gateway: Gateway, ada: User, node_clients: Path) -> None:
    """The distinct connections mode works. The single connection mode is rejected."""
    async with run_gateway(gateway) as address:
        results = await node.run(node_clients, "graphql-sse.mjs", address, gateway.token(ada))
    assert results == {
        "viewer": [{"data": {"viewer": {"email": "ada@example.com"}}}],
        "created": [{"data": {"createTask": {"task": {"title": "Over SSE"}}}}],
        "anonymous": [["UNAUTHENTICATED"]],
        "forbidden": [["FORBIDDEN"]],
        "invalid": [["GRAPHQL_VALIDATION_FAILED"]],
        "unparsable": [["GRAPHQL_PARSE_FAILED"]],
        "stranger": ["NetworkError", 401],
        "single": ["NetworkError", 405],
    }


async def test_graphql_sse_resumes_after_a_restart(gateway: Gateway, ada: User, node_clients: Path) -> None:
    """It gets each event once, and cancelling leaves no subscriber behind."""
    feed, http = feed_of(gateway), http_protocol(Settings())
    async with serve(gateway.app, lifespan="on", http=http) as address:
        following = asyncio.ensure_future(
            node.run(node_clients, "graphql-sse.mjs", address, gateway.token(ada), "again")
        )
        await until(lambda: feed.subscriber_count == 2)
        await create(gateway, ada, "First")
        count = "{ tasks { totalCount } }"
        while (await gateway.client(ada).data(count))["tasks"]["totalCount"] < 2:  # noqa: ASYNC110 (another process writes)
            await asyncio.sleep(0.01)
    await create(gateway, ada, "Third")
    again = Gateway(gateway.database)
    async with run_gateway(again, port=int(address.rpartition(":")[2])):
        await until(lambda: feed_of(again).subscriber_count == 2)
        await create(again, ada, "Last")
        assert await following == {"titles": ["First", "Second", "Third", "Last"], "connections": [False, True]}


@ON_SQLITE
async def test_all_graphql_over_http_audits_pass(gateway: Gateway, node_clients: Path) -> None:
    """The audits of npm's `graphql-http`: MUST, SHOULD and MAY."""
    async with serve(gateway.app) as address:
        results = await node.run(node_clients, "audits.mjs", address)
    assert results["failed"] == []
    assert len(results["passed"]) == 61


async def test_gql_fetches_the_schema_and_runs_operations(gateway: Gateway, ada: User) -> None:
    """It fetches the schema by introspection and checks documents against it."""
    async with serve(gateway.app) as address:
        headers = {"Authorization": f"Bearer {gateway.token(ada)}"}
        transport = HTTPXAsyncTransport(url=f"{address}/graphql", headers=headers)
        async with GqlClient(transport=transport, fetch_schema_from_transport=True) as session:
            assert session.client.schema is not None
            assert print_schema(session.client.schema).count("type Task ") == schema.as_str().count("type Task ") == 1
            create = gql(
                "mutation($input: CreateTaskInput!) { createTask(input: $input) { task { id } userErrors { code } } }"
            )
            create.variable_values = {"input": {"title": "From Python"}}
            payload = (await session.execute(create))["createTask"]
            assert payload["userErrors"] == []
            data = await session.execute(gql("{ viewer { email } tasks { nodes { id title } } }"))
            assert data == {
                "viewer": {"email": "ada@example.com"},
                "tasks": {"nodes": [{"id": payload["task"]["id"], "title": "From Python"}]},
            }
            with pytest.raises(TransportQueryError) as caught:
                await session.execute(gql("{ userDashboardStats { totalCount } }"))
            assert caught.value.errors is not None
            assert caught.value.errors[0]["extensions"] == {"code": "FORBIDDEN"}
            with pytest.raises(GraphQLError, match="Cannot query field 'nonsense'"):
                await session.execute(gql("{ nonsense }"))
        transport = HTTPXAsyncTransport(url=f"{address}/graphql", headers={"Authorization": "Bearer nonsense"})
        async with GqlClient(transport=transport) as session:
            with pytest.raises((TransportServerError, TransportQueryError), match=r"401|not valid"):
                await session.execute(gql("{ viewer { email } }"))
