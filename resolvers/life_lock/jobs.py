"""Jobs that keep the days and statistics of tasks current."""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from uuid import UUID

from repositories.core.clock import LocalDay, date_of, day, days, stored_time_zone
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.statistics import DashboardStats
from resolvers.life_lock.reactions import ZONE_SHIFT
from resolvers.services.job import JobContext

CATCH_UP = dt.timedelta(days=7)
"""How many days are counted at most after the gateway was down: those that a score depends on."""

LOOK_BACK = dt.timedelta(hours=1)
_BEGINNING = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
PEOPLE_AT_ONCE = 100
DAYS_AT_ONCE = 10_000
DAYS_PER_STATEMENT = 500


async def refresh_statistics(context: JobContext) -> int:
    """Computes the totals of all users again. Returns the number of users."""
    async with context.database.transaction(SERVICE) as write:
        return await DashboardStats(write).refresh(has_time=True)


async def roll_days(context: JobContext) -> int:
    """Counts yesterday and today for all users whose day has begun since the last run. Returns the number of days.

    After a longer pause it counts every day since, at most a week. The first run counts one day.
    """
    zones = await _begun(context)
    counted = 0
    async for people in _people(context.database, list(zones)):
        async with context.database.transaction(SERVICE) as write:
            counted += await Analytics(write).roll([(user, day) for user, zone in people for day in zones[zone]])
        context.progress(counted)
    return counted


async def _begun(context: JobContext) -> Mapping[str, tuple[LocalDay, ...]]:
    """The time zones in which days have begun since the last run, with these days and the one before."""
    at = context.started_at
    since = max(context.last_success_at or at - dt.timedelta(days=1), at - CATCH_UP)
    async with context.database.snapshot(SERVICE) as snapshot:
        names = await Users(snapshot).time_zones()
    return {name: found for name in names if (found := _days_begun(name, since, at))}


def _days_begun(name: str, since: dt.datetime, at: dt.datetime) -> tuple[LocalDay, ...]:
    zone = stored_time_zone(name)
    first, last = date_of(since, zone), date_of(at, zone)
    return days(last, (last - first).days + 1, zone) if first < last else ()


async def _people(database: Database, zones: list[str]) -> AsyncIterator[list[tuple[UUID, str]]]:
    """The users with tasks in these time zones, in batches, so that no transaction takes long."""
    after = UUID(int=0)
    while zones:
        async with database.snapshot(SERVICE) as snapshot:
            found = await Analytics(snapshot).people(zones, after, PEOPLE_AT_ONCE)
        if not found:
            return
        yield found
        after = found[-1][0]


async def recount_days(context: JobContext) -> int:
    """Recounts all days of the users who have changed their time zone since the last run. Returns the number of days.

    The first run recounts the days of all users who ever changed it.
    """
    counted = 0
    for user in await _find_moved_users(context):
        counted += await _recount_all_days(context.database, user)
        context.progress(counted)
    return counted


async def _find_moved_users(context: JobContext) -> list[UUID]:
    """The users who have changed their time zone since the last run.

    Looks back one hour more, because the transaction of a change may have been open during that run, and because old
    access tokens, which still have the old time zone, may have been used since. A recount is harmless.
    """
    since = _BEGINNING if context.last_success_at is None else context.last_success_at - LOOK_BACK
    async with context.database.snapshot(SERVICE) as snapshot:
        return await Users(snapshot).with_changed_time_zone(since)


async def _recount_all_days(database: Database, user_id: UUID) -> int:
    """Recounts all days on which tasks of a user may now count, in one transaction, 500 days per statement."""
    async with database.transaction(SERVICE) as write:
        await Users(write).hold([user_id])
        user = (await Users(write).by_id([user_id])).get(user_id)
        if user is None:
            return 0
        zone, analytics = stored_time_zone(user.time_zone), Analytics(write)
        shifts = [dt.timedelta(days=shift) for shift in range(-ZONE_SHIFT, ZONE_SHIFT + 1)]
        dates = sorted({date + shift for date in await analytics.dates(user_id) for shift in shifts})
        counted = 0
        for start in range(0, len(dates), DAYS_PER_STATEMENT):
            part = [(user_id, day(date, zone)) for date in dates[start : start + DAYS_PER_STATEMENT]]
            counted += await analytics.recount(part)
        return counted


def retain_analytics(kept: dt.timedelta) -> Callable[[JobContext], Awaitable[int]]:
    """Deletes days before that age, by the date in UTC. Returns their number."""

    async def run(context: JobContext) -> int:
        before, deleted = (context.started_at - kept).astimezone(dt.UTC).date(), 0
        while True:
            async with context.database.transaction(SERVICE) as write:
                count = await Analytics(write).purge_before(before, DAYS_AT_ONCE)
            deleted += count
            context.progress(deleted)
            if count < DAYS_AT_ONCE:
                return deleted

    return run
