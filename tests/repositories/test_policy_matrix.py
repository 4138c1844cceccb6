"""The policy matrix: the result of every operation on every table, per role of the viewer and owner of the row.

The statements contain no condition on the owner, so only the policies decide.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, Grouping

from repositories.core.errors import Forbidden
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.engines.database import Database
from repositories.life_lock.statistics import DashboardStats
from repositories.life_lock.tasks import Tasks
from repositories.permissions import RoleName
from repositories.sql.aggregate import aggregates
from repositories.sql.policy import Rule, policies
from repositories.sql.statements import Statement, scalar
from repositories.sql.table import Table, metadata
from repositories.tables.administration import JobRun, Role, RoleGrant
from repositories.tables.client_management import Client, Contact
from repositories.tables.commerce import Order, Product, StockLevel, StockMovement
from repositories.tables.events import DomainEvent
from repositories.tables.gamification import (
    Achievement,
    LeaderboardPeriod,
    PointEntry,
    Reward,
    RewardRedemption,
    Standing,
    UserAchievement,
)
from repositories.tables.idempotency import IdempotencyRecord
from repositories.tables.identity import AccountToken, AccountUsage, OutboxMessage, Session, User, UserPreferences
from repositories.tables.life_lock import Category, Task, TaskAnalytics, TaskNames, UserDashboardStats
from repositories.tables.partnership import Partner, Referral
from tests.factories import viewer_of
from tests.repositories.policy_subjects import ASSIGNEES, insert_user, subject_of
from tests.repositories.support import SharedDatabase, open_snapshot

OPERATIONS = ("select", "lock", "insert", "update", "delete")

# done: the operation has an effect · unseen: the row does not exist for the viewer · forbidden: Forbidden is raised

_OWNED = """
    viewer     row     select  lock    insert     update  delete
    anonymous  other   unseen  unseen  forbidden  unseen  unseen
    user       own     done    done    done       done    done
    user       other   unseen  unseen  forbidden  unseen  unseen
    admin      own     done    done    done       done    done
    admin      other   done    unseen  forbidden  unseen  unseen
    service    other   done    done    done       done    done
"""

_OF_THE_ROLE = """
    viewer     row     select  lock    insert     update  delete
    anonymous  other   unseen  unseen  forbidden  unseen  unseen
    user       own     unseen  unseen  forbidden  unseen  unseen
    user       other   unseen  unseen  forbidden  unseen  unseen
    manager    own     done    done    done       done    done
    manager    other   done    done    done       done    done
    admin      other   done    done    done       done    done
    service    other   done    done    done       done    done
"""

_ADMINISTERED = """
    viewer     row     select  lock    insert     update  delete
    anonymous  other   unseen  unseen  forbidden  unseen  unseen
    user       own     done    done    done       done    done
    user       other   unseen  unseen  forbidden  unseen  unseen
    admin      own     done    done    done       done    done
    admin      other   done    done    done       done    done
    service    other   done    done    done       done    done
"""

_OF_ADMINS = """
    viewer     row     select  lock    insert     update  delete
    anonymous  other   unseen  unseen  forbidden  unseen  unseen
    user       own     unseen  unseen  forbidden  unseen  unseen
    manager    other   unseen  unseen  forbidden  unseen  unseen
    admin      own     done    done    done       done    done
    admin      other   done    done    done       done    done
    service    other   done    done    done       done    done
"""

_READ_BY_ADMINS = """
    viewer     row     select  lock    insert     update  delete
    anonymous  other   unseen  unseen  forbidden  unseen  unseen
    user       own     unseen  unseen  forbidden  unseen  unseen
    admin      other   done    unseen  forbidden  unseen  unseen
    service    other   done    done    done       done    done
"""

_PUBLISHED = """
    viewer     row     select  lock    insert     update  delete
    anonymous  other   unseen  unseen  forbidden  unseen  unseen
    user       other   done    unseen  forbidden  unseen  unseen
    admin      other   done    done    done       done    done
    service    other   done    done    done       done    done
"""

_OWN = """
    viewer     row     select  lock    insert     update  delete
    anonymous  other   unseen  unseen  forbidden  unseen  unseen
    user       own     done    done    done       done    done
    user       other   unseen  unseen  forbidden  unseen  unseen
    admin      own     done    done    done       done    done
    admin      other   unseen  unseen  forbidden  unseen  unseen
    service    other   done    done    done       done    done
"""

_OF_THE_SERVICE = """
    viewer     row     select  lock    insert     update  delete
    anonymous  other   unseen  unseen  forbidden  unseen  unseen
    user       own     unseen  unseen  forbidden  unseen  unseen
    admin      own     unseen  unseen  forbidden  unseen  unseen
    admin      other   unseen  unseen  forbidden  unseen  unseen
    service    other   done    done    done       done    done
"""

ANSWERS = {
    AccountUsage: _ADMINISTERED,
    AccountToken: _OF_THE_SERVICE,
    OutboxMessage: _OF_THE_SERVICE,
    RoleGrant: _OF_ADMINS,
    Role: _READ_BY_ADMINS,
    JobRun: _READ_BY_ADMINS,
    IdempotencyRecord: _OWN,
    Achievement: _PUBLISHED,
    Reward: _PUBLISHED,
    UserAchievement: _ADMINISTERED,
    RewardRedemption: _ADMINISTERED,
    PointEntry: """
    viewer     row     select  lock    insert     update     delete
    anonymous  other   unseen  unseen  forbidden  unseen     unseen
    user       own     done    done    done       forbidden  forbidden
    user       other   unseen  unseen  forbidden  unseen     unseen
    admin      own     done    done    done       forbidden  forbidden
    admin      other   done    done    done       forbidden  forbidden
    service    other   done    done    done       forbidden  forbidden
""",
    Standing: """
    viewer     row     select
    anonymous  other   unseen
    user       own     done
    user       other   done
    admin      other   done
    service    other   done
""",
    Category: _OWNED,
    Task: f"""{_OWNED.rstrip()}
    user       assigned  done    unseen  forbidden  unseen  unseen
    manager    assigned  done    unseen  forbidden  unseen  unseen
    admin      assigned  done    unseen  forbidden  unseen  unseen
""",
    TaskNames: """
    viewer     row       select
    anonymous  other     unseen
    user       own       done
    user       assigned  done
    user       other     unseen
    manager    assigned  done
    admin      other     done
    service    other     done
""",
    TaskAnalytics: _OWNED,
    User: _ADMINISTERED,
    Session: _ADMINISTERED,
    UserPreferences: _OWNED,
    Client: _ADMINISTERED,
    Contact: _ADMINISTERED,
    DomainEvent: """
    viewer     row     select  lock    insert     update     delete
    anonymous  other   unseen  unseen  forbidden  unseen     unseen
    user       own     done    done    done       forbidden  forbidden
    user       other   unseen  unseen  forbidden  unseen     unseen
    admin      own     done    done    done       forbidden  forbidden
    admin      other   done    unseen  forbidden  unseen     unseen
    service    other   done    done    done       forbidden  forbidden
""",
    StockLevel: """
    viewer     row     select  lock    insert     update  delete
    anonymous  other   done    unseen  forbidden  unseen  unseen
    user       other   done    unseen  forbidden  unseen  unseen
    catalog    other   done    unseen  forbidden  unseen  unseen
    admin      other   done    unseen  forbidden  unseen  unseen
    service    other   done    done    done       done    done
""",
    StockMovement: """
    viewer     row     select  lock    insert     update     delete
    anonymous  other   unseen  unseen  forbidden  unseen     unseen
    user       own     done    done    done       forbidden  forbidden
    user       other   unseen  unseen  forbidden  unseen     unseen
    manager    other   unseen  unseen  forbidden  unseen     unseen
    catalog    other   done    done    done       forbidden  forbidden
    orders     other   done    done    done       forbidden  forbidden
    admin      other   done    done    done       forbidden  forbidden
    service    other   done    done    done       forbidden  forbidden
""",
    Product: """
    viewer     row     select  lock    insert     update  delete
    anonymous  other   done    unseen  forbidden  unseen  unseen
    user       other   done    unseen  forbidden  unseen  unseen
    catalog    other   done    done    done       done    done
    orders     other   done    unseen  forbidden  unseen  unseen
    admin      other   done    done    done       done    done
    service    other   done    done    done       done    done
""",
    Order: """
    viewer     row     select  lock    insert     update  delete
    anonymous  other   unseen  unseen  forbidden  unseen  unseen
    user       own     done    done    done       done    done
    user       other   unseen  unseen  forbidden  unseen  unseen
    catalog    other   unseen  unseen  forbidden  unseen  unseen
    orders     other   done    done    done       done    done
    admin      other   done    done    done       done    done
    service    other   done    done    done       done    done
""",
    Partner: _OF_THE_ROLE,
    Referral: _OF_THE_ROLE,
    UserDashboardStats: """
    viewer     row     select
    anonymous  other   unseen
    user       own     unseen
    user       other   unseen
    admin      own     done
    admin      other   done
    service    other   done
""",
}


_SPECIAL = {DomainEvent, PointEntry, StockMovement}
"""Tables whose triggers reject changes that their policies allow."""


class Case(NamedTuple):
    """One cell of the matrix."""

    table: type[Table]
    viewer: str
    row: str
    operation: str
    answer: str


_VIEWERS = [("anonymous", "other"), *((name, row) for name in ("user", "manager", "admin") for row in ("own", "other"))]
_ROLES = {
    "user": frozenset({RoleName.USER}),
    "manager": frozenset({RoleName.USER, RoleName.PARTNERSHIP_MANAGER}),
    "admin": frozenset({RoleName.USER, RoleName.ADMIN}),
}
_MANAGERS = {"catalog": RoleName.CATALOG_MANAGER, "orders": RoleName.ORDER_MANAGER}
"""The viewers whose roles only the policies of commerce name."""


def _rows_of(table: type[Table]) -> list[tuple[str, str]]:
    """The viewers and rows of a table. Only some policies name a second person, to whom a row is assigned."""
    is_assigned = len(policies[table.__table__].read.people) > 1
    managers = _MANAGERS if table.__table__.schema == "commerce" else ()
    return [*_VIEWERS, *((name, "other") for name in managers), *((name, "assigned") for name in _ROLES if is_assigned)]


def _is_allowed(rule: Rule, viewer: str, row: str) -> bool:
    """Whether a rule is true for a row, worked out from the rule without a database."""

    def holds(condition: Any) -> bool:
        match condition:
            case sa.True_():
                return True
            case sa.False_():
                return False
            case BooleanClauseList():
                test = any if condition.operator is operators.or_ else all
                return test(map(holds, condition.clauses))
            case BinaryExpression() if condition.operator is operators.is_not:
                return viewer != "anonymous"
            case BinaryExpression() if condition.operator is operators.eq:
                is_of_assignee = any(condition.left is column for column in rule.people[1:])
                return viewer != "anonymous" and row == ("assigned" if is_of_assignee else "own")
            case BinaryExpression() if condition.operator is operators.is_ and isinstance(condition.right, sa.True_):
                return holds(condition.left)
            case BinaryExpression() if condition.operator in {operators.is_, operators.in_op}:
                return True  # the row is not deleted, or a movement that reserves stock
            case Grouping():
                return holds(condition.element)
            case _:
                raise TypeError(condition)

    roles = frozenset({RoleName.USER, _MANAGERS[viewer]}) if viewer in _MANAGERS else _ROLES.get(viewer, frozenset())
    return holds(rule.condition(roles))


def _expected(table: type[Table]) -> dict[tuple[str, str], tuple[str, ...]]:
    """The results of all operations by viewer and row, by the policy of the table."""
    policy = policies[table.__table__]
    expected = {("service", "other"): ("done",) * len(OPERATIONS)}
    for viewer, row in _rows_of(table):
        reads = _is_allowed(policy.read, viewer, row)
        writes = reads and _is_allowed(policy.write, viewer, row)
        changed = "done" if writes else "unseen"
        inserted = "done" if writes else "forbidden"
        expected[viewer, row] = ("done" if reads else "unseen", changed, inserted, changed, changed)
    return expected


def _rows() -> Iterator[tuple[type[Table], str, str, dict[str, str]]]:
    """The rows of all matrices: those written here, and those derived from the policies of other aggregates."""
    for table, text in ANSWERS.items():
        header, *lines = (line.split() for line in text.strip().splitlines())
        for viewer, row, *answers in lines:
            yield table, viewer, row, dict(zip(header[2:], answers, strict=True))
    for table in aggregates:
        if table not in ANSWERS:
            for (viewer, row), cells in _expected(table).items():
                yield table, viewer, row, dict(zip(OPERATIONS, cells, strict=True))


def _cases() -> list[Case]:
    return [Case(table, viewer, row, *cell) for table, viewer, row, cells in _rows() for cell in cells.items()]


@pytest.mark.parametrize(
    "table", [table for table in ANSWERS if table not in _SPECIAL], ids=lambda table: table.__name__
)
def test_the_matrix_follows_from_the_policy(table: type[Table]) -> None:
    """The written matrices check the derived ones, which stand alone for new aggregates."""
    expected = _expected(table)
    for _, viewer, row, cells in (each for each in _rows() if each[0] is table):
        derived = dict(zip(OPERATIONS, expected[viewer, row], strict=True))
        assert cells == {operation: derived[operation] for operation in cells}, (viewer, row)


def _name(case: Case) -> str:
    return f"{case.table.__name__}-{case.viewer}-{case.row}-{case.operation}"


def _viewer(name: str, key: UUID) -> Viewer:
    if name == "user":
        return viewer_of(key)
    if name in _MANAGERS:
        return viewer_of(key, _MANAGERS[name])
    if name == "manager":
        return viewer_of(key, RoleName.PARTNERSHIP_MANAGER)
    return {"anonymous": ANONYMOUS, "admin": viewer_of(key, RoleName.ADMIN), "service": SERVICE}[name]


def _build(sql: Any, *, is_bare: bool) -> Statement[Any]:
    """A statement. A bare one is sent as literal SQL, to which the compiler does not add the policies."""
    if not is_bare:
        return Statement(sql, scalar(object))
    literal = sql.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    return Statement(sa.text(str(literal)), scalar(object))


async def _attempt(  # noqa: PLR0913 (one parameter per dimension of the matrix)
    database: Database, case: Case, viewer: Viewer, key: UUID, owner: UUID, *, is_bare: bool
) -> str:
    """Executes the operation as the viewer and returns its result as a cell of the matrix."""
    subject, table = subject_of(case.table), case.table.__table__
    column, known_by = table.c[subject.key], subject.known_by(key)
    is_row = column == (known_by if is_bare else sa.bindparam("key", type_=column.type))
    if case.table is Standing:
        is_row &= table.c.period == LeaderboardPeriod.ALL
    value = table.c[subject.column]
    statements: dict[str, sa.Executable] = {
        "select": sa.select(value).where(is_row),
        "lock": sa.select(value).where(is_row).with_for_update(),
        "update": sa.update(table).where(is_row).values({subject.column: subject.after}).returning(value),
        "delete": sa.delete(table).where(is_row).returning(value),
    }
    try:
        if case.operation == "select":
            async with open_snapshot(database, viewer) as snapshot:
                rows = await snapshot.rows(_build(statements["select"], is_bare=is_bare), key=known_by)
            return "done" if rows else "unseen"
        async with database.transaction(viewer) as write:
            if case.operation == "insert":
                await subject.insert(write, key, owner)
                return "done"
            rows = await write.rows(_build(statements[case.operation], is_bare=is_bare), key=known_by)
            return "done" if rows else "unseen"
    except Forbidden:
        return "forbidden"


async def _values(database: Database, case: Case, key: UUID) -> list[Any]:
    """The values of the row as the service reads them."""
    table = case.table.__table__
    subject = subject_of(case.table)
    column = table.c[subject.key]
    statement = sa.select(table.c[subject.column]).where(column == sa.bindparam("key", type_=column.type)).distinct()
    async with open_snapshot(database) as snapshot:
        return await snapshot.rows(Statement(statement, scalar(object)), key=subject.known_by(key))


async def _check(database: Database, case: Case, *, is_bare: bool = False) -> None:
    me, someone = new_id(), new_id()
    owner = me if case.row == "own" else someone
    subject = subject_of(case.table)
    is_user = subject.insert is insert_user
    key = owner if is_user or case.table in (AccountUsage, UserPreferences) else new_id()
    async with database.transaction(SERVICE) as write:
        if not is_user:
            await insert_user(write, owner, owner)
            await subject.prepare(write, key, owner)
        if case.row == "assigned":
            await insert_user(write, me, me)
            ASSIGNEES[owner] = me
        if case.operation != "insert":
            await subject.insert(write, key, owner)
    if case.table is UserDashboardStats:
        async with database.transaction(SERVICE) as write:
            await DashboardStats(write).refresh()
    assert await _values(database, case, key) == ([] if case.operation == "insert" else [subject.before])

    assert await _attempt(database, case, _viewer(case.viewer, me), key, owner, is_bare=is_bare) == case.answer

    values_afterwards = {
        ("insert", "done"): [subject.before],
        ("insert", "forbidden"): [],
        ("update", "done"): [subject.after],
        ("delete", "done"): [],
    }
    expected = values_afterwards.get((case.operation, case.answer), [subject.before])
    assert await _values(database, case, key) == expected


@pytest.mark.parametrize("case", _cases(), ids=_name)
def test_an_operation_has_the_result_of_the_matrix(shared_database: SharedDatabase, case: Case) -> None:
    """An operation that is unseen or forbidden does not change the row."""
    shared_database.run(_check(shared_database.database, case))


@pytest.mark.parametrize("case", _cases(), ids=_name)
@pytest.mark.parametrize("shared_database", ["postgresql"], indirect=True)
def test_row_level_security_alone_gives_the_results_of_the_matrix(shared_database: SharedDatabase, case: Case) -> None:
    """The results do not depend on the conditions that the compiler adds to statements."""
    shared_database.run(_check(shared_database.database, case, is_bare=True))


def test_the_matrix_covers_every_table_with_a_policy() -> None:
    """Every table has a policy, and the matrix contains all operations for tables and ``select`` for views."""
    assert set(policies) == set(metadata.tables.values())
    tables: set[type[Table]] = {*ANSWERS, *aggregates}
    assert {table.__table__ for table in tables} == set(policies)
    for table in tables:
        operations = {"select"} if table.__table__.info["is_view"] else set(OPERATIONS)
        assert {case.operation for case in _cases() if case.table is table} == operations


async def test_a_viewer_cannot_change_the_owner_of_a_row(database: Database) -> None:
    """The new row must satisfy the policy too."""
    me, someone, key = new_id(), new_id(), new_id()
    async with database.transaction(SERVICE) as write:
        await insert_user(write, me, me)
        await insert_user(write, someone, someone)
        mine = await Tasks(write).add(id=key, user_id=me, title="Mine")
    with pytest.raises(Forbidden):
        async with database.transaction(viewer_of(me)) as write:
            await Tasks(write).change(mine, user_id=someone)
    async with open_snapshot(database) as snapshot:
        assert await Tasks(snapshot).get(key) == mine


async def test_statements_without_where_affect_only_rows_of_the_viewer(database: Database) -> None:
    me, someone = new_id(), new_id()
    async with database.transaction(SERVICE) as write:
        for user in (me, someone):
            await insert_user(write, user, user)
            await Tasks(write).add_many([{"user_id": user, "title": f"Task {index}"} for index in range(3)])
    table = Task.__table__
    everything = Statement(sa.update(table).values(title="Changed").returning(table.c.user_id), scalar(UUID))
    async with database.transaction(viewer_of(me)) as write:
        assert await write.rows(everything) == [me] * 3
    async with database.transaction(viewer_of(me, RoleName.ADMIN)) as write:
        deleted_owners = await write.rows(Statement(sa.delete(table).returning(table.c.user_id), scalar(UUID)))
    assert deleted_owners == [me] * 3
    async with open_snapshot(database) as snapshot:
        left = await Tasks(snapshot).find(limit=10)
    assert sorted((row.user_id, row.title) for row in left) == [(someone, f"Task {index}") for index in range(3)]
