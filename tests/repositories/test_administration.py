"""The numbers of the users' overview equal those computed in plain Python."""

import datetime as dt
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from repositories.administration import RoleGrants, Roles, UserOverview, UserTally
from repositories.aggregates.event_store import EventStore
from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.ids import new_id
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.life_lock.events import TaskReopened
from repositories.permissions import RoleName
from repositories.tables.identity import UserRole, UserStatus
from tests.factories import make_grant, make_user, viewer_of
from tests.repositories.support import SharedDatabase, examples, open_snapshot

AT = dt.datetime(2026, 6, 15, tzinfo=dt.UTC)
moments = st.integers(-3, 3).map(lambda days: AT + dt.timedelta(days=days, microseconds=days % 2))
_GRANTABLE = [role for role in RoleName if role is not RoleName.USER]
_people = st.fixed_dictionaries(
    {
        "role": st.sampled_from(UserRole),
        "status": st.sampled_from(UserStatus),
        "deleted_at": st.sampled_from([None, None, AT]),
        "created_at": moments,
        "granted": st.sets(st.sampled_from(_GRANTABLE)),
        "did": st.lists(moments, max_size=2),
    }
)


async def _check(database: Database, rows: list[dict[str, Any]], week: dt.datetime, month: dt.datetime) -> None:
    """Compares the numbers. The database also contains the rows of earlier examples, and both sides count them."""
    admin = await make_user(database, role=UserRole.ADMIN)
    for row in rows:
        extra = {"granted", "did"}
        user = await make_user(database, **{name: value for name, value in row.items() if name not in extra})
        for role in row["granted"]:
            await make_grant(database, user, role, by=admin)
        for moment in row["did"]:
            async with open_unit_of_work(database, viewer_of(user), (), moment) as work:
                work.record(TaskReopened(new_id(), user.id, None))
    async with open_snapshot(database) as snapshot:
        users = [user for user in await Users(snapshot).find(limit=10_000) if user.deleted_at is None]
        names = {role.id: role.name for role in await Roles(snapshot).find(limit=10)}
        granted = {(grant.user_id, names[grant.role_id]) for grant in await RoleGrants(snapshot).find(limit=10_000)}
        recorded = await EventStore(snapshot).find(limit=10_000)
    async with open_snapshot(database, viewer_of(admin, RoleName.ADMIN)) as snapshot:
        overview = UserOverview(snapshot)
        by_status = [sum(user.status is status for user in users) for status in UserStatus]
        new = [sum(user.created_at >= since for user in users) for since in (week, month)]
        assert await overview.tally(week, month) == UserTally._make([*by_status, *new])
        counted = {
            role: sum(
                (user.id, role.value) in granted or (role is RoleName.ADMIN and user.role is UserRole.ADMIN)
                for user in users
            )
            for role in _GRANTABLE
        }
        assert await overview.by_role() == {RoleName.USER: len(users)} | counted
        actors = {event.user_id for event in recorded if event.timestamp >= week}
        assert await overview.active(week) == len(actors)


def test_the_overview_equals_a_computation_in_python(shared_database: SharedDatabase) -> None:
    @examples(25)
    @given(st.lists(_people, max_size=4), moments, moments)
    def check(rows: list[dict[str, Any]], week: dt.datetime, month: dt.datetime) -> None:
        shared_database.run(_check(shared_database.database, rows, week, month))

    check()
