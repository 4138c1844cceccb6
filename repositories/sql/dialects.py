"""The SQL dialects of both engines. Their compilers add the viewer's policies to every statement.

Where a statement reads a table that has a policy, the compiler replaces the table by
``(SELECT * FROM notes WHERE <read condition>) AS notes``. Subqueries, joins and outer joins therefore return the same
rows as under row-level security. SQLite has no row-level security, so this condition is the only protection there. On
PostgreSQL it repeats the policy in a form for which the planner can use an index.

On SQLite, updates, deletes and locking reads also get the conditions in their WHERE, and an insert or update returns
whether the new row satisfies the policy. The database interface (repositories/engines/database.py) checks that value.
"""

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg, PGDialect_asyncpg, PGIdentifierPreparer_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler, SQLiteIdentifierPreparer

from repositories.sql.policy import Condition, Roles, policies

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler

    _Compiler = SQLCompiler
else:
    _Compiler = object


class _PolicyCompiler(_Compiler):
    """Restricts every table in FROM to the rows that the viewer may read. ``dialect.roles`` is None for the service."""

    restricts_locking_reads = False

    def visit_table(self, table: sa.Table, *args: Any, **kw: Any) -> str:
        text: str = super().visit_table(table, *args, **kw)  # type: ignore[no-untyped-call]
        if not kw.get("asfrom"):
            return text
        enclosing = kw.get("enclosing_alias")
        bare, source = self.preparer.quote(table.name), self.preparer.format_table(table)
        condition = None if kw.get("iscrud") else self._condition(table)
        alias = text.removeprefix(bare)
        if condition is not None:
            source = f"(SELECT * FROM {source} WHERE {self.process(condition)})"  # noqa: S608 (contains no input)
            alias = alias or f" AS {bare}"
        return source if enclosing is not None and enclosing.element is table else source + alias

    def _condition(self, table: sa.Table) -> Condition | None:
        roles: Roles | None = self.dialect.roles  # type: ignore[attr-defined]
        if roles is None or table not in policies or (self._is_locking_read() and not self.restricts_locking_reads):
            return None
        condition = policies[table].read.condition(roles)
        return None if isinstance(condition, sa.True_) else condition

    def _is_locking_read(self) -> bool:
        statement = self.stack[-1]["selectable"] if self.stack else None
        return getattr(statement, "_for_update_arg", None) is not None


class _SqlitePreparer(SQLiteIdentifierPreparer):
    """Writes names without a schema, because SQLite has no schemas."""

    def __init__(self, dialect: Any) -> None:
        super().__init__(dialect, omit_schema=True)
        self.schema_for_object = lambda _table: None  # type: ignore[assignment]


class _SqliteCompiler(_PolicyCompiler, SQLiteCompiler):
    """Restricts locking reads too. On PostgreSQL, row-level security alone restricts them."""

    restricts_locking_reads = True


class SqliteDialect(SQLiteDialect_aiosqlite):
    """SQLite for viewers with ``roles``; None stands for the service."""

    supports_statement_cache = False
    preparer: type[SQLiteIdentifierPreparer] = _SqlitePreparer
    statement_compiler = _SqliteCompiler

    def __init__(self, roles: Roles | None = None) -> None:
        super().__init__(paramstyle="qmark")
        self.supports_native_boolean = True
        self.roles = roles


class _PostgresPreparer(PGIdentifierPreparer_asyncpg):
    """Writes tables with their schema, and columns with the table's bare name, which may be that of a subquery."""

    def __init__(self, dialect: Any) -> None:
        super().__init__(dialect)
        self.schema_for_object = lambda _table: None  # type: ignore[assignment]

    def format_table(self, table: Any, use_schema: bool = True, name: str | None = None) -> str:  # noqa: FBT001, FBT002
        quoted = self.quote(name or table.name)
        return f"{self.quote_schema(table.schema)}.{quoted}" if use_schema and table.schema else quoted


class _PostgresCompiler(_PolicyCompiler, PGCompiler_asyncpg):
    pass


class PostgresDialect(PGDialect_asyncpg):
    """PostgreSQL for viewers with ``roles``; None stands for the service."""

    supports_statement_cache = False
    preparer: type[PGIdentifierPreparer_asyncpg] = _PostgresPreparer
    statement_compiler = _PostgresCompiler

    def __init__(self, roles: Roles | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.roles = roles


def apply_policy(sql: sa.Executable, roles: Roles) -> tuple[sa.Executable, bool]:
    """Adds the policy to a write or a locking read on SQLite.

    Returns the statement, and whether the last value of its rows tells if the policy allows the new row. A locking read
    prepares a write: as on PostgreSQL, it returns only rows that the viewer may write.
    """
    if isinstance(sql, sa.Select) and sql._for_update_arg is not None:  # noqa: SLF001 (no public attribute exists)
        locked = [policies[source] for source in sql.columns_clause_froms if source in policies]
        return sql.where(*(policy.write.condition(roles) for policy in locked)), False
    if not isinstance(sql, sa.Insert | sa.Update | sa.Delete):
        return sql, False
    policy = policies.get(sql.table)
    if policy is None:
        return sql, False
    allowed = (policy.read & policy.write).condition(roles)
    if isinstance(sql, sa.Delete):
        return sql.where(allowed), False
    if isinstance(sql, sa.Update):
        sql = sql.where(allowed)
    return sql.returning(allowed.label("policy_allows")), True
