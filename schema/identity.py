"""What clients see of users, their sessions and their preferences."""

import datetime as dt
from typing import Any

import strawberry

from repositories.permissions import Permission
from repositories.tables import identity as rows
from resolvers.administration.queries import roles_of_user
from resolvers.identity import commands, queries, recovery, sessions, users
from schema.operations.mutation import PayloadField, context_mutation, mutation
from schema.types.connections import ConnectionView, connection
from schema.types.enums import describe_enum
from schema.types.filter_inputs import (
    ChoiceFilter,
    DateTimeFilter,
    IdFilter,
    TextFilter,
    filter_input,
    order_input,
    where,
)
from schema.types.view import Node, column, defined_in, encrypted, query, resolved_by, resolver, view

describe_enum(
    rows.UserRole, "What a user is by default.", USER="An ordinary user.", ADMIN="Sees and administers everything."
)
describe_enum(
    rows.UserStatus,
    "Whether a user may sign in.",
    ACTIVE="May sign in.",
    SUSPENDED="Was locked out by an administrator.",
    DEACTIVATED="Closed the account.",
)
describe_enum(
    rows.Theme,
    "How the applications look.",
    SYSTEM="As the device does.",
    LIGHT="Dark on light.",
    DARK="Light on dark.",
)
describe_enum(rows.Weekday, "A day of the week.", **{day.name: f"{day.value.capitalize()}." for day in rows.Weekday})


@filter_input(rows.User, searched=("email", "first_name", "last_name"))
class UserFilter:
    """Which users; all conditions that are given must hold."""

    id: IdFilter | None = where("The user's id.", key="User")
    email: TextFilter | None = where("The e-mail address, in lower case.")
    status: ChoiceFilter[rows.UserStatus] | None = where("Whether the user may sign in.")
    role: ChoiceFilter[rows.UserRole] | None = where("What the user is by default.")
    created_at: DateTimeFilter | None = where("When the account was made.")
    last_login: DateTimeFilter | None = where("When the user last signed in.")


UserOrder = order_input(
    rows.User,
    email="By e-mail address.",
    last_name="By last name, whatever its case.",
    created_at="When the account was made.",
    last_login="When the user last signed in.",
)


@view(rows.UserPreferences, node=queries.preferences_of)
class UserPreferences(Node):
    """How a person likes it; defaults for somebody who never said."""

    theme: rows.Theme = column("How the applications look.")
    week_starts_on: rows.Weekday = column("The first day of the week in trends and in tiles such as `pointsThisWeek`.")
    version: int = column("Grows with every change; `updatePreferences` wants the one that was seen.")
    updated_at: dt.datetime = column("When they were last changed.")


@view(rows.AccountUsage)
class AccountUsage:
    """How much an account stores: tasks, categories, clients and contacts, deleted ones included.

    A mutation that would exceed the quota fails with the code QUOTA_EXCEEDED.
    """

    row_count: int = column("The number of stored objects.")
    byte_count: float = resolved_by(queries.byte_count, "The size of their texts in bytes, a whole number.")


@view(rows.User, node=queries.user)
class User(Node):
    """A person with an account."""

    email: str = column("The e-mail address, in lower case.")
    first_name: str = column("The first name.")
    last_name: str = column("The last name.")
    role: rows.UserRole = column("What the user is by default.")
    status: rows.UserStatus = column("Whether the user may sign in.")
    email_verified: bool = column("Whether the user has proved to receive messages at the e-mail address.")
    phone: str | None = encrypted(rows.User.phone, "The phone number in E.164, such as +4930901820.")
    avatar_url: str | None = column("The address of a picture.")
    time_zone: str = column("The IANA time zone the user lives in; it decides what “today” is.")
    locale: str = column("The language and region texts are shown in, such as en or de-AT.")
    last_login: dt.datetime | None = column("When the user last signed in.")
    preferences: UserPreferences = resolved_by(queries.preferences, "How the user likes it.")
    usage: AccountUsage = resolved_by(queries.usage, "How much the account stores.")
    roles: Any = strawberry.field(
        graphql_type=list[defined_in("schema.administration", "Role")] | None,  # type: ignore[misc]
        resolver=resolver(roles_of_user.load, {}, requires=Permission.ADMINISTRATION_READ),
        description="The roles the user was granted besides, by name. For administrators.",
    )
    version: int = column("Grows with every change; `updateProfile` wants the one that was seen.")
    created_at: dt.datetime = column("When the account was made.")
    updated_at: dt.datetime = column("When it was last changed.")


@view(rows.Session, node=queries.session)
class Session(Node):
    """A sign-in on one device."""

    is_current: bool = resolved_by(queries.is_current, "Whether this request belongs to it.")
    user_agent: str | None = column("What the client called itself when it signed in.")
    ip: str | None = column("The address it was last used from.")
    created_at: dt.datetime = column("When it began.")
    last_seen_at: dt.datetime = column("When it was last refreshed.")
    expires_at: dt.datetime = column("When it ends unless it is refreshed.")
    revoked_at: dt.datetime | None = column("When it was ended before its time.")


@strawberry.type
class IdentityQueries:
    """Root fields."""

    viewer: User | None = query(queries.viewer, "The user who is asking; null without an Authorization header.")
    my_sessions: ConnectionView[Session] | None = connection(
        queries.my_sessions,
        "The viewer's sessions that have not ended, the most recently used first.",
        requires=Permission.ACCOUNT_READ,
    )
    users: ConnectionView[User] | None = connection(
        queries.users,
        "All users, the newest first. For administrators.",
        requires=Permission.ADMINISTRATION_READ,
        filter=UserFilter,
        order=UserOrder,
    )


_SIGNED_IN = {
    "access_token": PayloadField(
        str, "The bearer token for the Authorization header of requests", lambda signed_in: signed_in.access_token
    ),
    "refresh_token": PayloadField(
        str,
        "The token for `refreshSession`, good for one use; keep it secret",
        lambda signed_in: signed_in.refresh_token,
    ),
    "device_token": PayloadField(
        str,
        "The token for `signIn` by which the account knows this device, valid for a year or until the password "
        "changes; keep it after the sign-out",
        lambda signed_in: signed_in.device_token,
    ),
    "expires_at": PayloadField(dt.datetime, "When the access token ends", lambda signed_in: signed_in.expires_at),
    "viewer": PayloadField(User, "Who has signed in", lambda signed_in: signed_in.viewer),
}


def _address(description: str) -> dict[str, PayloadField]:
    return {"email": PayloadField(str, description, lambda email: email)}


_SENT = _address("The e-mail address in its normal form. A message is sent to it, if the conditions are met")
_WRITE = Permission.ACCOUNT_WRITE
_ADMINISTER = Permission.ADMINISTRATION_WRITE


@strawberry.type
class IdentityMutations:
    """Root fields."""

    sign_up = context_mutation(sessions.sign_up, returns=_SIGNED_IN, requires=None)
    sign_in = context_mutation(sessions.sign_in, returns=_SIGNED_IN, requires=None)
    refresh_session = context_mutation(sessions.refresh_session, returns=_SIGNED_IN, requires=None)
    sign_out = mutation(commands.sign_out, returns=Session, requires=_WRITE, many=True)
    revoke_session = mutation(commands.revoke_session, returns=Session, requires=_WRITE)
    change_password = context_mutation(commands.change_password, returns=User, requires=_WRITE)
    update_profile = mutation(commands.update_profile, returns=User, requires=_WRITE)
    update_preferences = mutation(commands.update_preferences, returns=UserPreferences, requires=_WRITE)
    deactivate_account = context_mutation(commands.deactivate_account, returns=User, requires=_WRITE)
    request_email_verification = context_mutation(recovery.request_email_verification, returns=_SENT, requires=_WRITE)
    verify_email = context_mutation(
        recovery.verify_email, returns=_address("The verified e-mail address"), requires=None
    )
    request_password_reset = context_mutation(recovery.request_password_reset, returns=_SENT, requires=None)
    reset_password = context_mutation(
        recovery.reset_password, returns=_address("The e-mail address for `signIn`"), requires=None
    )
    request_email_change = context_mutation(recovery.request_email_change, returns=_SENT, requires=_WRITE)
    confirm_email_change = context_mutation(
        recovery.confirm_email_change, returns=_address("The account's new e-mail address"), requires=None
    )
    invite_user = context_mutation(recovery.invite_user, returns=_SENT, requires=_ADMINISTER)
    change_user_role = mutation(users.change_user_role, returns=User, requires=_ADMINISTER)
    suspend_user = mutation(users.suspend_user, returns=User, requires=_ADMINISTER)
    reinstate_user = mutation(users.reinstate_user, returns=User, requires=_ADMINISTER)
