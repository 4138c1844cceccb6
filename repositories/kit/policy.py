"""Who may see and change a row: declared once beside its table, enforced by the database.

    policy(Category, read=owner(Category.user_id) | role(Role.ADMIN), write=owner(Category.user_id))

A condition is ordinary SQL over the table's columns and two constructs about the viewer. On PostgreSQL the declaration
becomes ``CREATE POLICY`` (row-level security, in the migrations; a test compares them); on SQLite the same condition is
put by the seam into every statement (kit/sqlite.py). A resolver that forgets to filter by owner therefore still sees
nothing that is not the viewer's, on either engine.

| operation | a row is touched if                  | and the new row must satisfy                 |
|-----------|--------------------------------------|----------------------------------------------|
| select    | read                                 |                                              |
| insert    |                                      | write (and read, as it is handed back)       |
| update    | read and write                       | write (and read, as it is handed back)       |
| delete    | read and write                       |                                              |

What a write policy refuses is an error (FORBIDDEN), what it does not show is simply not there.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from repositories.kit import types
from repositories.kit.table import Table
from repositories.kit.viewer import Role, Viewer

Condition = sa.ColumnElement[bool]


class _ViewerId(sa.ColumnElement[Any]):
    """The id of the viewer, NULL if there is none."""

    inherit_cache = True
    type = types.Id()


class _ViewerHas(sa.ColumnElement[bool]):
    """Whether the viewer has a role."""

    inherit_cache = False
    type = sa.Boolean()

    def __init__(self, wanted: Role) -> None:
        self.wanted = wanted


@compiles(_ViewerId, "postgresql")
def _(element: _ViewerId, compiler: SQLCompiler, **kw: Any) -> str:
    return "(SELECT auth.uid())"


@compiles(_ViewerId, "sqlite")
def _(element: _ViewerId, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(sa.bindparam("viewer_id", type_=types.Id()), **kw)


@compiles(_ViewerHas, "postgresql")
def _(element: _ViewerHas, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(SELECT auth.jwt() -> 'app_metadata' -> 'roles' ? '{element.wanted.value}')"


@compiles(_ViewerHas, "sqlite")
def _(element: _ViewerHas, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(sa.bindparam(f"viewer_is_{element.wanted.name.lower()}", type_=sa.Integer()), **kw)


def viewer_parameters(viewer: Viewer) -> dict[str, object]:
    """The parameters behind the viewer constructs on SQLite."""
    return {
        "viewer_id": viewer.id,
        **{f"viewer_is_{role.name.lower()}": int(role in viewer.roles) for role in Role},
    }


def claims(viewer: Viewer) -> dict[str, object]:
    """The ``request.jwt.claims`` of the viewer's transactions on PostgreSQL, in Supabase's shape."""
    return {
        "sub": str(viewer.id) if viewer.id else None,
        "role": viewer.database_role,
        "app_metadata": {"roles": sorted(viewer.roles)},
    }


def owner(column: sa.Column[Any]) -> Condition:
    """Rows whose ``column`` is the viewer."""
    return column == _ViewerId()


def role(wanted: Role) -> Condition:
    """Every row, for viewers who have the role."""
    return _ViewerHas(wanted)


class Policy:
    """The conditions of one table; see the module's table for which applies when."""

    def __init__(self, table: sa.Table, read: Condition, write: Condition | None) -> None:
        self.table = table
        self.read = read
        self.write: Condition = sa.false() if write is None else write


policies: dict[sa.Table, Policy] = {}
"""Every table's policy. A table without one fails a test and, on PostgreSQL, shows nothing."""


def policy(table: type[Table], *, read: Condition, write: Condition | None = None) -> None:
    """Declares who may ``read`` and ``write`` the rows of ``table``; without ``write`` only the service writes it."""
    policies[table.__table__] = Policy(table.__table__, read, write)


def row_level_security(declared: Policy) -> list[str]:
    """The PostgreSQL statements that enforce a policy, for the migrations and the test that compares them.

    ``service_role`` has a policy of its own instead of BYPASSRLS, so that no superuser is needed to set it up.
    """
    name = f"{declared.table.schema}.{declared.table.name}"
    read, write = _text(declared.read), _text(declared.write)
    rules: Mapping[str, str] = {
        "viewer_select": f"FOR SELECT TO anon, authenticated USING ({read})",
        "viewer_insert": f"FOR INSERT TO anon, authenticated WITH CHECK ({write})",
        "viewer_update": f"FOR UPDATE TO anon, authenticated USING ({write}) WITH CHECK ({write})",
        "viewer_delete": f"FOR DELETE TO anon, authenticated USING ({write})",
        "service": "FOR ALL TO service_role USING (true) WITH CHECK (true)",
    }
    return [
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
        *(f"CREATE POLICY {rule} ON {name} {text}" for rule, text in rules.items()),
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO anon, authenticated, service_role",
    ]


def _text(condition: Condition) -> str:
    compiled = condition.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    return str(compiled)
