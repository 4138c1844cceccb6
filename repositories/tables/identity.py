"""Who uses the gateway."""

import datetime as dt
from enum import StrEnum

from repositories.kit.constraints import explained
from repositories.kit.policy import owner, policy, role
from repositories.kit.table import Column, SoftDeleted, Table, Versioned, column
from repositories.kit.viewer import Role


class UserRole(StrEnum):
    """What a user is by default; further roles are granted by administration."""

    USER = "user"
    ADMIN = "admin"


class UserStatus(StrEnum):
    """Whether a user may sign in."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"


class User(Versioned, SoftDeleted, Table, schema="identity", name="users"):
    """A person with an account. ``email`` is stored in lower case, which makes its uniqueness blind to case."""

    __slots__ = ()
    email: Column[str] = column(
        length=(3, 255), unique=True, info=explained("email", "There is already an account with this e-mail address.")
    )
    first_name: Column[str] = column(length=(2, 50))
    last_name: Column[str] = column(length=(2, 50))
    password_hash: Column[str | None] = column()
    role: Column[UserRole] = column(default=UserRole.USER)
    status: Column[UserStatus] = column(default=UserStatus.ACTIVE, index=True)
    email_verified: Column[bool] = column(default=False)
    phone: Column[str | None] = column()
    avatar_url: Column[str | None] = column()
    stripe_customer_id: Column[str | None] = column(unique=True)
    time_zone: Column[str] = column(default="UTC")
    locale: Column[str] = column(default="en")
    last_login: Column[dt.datetime | None] = column()


policy(User, read=owner(User.id) | role(Role.ADMIN), write=owner(User.id) | role(Role.ADMIN))
