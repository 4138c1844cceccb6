"""What breaks: masked with an id that stands in the log, or named when waiting or asking for less helps."""

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
from resolvers.life_lock import queries
from schema import life_lock
from tests.api.client import SECRET, Gateway, connect_database, gid
from tests.api.relay import relayed
from tests.api.stored_rows import life_lock_rows
from tests.factories import make_category, make_task, make_user

SECRETS = "their secret: ada@example.com"


def _masked(error: dict[str, Any], caplog: pytest.LogCaptureFixture) -> str:
    """Checks an internal error, and hands back its id."""
    error_id = error["extensions"]["errorId"]
    assert str(UUID(error_id)) == error_id
    assert error["message"] == f"An internal error occurred. If it persists, report this id: {error_id}"
    assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id}
    assert f"Internal error {error_id}" in caplog.text
    return str(error_id)


async def test_a_broken_edge_is_masked_and_logged_once(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows stay, what the edge leads to is null; one failure of many fields has one id and one log entry."""

    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError(SECRETS)

    monkeypatch.setattr(queries.category_of_task.batch, "method", broken)
    category = await make_category(gateway.database, ada)
    for _ in range(3):
        await make_task(gateway.database, ada, category_id=category.id)
    answer = await gateway.client(ada).ask(
        "{ tasks { totalCount nodes { title category { name } } } viewer { firstName } }"
    )
    shown = {"totalCount": 3, "nodes": [{"title": "Something", "category": None}] * 3}
    assert answer.data == {"tasks": shown, "viewer": {"firstName": "Ada"}}
    assert [error["path"] for error in answer.errors] == [["tasks", "nodes", index, "category"] for index in range(3)]
    assert len({_masked(error, caplog) for error in answer.errors}) == 1
    assert len([record for record in caplog.records if record.name == "gateway.transport.error_responses"]) == 1
    assert "RuntimeError" in caplog.text
    assert SECRETS not in str(answer.body)


async def test_a_broken_command_leaves_nothing(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also if it breaks at the very end, in the reaction."""

    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError(SECRETS)

    monkeypatch.setattr(Analytics, "recompute", broken)
    answer = await gateway.client(ada).ask('mutation { createTask(input: {title: "x"}) { task { id } } }')
    assert answer.data is None
    _masked(answer.errors[0], caplog)
    assert SECRETS not in str(answer.body)
    assert await life_lock_rows(gateway.database) == [[], [], [], []]


async def test_a_fault_of_the_database_puts_no_values_into_the_log(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL quotes the value it cannot take; it is not told or logged, and SQL is only logged."""
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
    _masked(answer.errors[0], caplog)
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


async def test_a_slow_field_times_out_alone(options: DatabaseOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others answer, before it and after it."""
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


async def test_a_database_that_goes_away_and_comes_back(cloned_postgres: DatabaseOptions) -> None:
    """While it is gone every field says so, and health too; afterwards everything works without a restart."""
    async with relayed(cloned_postgres) as (relay, options), connect_database(options) as database:
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
                assert (answer.data, answer.codes) == (None, ["SERVICE_UNAVAILABLE"])
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


async def test_a_file_that_another_process_writes_to(sqlite_template: Path, tmp_path: Path) -> None:
    """SQLite: changes wait as long as the pool's limit and are then put off, reads go on."""
    path = tmp_path / "busy.sqlite3"
    shutil.copy(sqlite_template, path)
    async with connect_database(DatabaseOptions(sqlite_path=path), pool_timeout=0.1) as database:
        ada = await make_user(database)
        client = Gateway(database).client(ada)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = await client.ask('mutation { createTask(input: {title: "x"}) { task { id } } }')
        assert (answer.data, answer.codes) == (None, ["SERVICE_UNAVAILABLE"])
        assert await client.data("{ tasks { totalCount } }") == {"tasks": {"totalCount": 0}}
        other.execute("ROLLBACK")
        other.close()
        await client.do("createTask", "task { id }", title="x")
        assert await client.data("{ tasks { totalCount } }") == {"tasks": {"totalCount": 1}}


async def test_a_field_that_fails_takes_no_loader_from_others(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its siblings are cancelled while they wait for a batch that other rows wait for too; those get their answer."""
    ready = asyncio.Event()
    method = queries.category_of_task.batch.method

    async def slow(*arguments: Any, **named: Any) -> Any:
        await ready.wait()
        return await method(*arguments, **named)

    class Breaking(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            asyncio.get_running_loop().call_soon(ready.set)
            if index == 4:
                raise RuntimeError(SECRETS)
            return super().__getitem__(index)

    monkeypatch.setattr(queries.category_of_task.batch, "method", slow)
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
        _masked(error, caplog)


def test_an_error_is_logged_with_what_was_raised(caplog: pytest.LogCaptureFixture) -> None:
    cause = ValueError("cause")
    shown = errors.mask_error(cause)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"Internal error {shown['extensions']['errorId']} in request -"
    assert record.exc_info is not None
    assert record.exc_info[1] is cause
    assert Categories.noun == "category"
