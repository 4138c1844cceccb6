"""Alembic's entry point. Runs the migrations on the connection that :mod:`migrations.run` passes."""

from typing import Any

import sqlalchemy as sa
from alembic import context

from repositories.tables import metadata

connection: sa.Connection = context.config.attributes["connection"]
IS_POSTGRESQL = connection.dialect.name == "postgresql"


def reflected_schema(schema: str | None) -> str | None:
    """Returns the schema's name in a reflected table: None on SQLite, and for PostgreSQL's default schema."""
    return schema if IS_POSTGRESQL and schema != "public" else None


def declared_tables() -> sa.MetaData:
    """Returns the declared tables with the schema names of this engine, without views."""
    tables = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        if not table.info.get("is_view"):
            table.to_metadata(
                tables,
                schema=reflected_schema(table.schema),  # type: ignore[arg-type]  # None removes the schema
                referred_schema_fn=lambda *given: reflected_schema(given[-1]) or sa.BLANK_SCHEMA,  # type: ignore[arg-type]
            )
    return tables


def include_name(name: str | None, kind: str, parents: Any) -> bool:
    """Excludes the schemas of other applications in the same database from the comparison."""
    del parents
    return kind != "schema" or name in {None, *(table.schema for table in metadata.tables.values())}


context.configure(
    connection=connection,
    target_metadata=declared_tables(),
    include_schemas=IS_POSTGRESQL,
    include_name=include_name,
    transaction_per_migration=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
