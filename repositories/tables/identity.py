"""Who uses the gateway."""

import datetime as dt
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from repositories.permissions import RoleName
from repositories.sql import types
from repositories.sql.constraints import is_web_address, violation
from repositories.sql.policy import owner, policy, role
from repositories.sql.table import Column, SoftDeleted, Table, Versioned, column


class UserRole(StrEnum):
    """What a user is by default; further roles are granted by administration."""

    USER = "user"
    ADMIN = "admin"


class UserStatus(StrEnum):
    """Whether a user may sign in."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"


class Theme(StrEnum):
    """How the applications look."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


def _is_locale(column: str) -> Any:
    """SQLite has no regular expressions."""
    condition = f"{column} ~ '^[a-z]{{2,3}}(-[A-Z][a-z]{{3}})?(-([A-Z]{{2}}|[0-9]{{3}}))?$'"
    return sa.CheckConstraint(condition, name=f"{column}_shape").ddl_if(dialect="postgresql")


class User(Versioned, SoftDeleted, Table, schema="identity", name="users"):
    """A person with an account."""

    __slots__ = ()
    email: Column[str] = column(
        types.Email(),
        length=(3, 255),
        unique=True,
        info=violation("email", "There is already an account with this e-mail address."),
    )
    first_name: Column[str] = column(length=(2, 50))
    last_name: Column[str] = column(length=(2, 50))
    password_hash: Column[str | None] = column(secret=True)
    role: Column[UserRole] = column(default=UserRole.USER, index=True)
    status: Column[UserStatus] = column(default=UserStatus.ACTIVE, index=True)
    email_verified: Column[bool] = column(default=False)
    phone: Column[str | None] = column(encrypted=True)
    avatar_url: Column[str | None] = column(length=(1, 255), check=is_web_address("avatar_url"))
    stripe_customer_id: Column[str | None] = column(unique=True)
    time_zone: Column[str] = column(
        length=(1, 64),
        check="ltrim(lower(time_zone), 'abcdefghijklmnopqrstuvwxyz0123456789_+-/') = ''",
        default="UTC",
    )
    locale: Column[str] = column(length=(2, 35), default="en")
    last_login: Column[dt.datetime | None] = column(index=True)

    __table_args__ = (_is_locale("locale"), sa.Index("ix_users_created_at", "created_at"))


class Session(Table, schema="identity", name="sessions"):
    """One sign-in, on one device; it lasts as long as its refresh token is used in time.

    ``refresh_token_hash`` is the SHA-256 of the one token that is good now; every use replaces it.
    """

    __slots__ = ()
    user_id: Column[UUID] = column(references="identity.users.id")
    refresh_token_hash: Column[str] = column(length=(64, 64), unique=True, secret=True)
    user_agent: Column[str | None] = column(length=(0, 500))
    ip: Column[str | None] = column(length=(1, 45))
    expires_at: Column[dt.datetime] = column(index=True)
    revoked_at: Column[dt.datetime | None] = column()
    last_seen_at: Column[dt.datetime] = column()

    __table_args__ = (sa.Index("ix_sessions_user_id_last_seen_at", "user_id", "last_seen_at"),)


class UserPreferences(Versioned, Table, schema="identity", name="user_preferences"):
    """How a person likes it. ``id`` is that of the user, so that somebody without a row has defaults with an id."""

    __slots__ = ()
    user_id: Column[UUID] = column(references="identity.users.id", unique=True)
    theme: Column[Theme] = column(default=Theme.SYSTEM)
    week_starts_on: Column[Weekday] = column(default=Weekday.MONDAY)

    __table_args__ = (sa.CheckConstraint("id = user_id", name="id_shape"),)


_OWN_OR_ADMIN = owner(Session.user_id) | role(RoleName.ADMIN)

policy(User, read=owner(User.id) | role(RoleName.ADMIN), write=owner(User.id) | role(RoleName.ADMIN))
policy(Session, read=_OWN_OR_ADMIN, write=_OWN_OR_ADMIN)
policy(
    UserPreferences,
    read=owner(UserPreferences.user_id) | role(RoleName.ADMIN),
    write=owner(UserPreferences.user_id),
)
