"""Who may see and change a row: declared once beside its table, enforced by the database.

    policy(Category, read=owner(Category.user_id) | role(Role.ADMIN), write=owner(Category.user_id))

On PostgreSQL the declaration becomes ``CREATE POLICY`` (row-level security, in the migrations; a test compares them);
on SQLite the same condition is put into every statement (kit/dialects.py). A resolver that forgets to filter by owner
therefore still sees nothing that is not the viewer's, on either engine.

| operation | a row is touched if                  | and the new row must satisfy                 |
|-----------|--------------------------------------|----------------------------------------------|
| select    | read                                 |                                              |
| insert    |                                      | write (and read, as it is handed back)       |
| update    | read and write                       | write (and read, as it is handed back)       |
| delete    | read and write                       |                                              |

What a write policy refuses is an error (FORBIDDEN), what it does not show is simply not there.

``owner OR admin`` as one condition would keep both engines from using an index on the owner. Statements are therefore
compiled per set of roles, in which ``role`` is plainly true or false: a plain user's reads say ``user_id = $1``,
on PostgreSQL too, beside row-level security, which stays the guard.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from repositories.core.viewer import Viewer
from repositories.permissions import RoleName
from repositories.sql import types
from repositories.sql.table import Table

Roles = frozenset[RoleName]
Condition = sa.ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on rows.

    ``condition(roles)`` is for a viewer with those roles, ``condition(None)`` for the DDL of PostgreSQL, which asks the
    claims of the transaction instead.
    """

    condition: Callable[[Roles | None], Condition]

    def __or__(self, other: "Rule") -> "Rule":
        return Rule(lambda roles: _build_or(self.condition(roles), other.condition(roles)))

    def __and__(self, other: "Rule") -> "Rule":
        return Rule(lambda roles: sa.and_(self.condition(roles), other.condition(roles)))


def _build_or(*conditions: Condition) -> Condition:
    """``or``, which is plainly true if one part is, so that nothing is left of the condition."""
    return sa.true() if any(isinstance(part, sa.True_) for part in conditions) else sa.or_(*conditions)


def owner(column: sa.Column[Any]) -> Rule:
    """Rows whose ``column`` is the viewer."""
    viewer = sa.bindparam("viewer_id", type_=types.Id())
    claimed = sa.literal_column("(SELECT auth.uid())", types.Id())
    return Rule(lambda roles: column == (claimed if roles is None else viewer))


def role(wanted: RoleName) -> Rule:
    """Every row, for viewers who have the role."""
    claimed = sa.literal_column(f"(SELECT auth.jwt() -> 'app_metadata' -> 'roles' ? '{wanted.value}')", sa.Boolean())

    def condition(roles: Roles | None) -> Condition:
        if roles is None:
            return claimed
        return sa.true() if wanted in roles else sa.false()

    return Rule(condition)


def signed_in() -> Rule:
    """Every row, for whoever is signed in."""
    viewer = sa.bindparam("viewer_id", type_=types.Id())
    claimed = sa.literal_column("(SELECT auth.uid())", types.Id())
    return Rule(lambda roles: (claimed if roles is None else viewer).is_not(None))


SERVICE_ONLY = Rule(lambda _roles: sa.false())


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one table; see the module's table for which applies when."""

    table: sa.Table
    read: Rule
    write: Rule


policies: dict[Any, Policy] = {}
"""Every table's policy. A table without one fails a test and, on PostgreSQL, shows nothing."""


def policy(table: type[Table], *, read: Rule, write: Rule = SERVICE_ONLY) -> None:
    """Declares who may ``read`` and ``write`` the rows of ``table``; without ``write`` only the service writes it."""
    policies[table.__table__] = Policy(table.__table__, read, write)


def claims(viewer: Viewer) -> dict[str, object]:
    """The ``request.jwt.claims`` of the viewer's transactions on PostgreSQL, in Supabase's shape."""
    return {
        "sub": str(viewer.id) if viewer.id else None,
        "role": viewer.database_role,
        "app_metadata": {"roles": sorted(viewer.roles)},
    }


def row_level_security(declared: Policy) -> list[str]:
    """The PostgreSQL statements that enforce a policy, for the test that compares them with the migrations.

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


def _text(rule: Rule) -> str:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(rule.condition(None).compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
