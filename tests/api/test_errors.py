"""Failures as clients see them: unexpected errors are masked, outages and timeouts have their own codes."""

import asyncio
import logging
import shutil
import sqlite3
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from gateway.transport import error_responses as errors
from repositories.core.errors import Timeout
from repositories.engines.database import DatabaseOptions
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.categories import Categories
from repositories.life_lock.tasks import Tasks
from repositories.sql.statements import Engine, RowFactory, Statement
from repositories.tables.identity import User
from schema import life_lock
from tests.api.client import SECRET, Gateway, connect_database, gid
from tests.api.edges import edge_of
from tests.api.relay import open_relay
from tests.api.stored_rows import life_lock_rows
from tests.factories import make_category, make_task, make_user

SECRETS = "their secret: ada@example.com"


def _check_masked_error(error: dict[str, Any], caplog: pytest.LogCaptureFixture) -> str:
    """Asserts that an error is masked and logged; returns its id."""
    error_id = error["extensions"]["errorId"]
    assert str(UUID(error_id)) == error_id
    assert error["message"] == f"An internal error occurred. If it persists, report this id: {error_id}"
    assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id}
    assert f"Internal error {error_id}" in caplog.text
    return str(error_id)


async def test_failing_edge_is_null_masked_and_logged_once(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception that fails several fields has one error id and one log entry."""

    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError(SECRETS)

    monkeypatch.setattr(edge_of("Task", "category").batch, "method", broken)
    category = await make_category(gateway.database, ada)
    for _ in range(3):
        await make_task(gateway.database, ada, category_id=category.id)
    answer = await gateway.client(ada).ask(
        "{ tasks { totalCount nodes { title category { name } } } viewer { firstName } }"
    )
    shown = {"totalCount": 3, "nodes": [{"title": "Something", "category": None}] * 3}
    assert answer.data == {"tasks": shown, "viewer": {"firstName": "Ada"}}
    assert [error["path"] for error in answer.errors] == [["tasks", "nodes", index, "category"] for index in range(3)]
    assert len({_check_masked_error(error, caplog) for error in answer.errors}) == 1
    assert len([record for record in caplog.records if record.name == "gateway.transport.error_responses"]) == 1
    assert "RuntimeError" in caplog.text
    assert SECRETS not in str(answer.body)


async def test_failing_command_writes_nothing(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception is raised in the reaction, the last step of the unit of work."""

    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError(SECRETS)

    monkeypatch.setattr(Analytics, "recompute", broken)
    answer = await gateway.client(ada).ask('mutation { createTask(input: {title: "x"}) { task { id } } }')
    assert answer.data == {"createTask": None}
    _check_masked_error(answer.errors[0], caplog)
    assert SECRETS not in str(answer.body)
    assert await life_lock_rows(gateway.database) == [[], [], [], []]


async def test_database_error_logs_no_values(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL quotes the invalid value in its error, but neither the response nor the log contains it."""
    caplog.set_level(logging.DEBUG)
    broken = (
        "SELECT CAST(CAST(:title AS text) AS integer)"
        if gateway.database.engine is Engine.POSTGRESQL
        else "SELECT :title, no_such"
    )
    statement = Statement(sa.text(broken), RowFactory(tuple))

    async def add(self: Any, **values: Any) -> Any:
        return await self.connection.rows(statement, title=values["title"])

    monkeypatch.setattr(Tasks, "add", add)
    client = gateway.client(ada)
    answer = await client.ask(
        "mutation($t: String!) { createTask(input: {title: $t}) { task { id } } }", t="confidential title"
    )
    _check_masked_error(answer.errors[0], caplog)
    assert "DatabaseFault" in caplog.text
    for secret in (
        "confidential",
        "ada@example.com",
        str(ada.id),
        SECRET,
        client.headers["Authorization"],
    ):
        assert secret not in caplog.text, secret
        assert secret not in str(answer.body)
    assert "SELECT" in caplog.text
    assert "SELECT" not in str(answer.body)


async def test_statement_timeout_fails_only_its_field(
    options: DatabaseOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    statement = Statement(
        sa.text("SELECT 1 FROM (SELECT pg_sleep(60)) s" if options.url else endless), RowFactory(tuple)
    )

    async def slow(self: Any, *_: Any, **__: Any) -> Any:
        return await self.connection.rows(statement)

    monkeypatch.setattr(Analytics, "between", slow)
    async with connect_database(options, statement_timeout=0.2) as database:
        ada = await make_user(database, first_name="Ada")
        await make_task(database, ada)
        document = """{ tasks { totalCount } taskAnalytics(from: "2026-01-01", to: "2026-01-02") { date }
            viewer { firstName } lifeLockDashboard { totalTasks } }"""
        answer = await Gateway(database).client(ada).ask(document)
        assert answer.data == {
            "tasks": {"totalCount": 1},
            "taskAnalytics": None,
            "viewer": {"firstName": "Ada"},
            "lifeLockDashboard": {"totalTasks": 1},
        }
        (error,) = answer.errors
        assert error == {
            "message": Timeout().message,
            "locations": error["locations"],
            "path": ["taskAnalytics"],
            "extensions": {"code": "TIMEOUT"},
        }


_UNAVAILABLE = "The database cannot be reached right now. Try again in a moment."


async def test_gateway_recovers_from_a_database_outage(cloned_postgres: DatabaseOptions) -> None:
    """During the outage every field and /health report it; afterwards everything works without a restart."""
    async with open_relay(cloned_postgres) as (relay, options), connect_database(options) as database:
        gateway = Gateway(database)
        ada = await make_user(database)
        client = gateway.client(ada)
        document = "{ tasks { totalCount } viewer { firstName } }"
        await asyncio.gather(*(client.data(document) for _ in range(5)))
        assert (await gateway.http.get("/health")).status_code == 200
        for _ in range(2):
            await relay.stop()
            for _ in range(3):
                answer = await client.ask(document)
                assert answer.data == {"tasks": None, "viewer": None}
                assert {error["message"] for error in answer.errors} == {_UNAVAILABLE}
                assert answer.codes == ["SERVICE_UNAVAILABLE"] * 2
                answer = await client.ask('mutation { createTask(input: {title: "x"}) { task { id } } }')
                assert (answer.data, answer.codes) == ({"createTask": None}, ["SERVICE_UNAVAILABLE"])
            health = await gateway.http.get("/health")
            assert (health.status_code, health.json()["status"], health.json()["reason"]) == (
                503,
                "unavailable",
                _UNAVAILABLE,
            )
            await relay.start()
            assert (await client.data(document))["tasks"] == {"totalCount": 0}
            assert (await gateway.http.get("/health")).json()["status"] == "ok"
        await client.do("createTask", "task { id }", title="x")


async def test_sqlite_file_locked_by_another_process(sqlite_template: Path, tmp_path: Path) -> None:
    """Writes wait for the pool timeout and then fail with SERVICE_UNAVAILABLE; reads go on."""
    path = tmp_path / "busy.sqlite3"
    shutil.copy(sqlite_template, path)
    async with connect_database(DatabaseOptions(sqlite_path=path), pool_timeout=0.1) as database:
        ada = await make_user(database)
        client = Gateway(database).client(ada)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = await client.ask('mutation { createTask(input: {title: "x"}) { task { id } } }')
        assert (answer.data, answer.codes) == ({"createTask": None}, ["SERVICE_UNAVAILABLE"])
        assert await client.data("{ tasks { totalCount } }") == {"tasks": {"totalCount": 0}}
        other.execute("ROLLBACK")
        other.close()
        await client.do("createTask", "task { id }", title="x")
        assert await client.data("{ tasks { totalCount } }") == {"tasks": {"totalCount": 1}}


async def test_failing_field_does_not_cancel_shared_loaders(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Siblings of the failing field are cancelled while they wait for a batch that other rows need too."""
    ready = asyncio.Event()
    method = edge_of("Task", "category").batch.method

    async def slow(*arguments: Any, **named: Any) -> Any:
        await ready.wait()
        return await method(*arguments, **named)

    class Breaking(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            asyncio.get_running_loop().call_soon(ready.set)
            if index == 4:
                raise RuntimeError(SECRETS)
            return super().__getitem__(index)

    monkeypatch.setattr(edge_of("Task", "category").batch, "method", slow)
    monkeypatch.setattr(life_lock, "_PRIORITIES", Breaking(life_lock._PRIORITIES))
    category = await make_category(gateway.database, ada, name="Shared")
    tasks = [
        await make_task(gateway.database, ada, category_id=category.id, priority_level=level) for level in (5, 1, 5, 2)
    ]
    document = """query($ids: [ID!]!) { nodes(ids: $ids) { ... on Task { category { name } priority { level } } }
        broken: tasks { nodes { category { name } priority { level } } }
        fine: tasks(filter: {priorityLevel: {lt: 5}}) { nodes { category { name } priority { level } } } }"""
    answer = await gateway.client(ada).ask(document, ids=[gid("Task", task) for task in tasks])
    shown = [{"category": {"name": "Shared"}, "priority": {"level": level}} for level in (1, 2)]
    assert answer.data == {
        "nodes": [None, shown[0], None, shown[1]],
        "broken": None,
        "fine": {"nodes": shown[::-1]},
    }
    assert set(answer.codes) == {"INTERNAL_SERVER_ERROR"}
    for error in answer.errors:
        _check_masked_error(error, caplog)


def test_masked_error_is_logged_with_its_exception(caplog: pytest.LogCaptureFixture) -> None:
    cause = ValueError("cause")
    masked = errors.mask_error(cause)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"Internal error {masked['extensions']['errorId']} in request -."
    assert record.exc_info is not None
    assert record.exc_info[1] is cause
    assert Categories.noun == "category"
