"""The notebook's own migration, registries and schema, for its tests alone."""

from collections.abc import Callable
from typing import Any, Protocol

import pytest
import sqlalchemy as sa
import strawberry
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from strawberry.schema.config import StrawberryConfig

from migrations import run
from repositories.engines.database import Database, DatabaseOptions
from repositories.permissions import RoleName
from repositories.tables.identity import User, UserRole
from resolvers.request.context import Context
from schema.types.scalars import SCALARS
from tests.api.conftest import ada, admin, bob
from tests.databases import Server, database_of
from tests.example import OWN, REGISTRIES, migration
from tests.example.contract import NotebookMutations, NotebookQueries
from tests.factories import viewer_of

__all__ = ["ada", "admin", "bob"]

_SCHEMA = strawberry.Schema(NotebookQueries, NotebookMutations, config=StrawberryConfig(scalar_map=SCALARS))


class Ask(Protocol):
    """Sends an operation as a user, and hands back the data of the answer, in which nothing went wrong."""

    async def __call__(self, user: User, document: str, **variables: Any) -> Any: ...


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook is a domain like any other until the end of the test."""
    for registry, own in zip(REGISTRIES, OWN, strict=True):
        for key, value in own.items():
            monkeypatch.setitem(registry, key, value)


@pytest.fixture
def options(cloned_options: DatabaseOptions) -> DatabaseOptions:
    """A database of the test's own, because the notebook's migration changes it."""
    return cloned_options


Migrate = Callable[[Callable[[], None]], None]


@pytest.fixture
def migrate(options: DatabaseOptions, request: pytest.FixtureRequest) -> Migrate:
    """Runs a step of a migration, as the owner of the database."""
    url = None
    if options.url is not None:
        server: Server = request.getfixturevalue("server")
        url = server.login("owner", database_of(options))

    def on(connection: sa.Connection, step: Callable[[], None]) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            step()
        connection.commit()

    return lambda step: run.call_with_connection(url, options.sqlite_path, lambda connection: on(connection, step))


@pytest.fixture
def ask(migrate: Migrate, database: Database) -> Ask:
    """The notebook's schema over the migrated database."""
    migrate(migration.upgrade)

    async def ask(user: User, document: str, **variables: Any) -> Any:
        granted = [RoleName.ADMIN] if user.role is UserRole.ADMIN else []
        context = Context(database, viewer_of(user, *granted), reactions=())
        answer = await _SCHEMA.execute(document, variables, context_value=context)
        await context.close()
        assert answer.errors is None
        return answer.data

    return ask
