"""Users, their sessions and their preferences."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from repositories.administration import granted_roles
from repositories.aggregates.repository import Repository
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.clock import stored_time_zone
from repositories.core.event import Created, Event, Updated
from repositories.engines.database import ReadConnection
from repositories.permissions import RoleName
from repositories.sql import types
from repositories.sql.filters import And, Compare, Filter, Op
from repositories.sql.statements import Statement, in_list, scalar
from repositories.tables.events import DomainEvent
from repositories.tables.identity import (
    AccountUsage,
    Session,
    Theme,
    User,
    UserPreferences,
    UserRole,
    UserStatus,
    Weekday,
)

_users = User.__table__
_sessions = Session.__table__
_events = DomainEvent.__table__

# events


@dataclass(frozen=True, slots=True)
class UserSignedUp(Created, aggregate="user"):
    """A user created an account."""


@dataclass(frozen=True, slots=True)
class UserProvisioned(Created, aggregate="user"):
    """An account was created for the first token of a user from the external issuer."""


@dataclass(frozen=True, slots=True)
class UserSignedIn(Event, aggregate="user"):
    """A user signed in or signed up, which started a session."""

    session_id: UUID


@dataclass(frozen=True, slots=True)
class SessionStarted(Created, aggregate="session"):
    """A user signed in or signed up, which started a session."""


@dataclass(frozen=True, slots=True)
class SessionRefreshed(Event, aggregate="session"):
    """A session's refresh token was exchanged for the next one."""


@dataclass(frozen=True, slots=True)
class SessionRevoked(Event, aggregate="session"):
    """A session was ended before it expired.

    ``reason`` is one of signed_out, revoked, reused, password_changed, password_reset, deactivated, suspended and
    not_active.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class PasswordChanged(Event, aggregate="user"):
    """A password was replaced."""


@dataclass(frozen=True, slots=True)
class ProfileUpdated(Updated, aggregate="user"):
    """A user changed the profile of the account."""


@dataclass(frozen=True, slots=True)
class PreferencesUpdated(Updated, aggregate="user_preferences"):
    """A user changed preferences."""


@dataclass(frozen=True, slots=True)
class UserDeactivated(Event, aggregate="user"):
    """A user closed the account."""


@dataclass(frozen=True, slots=True)
class UserRoleChanged(Event, aggregate="user"):
    """An administrator changed the role of a user's account."""

    role: UserRole


@dataclass(frozen=True, slots=True)
class UserSuspended(Event, aggregate="user"):
    """An administrator suspended an account."""


@dataclass(frozen=True, slots=True)
class UserReinstated(Event, aggregate="user"):
    """An administrator activated an account that was suspended or closed."""


# users

_count: Statement[int] = Statement(sa.select(sa.func.count()).select_from(_users), scalar(int))

_time_zones: Statement[str] = Statement(
    sa.select(_users.c.time_zone).where(_users.c.deleted_at.is_(None)).distinct(), scalar(str)
)

_with_changed_time_zone: Statement[UUID] = Statement(
    sa.select(_events.c.aggregate_id)
    .where(
        _events.c.event_type == ProfileUpdated.__name__,
        _events.c.timestamp >= sa.bindparam("since", type_=types.Timestamp()),
        sa.cast(_events.c.event_data, sa.Text()).like('%"time_zone"%'),
    )
    .distinct()
    .order_by(_events.c.aggregate_id),
    scalar(UUID),
)

_signed_in: Statement[User] = Statement(
    sa.update(_users)
    .where(
        _users.c.id == sa.bindparam("id", type_=types.Id()),
        _users.c.password_hash == sa.bindparam("seen", type_=types.Text()),
        _users.c.status == sa.literal_column(f"'{UserStatus.ACTIVE.value}'"),
        _users.c.deleted_at.is_(None),
    )
    .values(
        password_hash=sa.bindparam("kept", type_=types.Text()), last_login=sa.bindparam("now", type_=types.Timestamp())
    )
    .returning(*_users.c),
    User,
)


_lock_holder: Statement[User] = Statement(
    sa.select(*_users.c).where(_users.c.email == sa.bindparam("email", type_=types.Email())).with_for_update(), User
)

_release_email: Statement[User] = Statement(
    sa.update(_users)
    .where(_users.c.id == sa.bindparam("id", type_=types.Id()))
    .values(
        email=sa.bindparam("placeholder", type_=types.Email()),
        email_verified=sa.false(),
        version=_users.c.version + 1,
        updated_at=sa.bindparam("now", type_=types.Timestamp()),
    )
    .returning(*_users.c),
    User,
)

_PLACEHOLDER_DOMAIN = "outside.invalid"


def placeholder_email(user: UUID) -> str:
    """The address of an account without one. No message can be sent to it (RFC 2606)."""
    return f"{user}@{_PLACEHOLDER_DOMAIN}"


def is_placeholder(email: str) -> bool:
    """Whether it is the address of an account without one."""
    return email.endswith(f"@{_PLACEHOLDER_DOMAIN}")


async def roles_of(connection: ReadConnection, user: User) -> frozenset[RoleName]:
    """The roles of a user, by the account and by grants. Needs a connection of the service."""
    own = frozenset({RoleName.USER, RoleName.ADMIN} if user.role is UserRole.ADMIN else {RoleName.USER})
    return own | await granted_roles(connection, user.id)


_hold: Statement[UUID] = Statement(
    sa.select(User.id).where(in_list(User.id, "users")).order_by(User.id).with_for_update(key_share=True), scalar(UUID)
)


class Users(Repository[User], table=User):
    """Users."""

    async def hold(self, users: Iterable[UUID]) -> None:
        """Locks users until the transaction ends, always in the same order.

        A transaction that stores a number which it counts from rows locks the user first and counts in a later
        statement, which sees what the transactions before have committed. Others can still insert references to the
        user.
        """
        await self.connection.execute_later(_hold, users=sorted(set(users)))

    async def of_email(self, email: str) -> User | None:
        """The account of an e-mail address, in any spelling of it (repositories/core/email_address.py)."""
        return await self.first(Compare("email", Op.EQ, email))

    async def lock_holder(self, email: str) -> User | None:
        """The account that has the e-mail address, also if it is deleted. Locks it until the transaction ends."""
        return await self.connection.row(_lock_holder, email=email)

    async def release_email(self, user: User, at: dt.datetime) -> User:
        """Replaces the e-mail address of an account, deleted or not, by a placeholder."""
        return await self.connection.one(_release_email, id=user.id, placeholder=placeholder_email(user.id), now=at)

    async def time_zones(self) -> list[str]:
        """The time zones of all users, each once."""
        return await self.connection.rows(_time_zones)

    async def with_changed_time_zone(self, since: dt.datetime) -> list[UUID]:
        """The ids of the users who have changed their time zone since then, by the events."""
        return await self.connection.rows(_with_changed_time_zone, since=since)

    async def are_there_any(self) -> bool:
        """Whether any account exists, deleted ones included."""
        return await self.connection.one(_count) > 0

    async def signed_in(self, key: UUID, seen: str, kept: str, *, at: dt.datetime) -> User | None:
        """Stores the time of a sign-in, and ``kept``, a new hash of the same password. The version stays the same.

        Returns None if the account is not active any more, or has another hash than ``seen`` by now.
        """
        return await self.connection.row(_signed_in, id=key, seen=seen, kept=kept, now=at)


# sessions

_user = sa.bindparam("user", type_=types.Id())
_now = sa.bindparam("now", type_=types.Timestamp())

_revoke: Statement[Session] = Statement(
    sa.update(_sessions)
    .where(
        _sessions.c.user_id == _user,
        _sessions.c.revoked_at.is_(None),
        _sessions.c.expires_at > _now,
        _sessions.c.id.is_distinct_from(sa.bindparam("kept", type_=types.Id())),
    )
    .values(revoked_at=_now, updated_at=_now)
    .returning(*_sessions.c),
    Session,
)

_purge_expired: Statement[UUID] = Statement(
    sa.delete(_sessions).where(_sessions.c.expires_at <= _now).returning(_sessions.c.id), scalar(UUID)
)


class Sessions(Repository[Session], table=Session):
    """Sessions. Revoked ones are kept until they expire, so that their tokens are recognised."""

    @staticmethod
    def alive(at: dt.datetime) -> Filter:
        """Sessions that have not ended."""
        return And((Compare("revoked_at", Op.IS_NULL, value=True), Compare("expires_at", Op.GT, at)))

    @classmethod
    def alive_of(cls, user: UUID, at: dt.datetime) -> Filter:
        """A user's sessions that have not ended."""
        return And((Compare("user_id", Op.EQ, user), cls.alive(at)))

    async def revoke_all(self, user: UUID, at: dt.datetime, *, but: UUID | None = None) -> list[Session]:
        """Ends the sessions of a user, except ``but``. Returns those that it ended."""
        return await self.connection.rows(_revoke, user=user, now=at, kept=but)

    async def purge_expired(self, at: dt.datetime) -> int:
        """Deletes the sessions that have expired by then, revoked or not. Returns their number."""
        return len(await self.connection.rows(_purge_expired, now=at))


# preferences


def default_preferences(user: User) -> UserPreferences:
    """The preferences of a user without a row. The first change stores them as version 2."""
    values: dict[str, Any] = {
        "id": user.id,
        "user_id": user.id,
        "theme": Theme.SYSTEM,
        "week_starts_on": Weekday.MONDAY,
        "version": 1,
        "created_at": user.created_at,
        "updated_at": user.created_at,
    }
    return UserPreferences._make(values[name] for name in UserPreferences.__fields__)


class Preferences(Repository[UserPreferences], table=UserPreferences):
    """The preferences of users. Their id is the user's."""


class Usages(Repository[AccountUsage], table=AccountUsage, noun="account"):
    """How much accounts store. Triggers write the rows, whose ids are those of the users."""


async def time_zones_of(work: UnitOfWork, user_ids: Iterable[UUID]) -> Mapping[UUID, ZoneInfo]:
    """The time zone of each user, by one statement. The viewer's is the one in the token if there is one."""
    wanted, known = set(user_ids), {}
    viewer = work.viewer
    if viewer.id in wanted and viewer.time_zone is not None:
        known[viewer.id] = stored_time_zone(viewer.time_zone)
    missing = sorted(wanted - set(known))
    users = await work.repository(Users).by_id(missing) if missing else {}
    return known | {key: stored_time_zone(user.time_zone) for key, user in users.items()}
