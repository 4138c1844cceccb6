"""How SQL is spelled for the embedded engine: without schemas, and with the viewer's policies in it.

SQLite has no row-level security. The compiler here puts it into the text: wherever a statement reads a table that has a
policy, it reads ``(SELECT * FROM tasks WHERE <read condition>) AS tasks`` instead. Subqueries, joins and outer joins
thereby mean the same as on PostgreSQL. Updates and deletes get the conditions in their WHERE, and every write hands
back whether the new row satisfies the write condition, which the seam checks.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler, SQLiteIdentifierPreparer

from repositories.kit.policy import policies


class _Preparer(SQLiteIdentifierPreparer):
    """Names without schema."""

    def __init__(self, dialect: Any) -> None:
        super().__init__(dialect, omit_schema=True)
        self.schema_for_object = lambda _table: None  # type: ignore[assignment]


class _PolicyCompiler(SQLiteCompiler):
    """Reads of a table become reads of what the viewer may see of it."""

    def visit_table(self, table: sa.Table, *args: Any, **kw: Any) -> str:
        text: str = super().visit_table(table, *args, **kw)  # type: ignore[no-untyped-call]
        asfrom, iscrud, enclosing_alias = kw.get("asfrom"), kw.get("iscrud"), kw.get("enclosing_alias")
        declared = policies.get(table)
        if not asfrom or iscrud or declared is None:
            return text
        is_aliased = enclosing_alias is not None and enclosing_alias.element is table
        name = self.preparer.format_table(table, use_schema=False)
        alias = text.removeprefix(name) or f" AS {name}"
        visible = f"(SELECT * FROM {name} WHERE {self.process(declared.read)})"  # noqa: S608 (names and conditions of ours)
        return visible + ("" if is_aliased else alias)


class OpenDialect(SQLiteDialect_aiosqlite):
    """SQLite for the service, which sees everything."""

    supports_statement_cache = True
    preparer: type[SQLiteIdentifierPreparer] = _Preparer
    supports_native_boolean = True
    default_paramstyle = "qmark"

    def __init__(self) -> None:
        super().__init__(paramstyle="qmark")


class PolicyDialect(OpenDialect):
    """SQLite for viewers."""

    supports_statement_cache = True
    statement_compiler = _PolicyCompiler


def with_policy(sql: sa.Executable) -> tuple[sa.Executable, bool]:
    """A write with its policy: conditions in WHERE and, as the last value returned, whether the new row is allowed.

    A locking read is the first half of a write: as on PostgreSQL, only rows that may be written are locked.
    """
    if isinstance(sql, sa.Select) and sql._for_update_arg is not None:  # noqa: SLF001 (there is no public way to ask)
        locked = [policies[source] for source in sql.columns_clause_froms if source in policies]
        return sql.where(*(declared.write for declared in locked)), False
    if not isinstance(sql, sa.Insert | sa.Update | sa.Delete):
        return sql, False
    declared = policies.get(sql.table) if isinstance(sql.table, sa.Table) else None
    if declared is None:
        return sql, False
    allowed = sa.and_(declared.read, declared.write)
    if isinstance(sql, sa.Delete):
        return sql.where(allowed), False
    if isinstance(sql, sa.Update):
        sql = sql.where(allowed)
    return sql.returning(allowed.label("policy_allows")), True
