"""The policy matrix: the result of every operation on every table, per role of the viewer and owner of the row.

The statements contain no condition on the owner, so only the policies decide.
"""

import datetime as dt
import hashlib
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from repositories.administration import RoleGrants, Roles, SystemSettings
from repositories.aggregates.event_store import EventStore
from repositories.client_management import Clients, Contacts
from repositories.core.errors import Forbidden
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.engines.database import Database, WriteConnection
from repositories.gamification.achievements import Achievements, UserAchievements
from repositories.gamification.points import Points
from repositories.gamification.rewards import Redemptions, Rewards
from repositories.identity import Preferences, Sessions, Users
from repositories.job_runs import JobRuns
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.categories import Categories
from repositories.life_lock.events import TaskReopened
from repositories.life_lock.statistics import DashboardStats
from repositories.life_lock.tasks import Tasks
from repositories.partnership import Partners, Referrals
from repositories.permissions import RoleName
from repositories.sql.policy import policies
from repositories.sql.statements import Statement, scalar
from repositories.sql.table import Table, metadata
from repositories.tables.administration import JobRun, Role, RoleGrant, SystemSetting
from repositories.tables.client_management import Client, Contact
from repositories.tables.events import DomainEvent
from repositories.tables.gamification import (
    Achievement,
    LeaderboardPeriod,
    PointEntry,
    PointReason,
    Reward,
    RewardRedemption,
    Standing,
    UserAchievement,
)
from repositories.tables.identity import Session, User, UserPreferences
from repositories.tables.life_lock import Category, Task, TaskAnalytics, UserDashboardStats
from repositories.tables.partnership import Partner, PartnerKind, Referral
from tests.factories import viewer_of
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

ANSWERS = {
    RoleGrant: _OF_ADMINS,
    SystemSetting: _OF_ADMINS,
    Role: _READ_BY_ADMINS,
    JobRun: _READ_BY_ADMINS,
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
    Task: _OWNED,
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


class Case(NamedTuple):
    """One cell of the matrix."""

    table: type[Table]
    viewer: str
    row: str
    operation: str
    answer: str


def _cases() -> list[Case]:
    cases = []
    for table, text in ANSWERS.items():
        header, *lines = (line.split() for line in text.strip().splitlines())
        for viewer, row, *answers in lines:
            cases += [Case(table, viewer, row, *cell) for cell in zip(header[2:], answers, strict=True)]
    return cases


def _name(case: Case) -> str:
    return f"{case.table.__name__}-{case.viewer}-{case.row}-{case.operation}"


def _viewer(name: str, key: UUID) -> Viewer:
    if name == "user":
        return viewer_of(key)
    if name == "manager":
        return viewer_of(key, RoleName.PARTNERSHIP_MANAGER)
    return {"anonymous": ANONYMOUS, "admin": viewer_of(key, RoleName.ADMIN), "service": SERVICE}[name]


async def _insert_user(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del key
    await Users(write).add(id=owner, email=f"{owner.hex}@example.com", first_name="Ada", last_name="Byron")


async def _insert_category(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Categories(write).add(id=key, user_id=owner, name="Home", color="#00FF00")


async def _insert_task(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Tasks(write).add(id=key, user_id=owner, title="Water")


async def _insert_day(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Analytics(write).add(id=key, user_id=owner, date=dt.date(2024, 1, 1), tasks_created=3)


async def _insert_session(write: WriteConnection, key: UUID, owner: UUID) -> None:
    at = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    hashed = hashlib.sha256(key.bytes).hexdigest()
    await Sessions(write).add(
        id=key, user_id=owner, refresh_token_hash=hashed, user_agent="browser", expires_at=at, last_seen_at=at
    )


async def _insert_preferences(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del key
    await Preferences(write).add(id=owner, user_id=owner, language="de", notifications={})


async def _insert_event(write: WriteConnection, key: UUID, owner: UUID) -> None:
    event = TaskReopened(aggregate_id=key, owner_id=owner, completed_at=None)
    await EventStore(write).append([event], actor=owner, at=dt.datetime(2024, 1, 1, tzinfo=dt.UTC))


async def _insert_partner(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Partners(write).add(
        id=key, name="Acme", kind=PartnerKind.REFERRAL, commission_rate=Decimal("0.1"), manager_id=owner
    )


async def _prepare_partner(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await _insert_partner(write, owner, owner)


async def _insert_referral(write: WriteConnection, key: UUID, owner: UUID) -> None:
    """Adds a referral of the partner whose id is that of the owner."""
    await Referrals(write).add(id=key, partner_id=owner, client_name="Client")


async def _insert_client(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Clients(write).add(id=key, created_by=owner, company_name="Acme")


async def _insert_contact(write: WriteConnection, key: UUID, owner: UUID) -> None:
    client = CLIENTS[owner]
    email = f"{key.hex}@example.com"
    values = {"client_id": client, "user_id": owner, "first_name": "Joan", "last_name": "Clarke", "email": email}
    await Contacts(write).add(id=key, **values)


CLIENTS: dict[UUID, UUID] = {}
"""The client to which contacts are added, by owner."""


async def _prepare_client(write: WriteConnection, key: UUID, owner: UUID) -> None:
    CLIENTS[owner] = (await Clients(write).add(created_by=owner, company_name="Acme")).id


async def _insert_role(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del owner
    await Roles(write).add(id=key, name=key.hex, description="Before")


async def _prepare_role(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del key
    await _insert_role(write, owner, owner)


async def _insert_grant(write: WriteConnection, key: UUID, owner: UUID) -> None:
    """Adds a grant of the role whose id is that of the owner."""
    at = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    await RoleGrants(write).add(id=key, user_id=owner, role_id=owner, granted_by=owner, granted_at=at)


async def _insert_setting(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del owner
    await SystemSettings(write).add(id=key, key=key.hex, description="Before")


async def _insert_run(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del owner
    await JobRuns(write).add(id=key, job="Before", started_at=dt.datetime(2024, 1, 1, tzinfo=dt.UTC))


async def _prepare_nothing(write: WriteConnection, key: UUID, owner: UUID) -> None:
    del write, owner


async def _insert_achievement(write: WriteConnection, key: UUID, owner: UUID) -> None:
    criteria = {"event": "TaskCompleted", "count": 999}
    await Achievements(write).add(
        id=key, code=f"hero_{key.hex}", name="Hero", description="Be one.", points=3, criteria=criteria
    )


async def _insert_unlocked(write: WriteConnection, key: UUID, owner: UUID) -> None:
    at = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    await UserAchievements(write).add(id=key, user_id=owner, achievement_id=_FIRST_TASK, unlocked_at=at, created_at=at)


async def _record_event(write: WriteConnection, key: UUID, owner: UUID) -> None:
    event = TaskReopened(key, owner, None, id=key)
    await EventStore(write).append([event], actor=owner, at=dt.datetime(2024, 1, 1, tzinfo=dt.UTC))


async def _insert_entry(write: WriteConnection, key: UUID, owner: UUID) -> None:
    reason = PointReason.TASK_COMPLETED
    await Points(write).add(id=key, user_id=owner, points=10, reason=reason, source_event_id=key)


async def _insert_reward(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Rewards(write).add(id=key, name="Tea", cost=10, stock=5)


async def _insert_redemption(write: WriteConnection, key: UUID, owner: UUID) -> None:
    at = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    await Redemptions(write).add(id=key, user_id=owner, reward_id=key, cost=10, redeemed_at=at)


async def _insert_standing(write: WriteConnection, key: UUID, owner: UUID) -> None:
    await Users(write).change(await Users(write).get(owner), first_name=str(key))
    await _record_event(write, key, owner)
    await _insert_entry(write, key, owner)


_FIRST_TASK = UUID("019b76da-a800-7000-8000-000000000001")
"""An achievement that the migrations create."""


class Subject(NamedTuple):
    """How the test inserts, finds and changes a row of a table. ``prepare`` adds the rows to which it refers."""

    insert: Callable[[WriteConnection, UUID, UUID], Awaitable[None]]
    key: str
    column: str
    before: Any
    after: Any
    prepare: Callable[[WriteConnection, UUID, UUID], Awaitable[None]] = _prepare_nothing
    known_by: Callable[[UUID], Any] = lambda key: key


_AT = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)

SUBJECTS: dict[type[Table], Subject] = {
    Role: Subject(_insert_role, "id", "description", "Before", "Changed"),
    RoleGrant: Subject(
        _insert_grant,
        "id",
        "granted_at",
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
        prepare=_prepare_role,
    ),
    SystemSetting: Subject(_insert_setting, "id", "description", "Before", "Changed"),
    JobRun: Subject(_insert_run, "id", "job", "Before", "Changed"),
    User: Subject(_insert_user, "id", "first_name", "Ada", "Changed"),
    Category: Subject(_insert_category, "id", "name", "Home", "Changed"),
    Task: Subject(_insert_task, "id", "title", "Water", "Changed"),
    TaskAnalytics: Subject(_insert_day, "id", "tasks_created", 3, 7),
    Session: Subject(_insert_session, "id", "user_agent", "browser", "Changed"),
    UserPreferences: Subject(_insert_preferences, "user_id", "language", "de", "fr"),
    Client: Subject(_insert_client, "id", "company_name", "Acme", "Changed"),
    Contact: Subject(_insert_contact, "id", "first_name", "Joan", "Changed", _prepare_client),
    DomainEvent: Subject(_insert_event, "aggregate_id", "event_type", "TaskReopened", "Changed"),
    Partner: Subject(_insert_partner, "id", "name", "Acme", "Changed"),
    Referral: Subject(_insert_referral, "id", "client_name", "Client", "Changed", prepare=_prepare_partner),
    Achievement: Subject(_insert_achievement, "id", "points", 3, 7),
    UserAchievement: Subject(_insert_unlocked, "id", "created_at", _AT, _AT + dt.timedelta(days=1)),
    PointEntry: Subject(_insert_entry, "id", "points", 10, 1000, prepare=_record_event),
    Reward: Subject(_insert_reward, "id", "stock", 5, 500),
    RewardRedemption: Subject(_insert_redemption, "id", "cost", 10, 1, prepare=_insert_reward),
    Standing: Subject(_insert_standing, "display_name", "points", 10, 10, known_by=lambda key: f"{key} B."),
    UserDashboardStats: Subject(_insert_user, "id", "total_tasks", 0, 0),
}


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
    subject, table = SUBJECTS[case.table], case.table.__table__
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
    subject = SUBJECTS[case.table]
    column = table.c[subject.key]
    statement = sa.select(table.c[subject.column]).where(column == sa.bindparam("key", type_=column.type)).distinct()
    async with open_snapshot(database) as snapshot:
        return await snapshot.rows(Statement(statement, scalar(object)), key=subject.known_by(key))


async def _check(database: Database, case: Case, *, is_bare: bool = False) -> None:
    me, someone = new_id(), new_id()
    owner = me if case.row == "own" else someone
    subject = SUBJECTS[case.table]
    is_user = subject.insert is _insert_user
    key = owner if is_user or case.table is UserPreferences else new_id()
    async with database.transaction(SERVICE) as write:
        if not is_user:
            await _insert_user(write, owner, owner)
            await subject.prepare(write, key, owner)
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
    assert {table.__table__ for table in ANSWERS} == set(policies)
    for table in ANSWERS:
        wanted = {"select"} if table.__table__.info["is_view"] else set(OPERATIONS)
        assert {case.operation for case in _cases() if case.table is table} == wanted


async def test_a_viewer_cannot_change_the_owner_of_a_row(database: Database) -> None:
    """The new row must satisfy the policy too."""
    me, someone, key = new_id(), new_id(), new_id()
    async with database.transaction(SERVICE) as write:
        await _insert_user(write, me, me)
        await _insert_user(write, someone, someone)
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
            await _insert_user(write, user, user)
            await Tasks(write).add_many([{"user_id": user, "title": f"Task {index}"} for index in range(3)])
    table = Task.__table__
    everything = Statement(sa.update(table).values(title="Changed").returning(table.c.user_id), scalar(UUID))
    async with database.transaction(viewer_of(me)) as write:
        assert await write.rows(everything) == [me] * 3
    async with database.transaction(viewer_of(me, RoleName.ADMIN)) as write:
        gone = await write.rows(Statement(sa.delete(table).returning(table.c.user_id), scalar(UUID)))
    assert gone == [me] * 3
    async with open_snapshot(database) as snapshot:
        left = await Tasks(snapshot).find(limit=10)
    assert sorted((row.user_id, row.title) for row in left) == [(someone, f"Task {index}") for index in range(3)]
