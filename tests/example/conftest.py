"""The migration, the registries and the schema of the notebook, for its own tests only."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from migrations import run
from repositories.engines.database import Database, DatabaseOptions
from repositories.permissions import RoleName
from repositories.tables.identity import User, UserRole
from resolvers.request.context import Context
from tests.api.client import Ask
from tests.api.conftest import ada, admin, bob
from tests.databases import Server, database_of
from tests.example import OWN, REGISTRIES, SCHEMA, migration
from tests.factories import viewer_of

__all__ = ["ada", "admin", "bob"]


@pytest.fixture(autouse=True)
def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the notebook as a domain until the end of the test."""
    for registry, own in zip(REGISTRIES, OWN, strict=True):
        for key, value in own.items():
            monkeypatch.setitem(registry, key, value)


@pytest.fixture
def options(cloned_options: DatabaseOptions) -> DatabaseOptions:
    """A database for this test only, because the notebook's migration changes its schema."""
    return cloned_options


Migrate = Callable[[Callable[[], None]], None]


@pytest.fixture
def migrate(options: DatabaseOptions, request: pytest.FixtureRequest) -> Migrate:
    """Runs `upgrade` or `downgrade` of the migration as the owner of the database."""
    url = None
    if options.url is not None:
        server: Server = request.getfixturevalue("server")
        url = server.login("owner", database_of(options))

    def run_step(connection: sa.Connection, step: Callable[[], None]) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            step()
        connection.commit()

    return lambda step: run.call_with_connection(
        url, options.sqlite_path, lambda connection: run_step(connection, step)
    )


@pytest.fixture
def ask(migrate: Migrate, database: Database) -> Ask:
    """Executes operations of the notebook's schema on a migrated database."""
    migrate(migration.upgrade)

    async def ask(user: User, document: str, **variables: Any) -> Any:
        granted = [RoleName.ADMIN] if user.role is UserRole.ADMIN else []
        context = Context(database, viewer_of(user, *granted), reactions=())
        result = await SCHEMA.execute(document, variables, context_value=context)
        await context.close()
        assert result.errors is None
        return result.data

    return ask
