"""A SQLite file that is moved away or deleted while the gateway serves."""

import asyncio
import logging
import shutil

import httpx
import pytest

from repositories.core.errors import ServiceUnavailable
from repositories.core.viewer import SERVICE
from repositories.engines.database import DatabaseOptions
from repositories.engines.factory import open_database
from repositories.identity import Users
from tests.cli.siso import Siso
from tests.factories import make_user
from tests.repositories.support import connect_database, open_snapshot


def test_a_moved_file_is_not_created_again(on_sqlite: Siso, sqlite_only: DatabaseOptions) -> None:
    """Requests get SERVICE_UNAVAILABLE, and the log has one line. They succeed when the file is back."""
    path = sqlite_only.sqlite_path
    elsewhere = path.with_name("elsewhere.sqlite3")

    async def add_user() -> None:
        async with connect_database(sqlite_only) as database:
            await make_user(database, email="ada@example.com")

    asyncio.run(add_user())
    token = on_sqlite.expect_output("token", "ada@example.com")
    headers = {"Authorization": f"Bearer {token}"}

    def post(url: str, document: str) -> httpx.Response:
        return httpx.post(f"{url}/graphql", json={"query": document}, headers=headers, timeout=30)

    create = 'mutation { createTask(input: {title: "x"}) { task { id } userErrors { message } } }'
    with on_sqlite.serving() as gateway:
        assert gateway.ask("{ tasks { totalCount } }", token) == {"tasks": {"totalCount": 0}}
        path.rename(elsewhere)
        size = elsewhere.stat().st_size
        for document in ("{ tasks { totalCount } }", create, "{ tasks { totalCount } }", create):
            answer = post(gateway.url, document).json()
            assert [error["extensions"]["code"] for error in answer["errors"]] == ["SERVICE_UNAVAILABLE"], answer
        assert not path.exists()
        assert elsewhere.stat().st_size == size
        elsewhere.rename(path)
        assert gateway.ask("{ tasks { totalCount } }", token) == {"tasks": {"totalCount": 0}}
        assert gateway.ask(create, token)["createTask"]["userErrors"] == []
        assert gateway.ask("{ tasks { totalCount } }", token) == {"tasks": {"totalCount": 1}}
        ended = gateway.stop()
    lines = [line for line in (ended.out + ended.err).splitlines() if "database file" in line]
    assert len(lines) == 2, lines
    assert f"The database file {path} was moved or deleted. Requests fail until it is back." in lines[0]
    assert f"The database file {path} is back." in lines[1]


async def test_another_file_at_the_path_is_not_used(
    sqlite_only: DatabaseOptions, caplog: pytest.LogCaptureFixture
) -> None:
    path = sqlite_only.sqlite_path
    async with connect_database(sqlite_only) as database:
        await make_user(database)
        shutil.copy(path, path.with_name("copy"))
        path.with_name("copy").replace(path)
        content = path.read_bytes()
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                with pytest.raises(ServiceUnavailable):
                    async with open_snapshot(database) as snapshot:
                        await Users(snapshot).count()
                with pytest.raises(ServiceUnavailable):
                    await make_user(database)
                with pytest.raises(ServiceUnavailable):
                    async with database.try_lock("job"):
                        pass
        assert [record.getMessage() for record in caplog.records] == [
            f"Another file replaced the database file {path}. Restart the gateway to use it."
        ]
        assert path.read_bytes() == content
        assert database.pool_state().used == 0


async def test_a_file_that_is_missing_at_the_start_is_not_created(sqlite_only: DatabaseOptions) -> None:
    sqlite_only.sqlite_path.unlink()
    database = open_database(sqlite_only)
    with pytest.raises(ServiceUnavailable, match="does not exist"):
        await database.connect()
    assert not sqlite_only.sqlite_path.exists()
    with pytest.raises(ServiceUnavailable):
        async with database.transaction(SERVICE):
            pass
    await database.close()
