"""The column types of the migrations, as they were when the migrations were written.

They are frozen copies of the types in repositories/sql/types.py, because a revision must always create the same schema.
A revision that needs a different form of a type adds a new class here.
"""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine


class _PerEngine(TypeDecorator[Any]):
    """A PostgreSQL type, and the type and value format that SQLite stores instead."""

    cache_ok = True
    impl: TypeEngine[Any] | type[TypeEngine[Any]] = sa.Text
    postgresql: TypeEngine[Any]
    to_sqlite: Callable[[Any], Any]

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(self.postgresql if dialect.name == "postgresql" else self.impl_instance)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        if dialect.name == "postgresql":
            return None
        return lambda value: None if value is None else self.to_sqlite(value)


class Id(_PerEngine):
    """``uuid``; on SQLite 36 characters."""

    impl = sa.CHAR(36)
    postgresql = postgresql.UUID(as_uuid=True)

    @staticmethod
    def to_sqlite(value: UUID) -> str:
        return str(value)


class Timestamp(_PerEngine):
    """``timestamptz``; on SQLite ISO 8601 in UTC with microseconds, always 32 characters."""

    impl = sa.CHAR(32)
    postgresql = postgresql.TIMESTAMP(timezone=True)

    @staticmethod
    def to_sqlite(value: dt.datetime) -> str:
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")


class Day(_PerEngine):
    """``date``; on SQLite YYYY-MM-DD."""

    impl = sa.CHAR(10)
    postgresql = sa.Date()

    @staticmethod
    def to_sqlite(value: dt.date) -> str:
        return value.isoformat()


class Flag(_PerEngine):
    """``boolean``; on SQLite 0 or 1."""

    impl = sa.Integer
    postgresql = sa.Boolean()

    @staticmethod
    def to_sqlite(value: bool) -> int:  # noqa: FBT001 (one value in, one out)
        return int(value)


class Fixed(_PerEngine):
    """``numeric(precision, scale)``; on SQLite an integer in units of 10^-scale."""

    impl = sa.BigInteger

    def __init__(self, precision: int, scale: int) -> None:
        super().__init__()
        self.postgresql = sa.Numeric(precision, scale)
        self.to_sqlite = lambda value: int(Decimal(value).scaleb(scale))


class Json(_PerEngine):
    """``jsonb``; on SQLite JSON text."""

    postgresql = postgresql.JSONB()

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        del dialect
        return lambda value: None if value is None else orjson.dumps(value).decode()
