"""Users, their sessions and preferences, and the tokens and messages of their accounts."""

import datetime as dt
from collections.abc import Mapping
from uuid import UUID

import sqlalchemy as sa

from repositories.described_enum import DescribedEnum
from repositories.permissions import RoleName
from repositories.sql import types
from repositories.sql.aggregate import Commands, aggregate
from repositories.sql.constraints import violation
from repositories.sql.filters import Direction, SortKey
from repositories.sql.policy import SERVICE_ONLY, owner, policy, role
from repositories.sql.table import Column, Format, Inverse, Pattern, SoftDeleted, Table, Versioned, Writer, column


class UserRole(DescribedEnum):
    """The role of an account. Administrators can grant further roles."""

    USER = "user", "An ordinary user."
    ADMIN = "admin", "Sees and administers everything."


class UserStatus(DescribedEnum):
    """Whether a user may sign in."""

    ACTIVE = "active", "The user may sign in."
    SUSPENDED = "suspended", "An administrator has suspended the account. The user cannot sign in."
    DEACTIVATED = "deactivated", "The user has closed the account and cannot sign in."


STATUS_TRANSITIONS: Mapping[UserStatus, tuple[UserStatus, ...]] = {
    UserStatus.ACTIVE: (UserStatus.SUSPENDED, UserStatus.DEACTIVATED),
    UserStatus.SUSPENDED: (UserStatus.ACTIVE,),
    UserStatus.DEACTIVATED: (UserStatus.ACTIVE,),
}
"""A suspended account cannot be closed by its owner, because it would lose the suspension."""


class Theme(DescribedEnum):
    """The colours of the applications."""

    SYSTEM = "system", "The theme of the device."
    LIGHT = "light", "Dark text on a light background."
    DARK = "dark", "Light text on a dark background."


class Weekday(DescribedEnum):
    """A day of the week."""

    MONDAY = "monday", "Monday."
    TUESDAY = "tuesday", "Tuesday."
    WEDNESDAY = "wednesday", "Wednesday."
    THURSDAY = "thursday", "Thursday."
    FRIDAY = "friday", "Friday."
    SATURDAY = "saturday", "Saturday."
    SUNDAY = "sunday", "Sunday."


class TokenPurpose(DescribedEnum):
    """The purpose of a token that is sent by e-mail."""

    VERIFY_EMAIL = "verify_email", "Proves that the account's e-mail address receives messages."
    RESET_PASSWORD = "reset_password", "Sets a new password of the account."
    CHANGE_EMAIL = "change_email", "Gives the account the e-mail address to which the token was sent."
    INVITATION = "invitation", "Creates an account with the e-mail address to which the token was sent."


class MessageKind(DescribedEnum):
    """The subject of an e-mail. The kinds with the names of purposes contain a token, the others are notices."""

    VERIFY_EMAIL = "verify_email", "A token to verify the e-mail address."
    RESET_PASSWORD = "reset_password", "A token to set a new password."
    CHANGE_EMAIL = "change_email", "A token to change the e-mail address."
    INVITATION = "invitation", "A token to create an account."
    PASSWORD_WAS_RESET = "password_was_reset", "The notice that the password was replaced with a token."
    EMAIL_WAS_CHANGED = "email_was_changed", "The notice that the account has another e-mail address."


class MessageOutcome(DescribedEnum):
    """The outcome of an e-mail."""

    PENDING = "pending", "It is to be sent."
    SENT = "sent", "It was sent."
    FAILED = "failed", "It could not be sent."
    DROPPED = "dropped", "It was not sent, because there is no account or no valid token for it any more."


_LOCALE = Pattern(
    "[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?",
    "A locale is a language, and a region if it matters, such as en or de-AT",
)
_IS_LOCALE = sa.CheckConstraint(f"locale ~ '^{_LOCALE.regex}$'", name="locale_shape").ddl_if(dialect="postgresql")
"""Only on PostgreSQL, because SQLite has no regular expressions."""

_IS_INVITATION = sa.text("purpose = 'invitation'")
_IS_PENDING = sa.text("outcome = 'pending'")


class User(Versioned, SoftDeleted, Table, schema="identity", name="users"):
    """A user with an account."""

    __slots__ = ()
    email: Column[str] = column(
        "The e-mail address, in lower case.",
        sql_type=types.Email(),
        length=(3, 255),
        format=Format.EMAIL,
        unique=True,
        info=violation("email", "There is already an account with this e-mail address."),
        writer=Writer.GATEWAY,
        searched=True,
        filtered=True,
        sorted=True,
    )
    first_name: Column[str] = column("The first name.", length=(2, 50), single_line=True, searched=True)
    last_name: Column[str] = column("The last name.", length=(2, 50), single_line=True, searched=True, sorted=True)
    password_hash: Column[str | None] = column(secret=True)
    role: Column[UserRole] = column(
        "The role of the account. Further roles are in `roles`.",
        default=UserRole.USER,
        index=True,
        writer=Writer.GATEWAY,
        filtered=True,
        history=True,
    )
    status: Column[UserStatus] = column(
        "Whether the user may sign in.",
        default=UserStatus.ACTIVE,
        index=True,
        transitions=STATUS_TRANSITIONS,
        writer=Writer.GATEWAY,
        filtered=True,
        history=True,
    )
    email_verified: Column[bool] = column(
        "Whether the user has proved to receive messages at the e-mail address.",
        default=False,
        writer=Writer.GATEWAY,
        history=True,
    )
    phone: Column[str | None] = column(
        "The phone number in E.164, such as +4930901820.", format=Format.PHONE, encrypted=True
    )
    avatar_url: Column[str | None] = column(
        "The URL of a picture, http or https.", length=(1, 255), format=Format.WEB_ADDRESS
    )
    stripe_customer_id: Column[str | None] = column(unique=True)
    time_zone: Column[str] = column(
        "The IANA time zone in which the user lives, such as Europe/Berlin. It decides when the user's days begin and "
        "end.",
        length=(1, 64),
        format=Format.TIME_ZONE,
        check="ltrim(lower(time_zone), 'abcdefghijklmnopqrstuvwxyz0123456789_+-/') = ''",
        default="UTC",
    )
    locale: Column[str] = column(
        "The language and the region of texts and formats, such as en or de-AT.",
        length=(2, 35),
        format=_LOCALE,
        default="en",
    )
    last_login: Column[dt.datetime | None] = column(
        "The time of the last sign-in. Null if the user has never signed in.",
        index=True,
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
    )

    __table_args__ = (_IS_LOCALE, sa.Index("ix_users_created_at", "created_at"))


class Session(Table, schema="identity", name="sessions"):
    """A sign-in on one device. It lasts as long as its refresh token is used in time.

    ``refresh_token_hash`` is the SHA-256 of the one token that is valid now. Every use replaces it.
    """

    __slots__ = ()
    user_id: Column[UUID] = column(
        "The user who signed in.",
        references="identity.users.id",
        inverse=Inverse("sessions", "The sign-ins of the user, also those that have ended, until their tokens expire."),
        writer=Writer.GATEWAY,
        filtered=True,
    )
    refresh_token_hash: Column[str] = column(length=(64, 64), unique=True, secret=True)
    user_agent: Column[str | None] = column(
        "The name that the client gave itself at the sign-in. Null if it gave none.",
        length=(0, 500),
        writer=Writer.GATEWAY,
    )
    ip: Column[str | None] = column(
        "The network address from which the session was last refreshed. Null if it is unknown.",
        length=(1, 45),
        writer=Writer.GATEWAY,
    )
    expires_at: Column[dt.datetime] = column(
        "The time when the session ends unless it is refreshed before.",
        index=True,
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
    )
    revoked_at: Column[dt.datetime | None] = column(
        "The time when the session was ended early. Null if it was not.",
        writer=Writer.GATEWAY,
        filtered=True,
        history=True,
    )
    last_seen_at: Column[dt.datetime] = column(
        "The time of the sign-in or of the last refresh.", writer=Writer.GATEWAY, filtered=True, sorted=True
    )

    __table_args__ = (sa.Index("ix_sessions_user_id_last_seen_at", "user_id", "last_seen_at"),)


class UserPreferences(Versioned, Table, schema="identity", name="user_preferences"):
    """The preferences of a user, which are the defaults until the user changes them.

    ``id`` is the user's, so that the defaults of users without a row have an id too.
    """

    __slots__ = ()
    user_id: Column[UUID] = column(references="identity.users.id", unique=True)
    theme: Column[Theme] = column("The colours of the applications.", default=Theme.SYSTEM, history=True)
    week_starts_on: Column[Weekday] = column(
        "The first day of the week in trends and in tiles such as `pointsThisWeek`.",
        default=Weekday.MONDAY,
        history=True,
    )

    __table_args__ = (sa.CheckConstraint("id = user_id", name="id_shape"),)


class AccountUsage(Table, schema="identity", name="account_usage", timestamps=False):
    """How much an account stores: tasks, categories, clients and contacts, deleted ones included.

    A mutation that would exceed the quota fails with the code QUOTA_EXCEEDED.
    """

    # ``id`` is that of the user. Triggers count the rows and the bytes of their texts at every change, and reject one
    # that adds beyond the quota of the connection (``DatabaseOptions.account_rows`` and ``account_bytes``).
    __slots__ = ()
    row_count: Column[int] = column("The number of stored objects.", sa.BigInteger())
    byte_count: Column[int] = column(sql_type=sa.BigInteger())

    __table_args__ = (sa.ForeignKeyConstraint(["id"], ["identity.users.id"]),)


class AccountToken(Table, schema="identity", name="account_tokens"):
    """A token that was sent by e-mail and may be used once: using it deletes the row.

    ``token_hash`` is the SHA-256 of the token, ``email`` the address to which it was sent. Invitations have no user.
    A user has at most one token of each purpose, and an address at most one invitation.
    """

    __slots__ = ()
    user_id: Column[UUID | None] = column(references="identity.users.id")
    purpose: Column[TokenPurpose] = column()
    token_hash: Column[str] = column(length=(64, 64), unique=True, secret=True)
    email: Column[str] = column(encrypted=True)
    email_index: Column[str] = column(length=(64, 64), secret=True)
    expires_at: Column[dt.datetime] = column(index=True)

    __table_args__ = (
        sa.UniqueConstraint("user_id", "purpose"),
        sa.CheckConstraint("(purpose = 'invitation') = (user_id IS NULL)", name="user_id_shape"),
        sa.Index(
            "uq_account_tokens_invitation",
            "email_index",
            unique=True,
            postgresql_where=_IS_INVITATION,
            sqlite_where=_IS_INVITATION,
        ),
    )


class OutboxMessage(Table, schema="identity", name="outbox_messages"):
    """An e-mail to send. It contains no token: the token follows from ``token_id`` and a key of the gateway.

    ``user_id`` is None if the account is looked up when the message is sent. ``recipient`` is deleted with the last
    attempt. ``error`` names the kind of the last failure, without personal data.
    """

    __slots__ = ()
    kind: Column[MessageKind] = column()
    user_id: Column[UUID | None] = column(references="identity.users.id")
    recipient: Column[str | None] = column(encrypted=True)
    token_id: Column[UUID | None] = column()
    attempts: Column[int] = column(default=0, range=(0, None))
    next_attempt_at: Column[dt.datetime] = column()
    outcome: Column[MessageOutcome] = column(default=MessageOutcome.PENDING)
    finished_at: Column[dt.datetime | None] = column(index=True, check="(outcome = 'pending') = (finished_at IS NULL)")
    error: Column[str | None] = column(length=(1, 100))

    __table_args__ = (
        sa.CheckConstraint("(outcome = 'pending') = (recipient IS NOT NULL)", name="recipient_presence"),
        sa.Index("ix_outbox_messages_user_id", "user_id"),
        sa.Index(
            "ix_outbox_messages_pending",
            "next_attempt_at",
            postgresql_where=_IS_PENDING,
            sqlite_where=_IS_PENDING,
        ),
    )


_OWN_OR_ADMIN = owner(Session.user_id) | role(RoleName.ADMIN)

aggregate(
    User,
    read=owner(User.id) | role(RoleName.ADMIN),
    write=owner(User.id) | role(RoleName.ADMIN),
    commands=Commands.NONE,
    roots=(RoleName.ADMIN,),
    order=(SortKey("created_at", Direction.DESC),),
    order_text="the newest first",
)
aggregate(
    Session,
    read=_OWN_OR_ADMIN,
    write=_OWN_OR_ADMIN,
    commands=Commands.NONE,
    order=(SortKey("last_seen_at", Direction.DESC),),
    order_text="the most recently used first",
)
aggregate(
    UserPreferences,
    read=owner(UserPreferences.user_id) | role(RoleName.ADMIN),
    write=owner(UserPreferences.user_id),
    commands=Commands.NONE,
    roots=(),
    noun="set of preferences",
)
policy(
    AccountUsage,
    read=owner(AccountUsage.id) | role(RoleName.ADMIN),
    write=owner(AccountUsage.id) | role(RoleName.ADMIN),
)
policy(AccountToken, read=SERVICE_ONLY)
policy(OutboxMessage, read=SERVICE_ONLY)
