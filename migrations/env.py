"""Alembic's entry point: runs the migrations on the connection that :mod:`migrations.run` hands over."""

from typing import Any

import sqlalchemy as sa
from alembic import context

from repositories.tables import metadata

connection: sa.Connection = context.config.attributes["connection"]
IS_POSTGRESQL = connection.dialect.name == "postgresql"


def shown_schema(schema: str | None) -> str | None:
    """A schema as the engine names it when asked: SQLite has none, PostgreSQL leaves out its default."""
    return schema if IS_POSTGRESQL and schema != "public" else None


def tables() -> sa.MetaData:
    """The declared tables as this engine knows them, without views."""
    made = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        if not table.info.get("is_view"):
            table.to_metadata(
                made,
                schema=shown_schema(table.schema),  # type: ignore[arg-type]  # None takes the schema away
                referred_schema_fn=lambda *given: shown_schema(given[-1]) or sa.BLANK_SCHEMA,  # type: ignore[arg-type]
            )
    return made


def include_name(name: str | None, kind: str, parents: Any) -> bool:
    """Only our own schemas are compared; others may live in the same database."""
    del parents
    return kind != "schema" or name in {None, *(table.schema for table in metadata.tables.values())}


context.configure(
    connection=connection,
    target_metadata=tables(),
    include_schemas=IS_POSTGRESQL,
    include_name=include_name,
    transaction_per_migration=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
