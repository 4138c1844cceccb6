"""The GraphQL types and fields of users, their sessions and their preferences."""

from typing import Any

import strawberry

from repositories.permissions import Permission
from repositories.sql.aggregate import aggregates
from repositories.tables import identity as rows
from resolvers.administration.queries import roles_of_user
from resolvers.identity import commands, queries, recovery, sessions, users
from schema.aggregates.objects import aggregate_view, connection_type
from schema.operations.mutation import context_mutation, mutation
from schema.types.connections import connection
from schema.types.derived_types import query, resolved_by, result_view
from schema.types.view import Node


@aggregate_view(rows.UserPreferences, node=queries.preferences_of)
class UserPreferences(Node):
    __slots__ = ()


@result_view(rows.AccountUsage)
class AccountUsage:
    byte_count = resolved_by(queries.byte_count)


@aggregate_view(rows.User)
class User(Node):
    preferences = resolved_by(queries.preferences)
    usage = resolved_by(queries.usage)
    roles = resolved_by(roles_of_user, requires=Permission.ADMINISTRATION_READ)


@aggregate_view(rows.Session)
class Session(Node):
    is_current = resolved_by(queries.is_current)


@strawberry.type
class IdentityQueries:
    viewer = query(queries.viewer)
    my_sessions = connection(
        queries.my_sessions, requires=Permission.ACCOUNT_READ, kind=connection_type(aggregates[rows.Session])
    )


_WRITE = Permission.ACCOUNT_WRITE
_ADMINISTER = Permission.ADMINISTRATION_WRITE


def _message_mutation(handler: Any, requires: Permission | None) -> Any:
    """A mutation that sends a message. Its payload has the address of the input."""

    async def repeat(_: object, command: Any, __: object) -> Any:
        return getattr(command, "email", None) or command.new_email

    return context_mutation(handler, name="email", requires=requires, repeat=repeat)


def _token_mutation(handler: Any) -> Any:
    """A mutation with the token of a message. Its payload has the address of the account, if the viewer may see it."""

    async def repeat(_: object, __: object, user: Any) -> Any:
        return None if user is None else user.email

    return context_mutation(handler, name="email", requires=None, repeat=repeat)


@strawberry.type
class IdentityMutations:
    sign_up = context_mutation(sessions.sign_up, requires=None, returns_secret=True)
    sign_in = context_mutation(sessions.sign_in, requires=None, returns_secret=True)
    refresh_session = context_mutation(sessions.refresh_session, requires=None, returns_secret=True)
    sign_out = mutation(commands.sign_out, requires=_WRITE)
    revoke_session = mutation(commands.revoke_session, requires=_WRITE)
    change_password = context_mutation(commands.change_password, requires=_WRITE)
    update_profile = mutation(commands.update_profile, requires=_WRITE)
    update_preferences = mutation(commands.update_preferences, requires=_WRITE)
    deactivate_account = context_mutation(commands.deactivate_account, requires=_WRITE)
    request_email_verification = _message_mutation(recovery.request_email_verification, _WRITE)
    verify_email = _token_mutation(recovery.verify_email)
    request_password_reset = _message_mutation(recovery.request_password_reset, None)
    reset_password = _token_mutation(recovery.reset_password)
    request_email_change = _message_mutation(recovery.request_email_change, _WRITE)
    confirm_email_change = _token_mutation(recovery.confirm_email_change)
    invite_user = _message_mutation(recovery.invite_user, _ADMINISTER)
    change_user_role = mutation(users.change_user_role, requires=_ADMINISTER)
    suspend_user = mutation(users.suspend_user, requires=_ADMINISTER)
    reinstate_user = mutation(users.reinstate_user, requires=_ADMINISTER)
