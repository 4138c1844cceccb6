"""Alembic's entry point: runs the migrations on the connection that :mod:`migrations.run` hands over."""

from typing import Any

import sqlalchemy as sa
from alembic import context

from repositories.tables import metadata

connection: sa.Connection = context.config.attributes["connection"]
IS_POSTGRESQL = connection.dialect.name == "postgresql"


def tables() -> sa.MetaData:
    """The declared tables as this engine knows them: SQLite without schemas, both without views."""
    made = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        if table.info.get("is_view"):
            continue
        if IS_POSTGRESQL:
            table.to_metadata(made)
        else:
            table.to_metadata(
                made,
                schema=None,  # type: ignore[arg-type]  # None takes the schema away, which the annotation forgets
                referred_schema_fn=lambda *_: sa.BLANK_SCHEMA,  # type: ignore[arg-type]
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
