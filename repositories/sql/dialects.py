"""How SQL is spelled for each engine, with the viewer's policies in it.

Wherever a statement reads a table that has a policy, the compiler makes it read
``(SELECT * FROM tasks WHERE <read condition>) AS tasks``. Subqueries, joins and outer joins thereby mean the same as
under row-level security. On SQLite, which has none, this is the guard; on PostgreSQL it repeats the guard in a form
that an index can serve.

On SQLite updates, deletes and locking reads get the conditions in their WHERE, and every write hands back whether the
new row satisfies the write condition, which the seam checks.
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
    """Reads of a table become reads of what the viewer may see of it. ``dialect.roles`` is None for the service."""

    locks_what_is_visible = False

    def visit_table(self, table: sa.Table, *args: Any, **kw: Any) -> str:
        text: str = super().visit_table(table, *args, **kw)  # type: ignore[no-untyped-call]
        if not kw.get("asfrom"):
            return text
        enclosing = kw.get("enclosing_alias")
        bare, source = self.preparer.quote(table.name), self.preparer.format_table(table)
        condition = None if kw.get("iscrud") else self._condition(table)
        alias = text.removeprefix(bare)
        if condition is not None:
            source = f"(SELECT * FROM {source} WHERE {self.process(condition)})"  # noqa: S608 (all of it is ours)
            alias = alias or f" AS {bare}"
        return source if enclosing is not None and enclosing.element is table else source + alias

    def _condition(self, table: sa.Table) -> Condition | None:
        roles: Roles | None = self.dialect.roles  # type: ignore[attr-defined]
        if roles is None or table not in policies or (self._locks() and not self.locks_what_is_visible):
            return None
        condition = policies[table].read.condition(roles)
        return None if isinstance(condition, sa.True_) else condition

    def _locks(self) -> bool:
        statement = self.stack[-1]["selectable"] if self.stack else None
        return getattr(statement, "_for_update_arg", None) is not None


class _SqlitePreparer(SQLiteIdentifierPreparer):
    """Names without schema, which SQLite does not have."""

    def __init__(self, dialect: Any) -> None:
        super().__init__(dialect, omit_schema=True)
        self.schema_for_object = lambda _table: None  # type: ignore[assignment]


class _SqliteCompiler(_PolicyCompiler, SQLiteCompiler):
    """SQLite ignores FOR UPDATE: a locking read sees what any read sees."""

    locks_what_is_visible = True


class SqliteDialect(SQLiteDialect_aiosqlite):
    """SQLite for viewers with ``roles``, or for the service."""

    supports_statement_cache = False
    preparer: type[SQLiteIdentifierPreparer] = _SqlitePreparer
    statement_compiler = _SqliteCompiler

    def __init__(self, roles: Roles | None = None) -> None:
        super().__init__(paramstyle="qmark")
        self.supports_native_boolean = True
        self.roles = roles


class _PostgresPreparer(PGIdentifierPreparer_asyncpg):
    """Tables with their schema; columns with their table alone, which may be a subquery of its name."""

    def __init__(self, dialect: Any) -> None:
        super().__init__(dialect)
        self.schema_for_object = lambda _table: None  # type: ignore[assignment]

    def format_table(self, table: Any, use_schema: bool = True, name: str | None = None) -> str:  # noqa: FBT001, FBT002
        """``schema.table``."""
        quoted = self.quote(name or table.name)
        return f"{self.quote_schema(table.schema)}.{quoted}" if use_schema and table.schema else quoted


class _PostgresCompiler(_PolicyCompiler, PGCompiler_asyncpg):
    pass


class PostgresDialect(PGDialect_asyncpg):
    """PostgreSQL for viewers with ``roles``, or for the service."""

    supports_statement_cache = False
    preparer: type[PGIdentifierPreparer_asyncpg] = _PostgresPreparer
    statement_compiler = _PostgresCompiler

    def __init__(self, roles: Roles | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.roles = roles


def apply_policy(sql: sa.Executable, roles: Roles) -> tuple[sa.Executable, bool]:
    """For SQLite, a write with its policy in WHERE, and whether its last value says that the new row is allowed.

    A locking read is the first half of a write: as on PostgreSQL, only rows that may be written are locked.
    """
    if isinstance(sql, sa.Select) and sql._for_update_arg is not None:  # noqa: SLF001 (there is no public way to ask)
        locked = [policies[source] for source in sql.columns_clause_froms if source in policies]
        return sql.where(*(declared.write.condition(roles) for declared in locked)), False
    if not isinstance(sql, sa.Insert | sa.Update | sa.Delete):
        return sql, False
    declared = policies.get(sql.table)
    if declared is None:
        return sql, False
    allowed = (declared.read & declared.write).condition(roles)
    if isinstance(sql, sa.Delete):
        return sql.where(allowed), False
    if isinstance(sql, sa.Update):
        sql = sql.where(allowed)
    return sql.returning(allowed.label("policy_allows")), True
