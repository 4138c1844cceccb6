"""The GraphQL types and fields of users, their sessions and their preferences."""

import datetime as dt
from typing import Any

import strawberry

from repositories.permissions import Permission
from repositories.sql.aggregate import aggregates
from repositories.tables import identity as rows
from repositories.tables.administration import Role
from resolvers.administration.queries import roles_of_user
from resolvers.identity import commands, queries, recovery, sessions, users
from schema.aggregates.objects import aggregate_view, connection_type, type_of
from schema.operations.mutation import PayloadField, context_mutation, mutation
from schema.types.connections import connection
from schema.types.view import Node, column, query, resolved_by, resolver, view


@aggregate_view(rows.UserPreferences, node=queries.preferences_of)
class UserPreferences(Node):
    __slots__ = ()


@view(rows.AccountUsage)
class AccountUsage:
    """How much an account stores: tasks, categories, clients and contacts, deleted ones included.

    A mutation that would exceed the quota fails with the code QUOTA_EXCEEDED.
    """

    row_count: int = column("The number of stored objects.")
    byte_count: float = resolved_by(queries.byte_count, "The size of their texts in bytes, a whole number.")


@aggregate_view(rows.User)
class User(Node):
    preferences: UserPreferences = resolved_by(queries.preferences, "The preferences of the user.")
    usage: AccountUsage = resolved_by(queries.usage, "How much the account stores.")
    roles: Any = strawberry.field(
        graphql_type=list[type_of(Role)] | None,  # type: ignore[misc]
        resolver=resolver(roles_of_user.load, {}, requires=Permission.ADMINISTRATION_READ),
        description="The roles that the user was granted in addition to `role`, by name. For administrators.",
    )


@aggregate_view(rows.Session)
class Session(Node):
    is_current: bool = resolved_by(queries.is_current, "Whether this request belongs to the session.")


@strawberry.type
class IdentityQueries:
    viewer: User | None = query(queries.viewer, "The signed-in user. Null without an Authorization header.")
    my_sessions: Any = connection(
        queries.my_sessions,
        "The viewer's sessions that have not ended, the most recently used first.",
        requires=Permission.ACCOUNT_READ,
        kind=connection_type(aggregates[rows.Session]) | None,
    )


_SIGNED_IN = {
    "access_token": PayloadField(
        str, "The bearer token for the Authorization header of requests", lambda signed_in: signed_in.access_token
    ),
    "refresh_token": PayloadField(
        str,
        "The token for `refreshSession`, which can be used once. Keep it secret",
        lambda signed_in: signed_in.refresh_token,
    ),
    "device_token": PayloadField(
        str,
        "The token for `signIn` by which the account knows this device, valid for a year or until the password "
        "changes. Keep it after the sign-out",
        lambda signed_in: signed_in.device_token,
    ),
    "expires_at": PayloadField(
        dt.datetime, "The time when the access token expires", lambda signed_in: signed_in.expires_at
    ),
    "viewer": PayloadField(User, "The user who has signed in", lambda signed_in: signed_in.viewer),
}


def _address(description: str) -> dict[str, PayloadField]:
    return {"email": PayloadField(str, description, lambda email: email)}


_SENT = _address("The e-mail address in its normal form. A message is sent to it, if the conditions are met")
_WRITE = Permission.ACCOUNT_WRITE
_ADMINISTER = Permission.ADMINISTRATION_WRITE


@strawberry.type
class IdentityMutations:
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
