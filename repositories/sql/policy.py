"""Policies: which viewers may read and write a row. They are declared beside the table, and the database enforces them.

    policy(Note, read=owner(Note.user_id) | role(RoleName.ADMIN), write=owner(Note.user_id))

On PostgreSQL the declaration becomes ``CREATE POLICY`` in a migration, and a test compares the two. On SQLite the
compiler adds the same condition to every statement (repositories/sql/dialects.py). A resolver that does not filter by
owner therefore still reads no row of another user, on either engine.

| operation | a row is affected if                 | and the new row must satisfy                 |
|-----------|--------------------------------------|----------------------------------------------|
| select    | read                                 |                                              |
| insert    |                                      | write (and read, because it is returned)     |
| update    | read and write                       | write (and read, because it is returned)     |
| delete    | read and write                       |                                              |

A new row that the policy does not allow is a FORBIDDEN error. A row that the viewer may not read does not exist for the
viewer.

``owner OR admin`` in one condition would prevent both engines from using an index on the owner. Statements are
therefore compiled once per set of roles, for which ``role`` is the constant true or false. The reads of a user without
further roles contain ``user_id = $1``, also on PostgreSQL, in addition to row-level security.

The gateway's transactions on PostgreSQL have roles of their own (decision 0024). The roles ``anon`` and
``authenticated`` belong to other clients of the database, such as PostgREST: they may read the columns that are not
secret of the rows that the policy allows, and write nothing.

| role                    | is used by                           | privileges on tables                     |
|-------------------------|--------------------------------------|------------------------------------------|
| ``siso_viewer``         | reads of viewers                     | SELECT                                   |
| ``siso_writer``         | units of work of viewers             | SELECT, INSERT, UPDATE, DELETE           |
| ``service_role``        | the gateway's own work               | all rows: SELECT, INSERT, UPDATE, DELETE |
| ``anon, authenticated`` | other clients of the database        | SELECT on columns that are not secret    |
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import elements, operators, visitors

from repositories.core.viewer import Viewer
from repositories.permissions import RoleName
from repositories.sql import types
from repositories.sql.declarations import DeclarationError, declared, place_of
from repositories.sql.table import Table

CLIENTS = ("anon", "authenticated")
"""The roles of other clients of a PostgreSQL database."""
VIEWER = "siso_viewer"
WRITER = "siso_writer"
SERVICE_ROLE = "service_role"

Roles = frozenset[RoleName]
Condition = sa.ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on rows.

    ``condition(roles)`` is the condition for a viewer with these roles. ``condition(None)`` is the condition for
    PostgreSQL's DDL, which reads the roles from the claims of the transaction.
    """

    condition: Callable[[Roles | None], Condition]
    people: tuple[sa.Column[Any], ...] = ()
    """The columns with the ids of the users for whom the rule is true: the owner of a row first."""

    def __or__(self, other: "Rule") -> "Rule":
        people = self.people + other.people
        return Rule(lambda roles: _build_or(self.condition(roles), other.condition(roles)), people)

    def __and__(self, other: "Rule") -> "Rule":
        people = self.people + other.people
        return Rule(lambda roles: _build_and(self.condition(roles), other.condition(roles)), people)

    @property
    def owner(self) -> sa.Column[Any] | None:
        """The column with the owner of a row, None if the rule names no users."""
        return self.people[0] if self.people else None

    @property
    def roles(self) -> Roles:
        """The roles of signed-in viewers for whom the rule can be true."""
        return frozenset(name for name in RoleName if not isinstance(self.condition(_roles_with(name)), sa.False_))


def _roles_with(name: RoleName) -> Roles:
    """The roles of a signed-in viewer with one further role."""
    return frozenset({RoleName.USER, name})


def _build_or(*conditions: Condition) -> Condition:
    """OR of the conditions, or a constant: true if one of them is true, false if all of them are false."""
    if any(isinstance(part, sa.True_) for part in conditions):
        return sa.true()
    return sa.false() if all(isinstance(part, sa.False_) for part in conditions) else sa.or_(*conditions)


def _build_and(*conditions: Condition) -> Condition:
    """AND of the conditions, or the constant false if one of them is false."""
    return sa.false() if any(isinstance(part, sa.False_) for part in conditions) else sa.and_(*conditions)


def owner(column: sa.Column[Any]) -> Rule:
    """Rows whose ``column`` contains the viewer's id."""
    viewer = sa.bindparam("viewer_id", type_=types.Id())
    claimed = sa.literal_column("(SELECT auth.uid())", types.Id())
    return Rule(lambda roles: column == (claimed if roles is None else viewer), (column,))


def assignee(column: sa.Column[Any], deleted_at: sa.Column[Any] | None = None) -> Rule:
    """Rows whose ``column`` contains the viewer's id and that are not deleted, beside those of ``owner``.

    ``IS TRUE`` keeps the engines from using an index for ``owner OR assignee``, which they prefer to the index of a
    list even if it finds far more rows. Lists of such rows have a condition of their own (``scope`` in
    resolvers/aggregates/row_queries.py).
    """
    is_live = sa.true() if deleted_at is None else deleted_at.is_(None)
    is_assigned = owner(column).condition

    def condition(roles: Roles | None) -> Condition:
        assigned = sa.and_(is_assigned(roles), is_live)
        return assigned if roles is None else assigned.self_group().is_(sa.true())

    return Rule(condition, (column,))


def role(wanted: RoleName) -> Rule:
    """All rows, for viewers who have the role."""
    claimed = sa.literal_column(f"(SELECT auth.jwt() -> 'app_metadata' -> 'roles' ? '{wanted.value}')", sa.Boolean())

    def condition(roles: Roles | None) -> Condition:
        if roles is None:
            return claimed
        return sa.true() if wanted in roles else sa.false()

    return Rule(condition)


def owner_in_json(column: sa.Column[Any], key: str) -> Rule:
    """Rows whose JSON ``column`` contains the viewer's id under ``key``, as text."""
    viewer = sa.cast(sa.bindparam("viewer_id", type_=types.Id()), sa.Text())
    claimed = sa.literal_column("(SELECT auth.uid())::text", sa.Text())
    value = column.op("->>", return_type=sa.Text(), precedence=15)(sa.literal_column(f"'{key}'"))
    return Rule(lambda roles: value == (claimed if roles is None else viewer))


def one_of(column: sa.Column[Any], values: Sequence[str]) -> Rule:
    """Rows whose ``column`` contains one of some constants."""
    constants: list[sa.ColumnElement[str]] = [sa.literal_column(f"'{value}'") for value in values]
    return Rule(lambda _roles: column.in_(constants))


def signed_in() -> Rule:
    """All rows, for viewers who are signed in."""
    viewer = sa.bindparam("viewer_id", type_=types.Id())
    claimed = sa.literal_column("(SELECT auth.uid())", types.Id())
    return Rule(lambda roles: (claimed if roles is None else viewer).is_not(None))


def everybody() -> Rule:
    """All rows, for every caller, signed in or not."""
    return Rule(lambda _roles: sa.true())


SERVICE_ONLY = Rule(lambda _roles: sa.false())


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one table. The table in the module's docstring says which rule applies to which operation."""

    table: sa.Table
    read: Rule
    write: Rule


policies: dict[Any, Policy] = {}
"""The policies by table. A table without a policy fails a test, and on PostgreSQL it appears empty."""


def policy(table: type[Table], *, read: Rule, write: Rule = SERVICE_ONLY) -> None:
    """Declares which rows of ``table`` viewers may read and write. Without ``write``, only the service may write."""
    declared_policy = Policy(table.__table__, read, write)
    _check_policy(declared_policy)
    policies[table.__table__] = declared_policy


def _check_policy(policy: Policy) -> None:
    """Raises DeclarationError if the rules of a policy contradict its table or each other."""
    table = policy.table
    for rule in (policy.read, policy.write):
        for column in _columns(rule.condition(None)):
            if column.table is not table:
                raise DeclarationError(place_of(column), f"the policy of {table.name} names a column of another table")
        for column in rule.people:
            if declared(column).kind is not UUID:
                raise DeclarationError(place_of(column), "the policy compares it with a viewer's id, but it is no id")
    for name in RoleName:
        roles = _roles_with(name)
        if _exceeds(policy.write.condition(roles), policy.read.condition(roles)):
            reason = f"the policy lets viewers with the role {name} write rows that they may not read"
            raise DeclarationError(table.name, reason)


def _columns(condition: Condition) -> list[sa.Column[Any]]:
    return [part for part in visitors.iterate(condition) if isinstance(part, sa.Column)]


def _exceeds(write: Condition, read: Condition) -> bool:
    """Whether ``write`` can be true for a row for which ``read`` is false."""
    readable = _alternatives(read)
    return any(not any(needed <= known for needed in readable) for known in _alternatives(write))


def _alternatives(condition: Any) -> list[frozenset[str]]:
    """Sets of conditions on columns. A row that satisfies all of one set satisfies the condition.

    The viewer is signed in, so a condition without columns, such as that of ``signed_in``, holds for all rows.
    """
    if isinstance(condition, sa.False_):
        return []
    if isinstance(condition, elements.Grouping):
        return _alternatives(condition.element)
    if isinstance(condition, sa.BooleanClauseList):
        parts = [_alternatives(part) for part in condition.clauses]
        if condition.operator is operators.or_:
            return [each for part in parts for each in part]
        return [frozenset().union(*each) for each in product(*parts)]
    return [frozenset({str(condition)} if _columns(condition) else ())]


def claims(viewer: Viewer) -> dict[str, object]:
    """The value of ``request.jwt.claims`` in the viewer's transactions on PostgreSQL, in Supabase's format."""
    return {
        "sub": str(viewer.id) if viewer.id else None,
        "role": viewer.claimed_role,
        "app_metadata": {"roles": sorted(viewer.roles)},
    }


def database_role(viewer: Viewer, *, writes: bool) -> str:
    """The PostgreSQL role of the viewer's transactions."""
    if viewer.is_service:
        return SERVICE_ROLE
    return WRITER if writes else VIEWER


def row_level_security(declared: Policy) -> list[str]:
    """The PostgreSQL statements that enforce a policy. A test compares them with the migrations.

    ``service_role`` has its own policy instead of BYPASSRLS, because only a superuser may grant BYPASSRLS.
    """
    name = f"{declared.table.schema}.{declared.table.name}"
    read, write = compile_for_ddl(declared.read), compile_for_ddl(declared.write)
    clients = ", ".join(CLIENTS)
    rules: Mapping[str, str] = {
        "viewer_select": f"FOR SELECT TO {clients}, {VIEWER}, {WRITER} USING ({read})",
        "viewer_insert": f"FOR INSERT TO {WRITER} WITH CHECK ({write})",
        "viewer_update": f"FOR UPDATE TO {WRITER} USING ({write}) WITH CHECK ({write})",
        "viewer_delete": f"FOR DELETE TO {WRITER} USING ({write})",
        "service": f"FOR ALL TO {SERVICE_ROLE} USING (true) WITH CHECK (true)",
    }
    return [
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
        *(f"CREATE POLICY {rule} ON {name} {text}" for rule, text in rules.items()),
        f"GRANT SELECT ({', '.join(readable_columns(declared.table))}) ON {name} TO {clients}",
        f"GRANT SELECT ON {name} TO {VIEWER}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {WRITER}, {SERVICE_ROLE}",
    ]


def readable_columns(table: sa.Table) -> list[str]:
    """The columns that other clients of the database may read: those that are not secret."""
    return [column.name for column in table.columns if not declared(column).secret]


def compile_for_ddl(rule: Rule) -> str:
    """The condition of a rule in the text of a CREATE POLICY."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(rule.condition(None).compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
