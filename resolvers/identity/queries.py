"""Queries of users, their sessions and their preferences."""

from typing import Any
from uuid import UUID

from repositories.core.viewer import SERVICE
from repositories.identity import (
    Preferences,
    PreferencesUpdated,
    ProfileUpdated,
    Sessions,
    Usages,
    Users,
    default_preferences,
)
from repositories.sql.page import PageRequest
from repositories.tables.identity import AccountUsage, Session, User, UserPreferences, UserStatus, Weekday
from resolvers.caching.cached import cached
from resolvers.identity.accounts import Accounts, Attempt
from resolvers.loading.edges import Connection, load, load_connection
from resolvers.request.context import Context


async def viewer(context: Context) -> User | None:
    """The signed-in user. Null without an Authorization header."""
    return await user(context, context.viewer.id) if context.viewer.id is not None else None


async def user(context: Context, key: UUID) -> User | None:
    """A user whom the viewer may see, or None."""
    return await load(context, Users.by_id, key, lambda: None)


@cached(own=(ProfileUpdated,))
async def account_time_zone(context: Context) -> str:
    """The IANA time zone in the viewer's account."""
    return (await Users(context.snapshot).get(context.viewer_id)).time_zone


_WEEKDAYS = tuple(Weekday)


@cached(own=(PreferencesUpdated,))
async def first_weekday(context: Context) -> int:
    """The day on which the viewer's weeks start, 0 (Monday) to 6 (Sunday)."""
    found: UserPreferences | None = await load(context, Preferences.by_id, context.viewer_id, _nothing)
    return _WEEKDAYS.index(found.week_starts_on) if found else 0


async def my_sessions(context: Context, request: PageRequest) -> Connection[Session]:
    """The viewer's sessions that have not ended, the most recently used first."""
    return await load_connection(context, Sessions, request, within=Sessions.alive_of(context.viewer_id, context.now))


async def is_current(context: Context, row: Session) -> bool:
    """Whether this request belongs to the session."""
    return row.id == context.viewer.session


async def find_active_user(context: Context, email: str) -> UUID | None:
    """The id of the active user with an e-mail address, or None. See AccountLookup."""
    await context.discard_reads()
    await context.service(Accounts).attempts.count(Attempt.ACCOUNT_LOOKUP, context.viewer_id)
    async with context.database.snapshot(SERVICE) as snapshot:
        user = await Users(snapshot).of_email(email)
    return user.id if user is not None and user.status is UserStatus.ACTIVE else None


def _nothing() -> Any:
    return None


async def preferences(context: Context, row: User) -> UserPreferences:
    """The preferences of the user."""
    found: UserPreferences | None = await load(context, Preferences.by_id, row.id, _nothing)
    return found or default_preferences(row)


async def usage(context: Context, row: User) -> AccountUsage:
    """How much the account stores."""
    found: AccountUsage | None = await load(context, Usages.by_id, row.id, _nothing)
    return found or AccountUsage._make((row.id, 0, 0))


async def byte_count(context: Context, row: AccountUsage) -> float:
    """The size of their texts in bytes, a whole number."""
    return float(row.byte_count)  # it can be greater than an Int


async def preferences_of(context: Context, key: UUID) -> UserPreferences | None:
    """The preferences of a user whom the viewer may see, or None."""
    found = await user(context, key)
    return await preferences(context, found) if found else None
