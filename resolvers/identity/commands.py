"""Commands of users on their own accounts, sessions and preferences."""

from typing import Any
from uuid import UUID

from pydantic import Field

from repositories.account_messages import AccountTokens
from repositories.administration import RoleGrants
from repositories.aggregates.derived import change_of
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, InputError, ValidationError
from repositories.core.viewer import SERVICE
from repositories.identity import (
    PasswordChanged,
    Preferences,
    SessionRevoked,
    Sessions,
    UserDeactivated,
    Users,
    default_preferences,
)
from repositories.sql.aggregate import aggregates
from repositories.tables.identity import Session, User, UserPreferences, UserStatus
from resolvers.aggregates.derived_changes import changed_columns
from resolvers.aggregates.derived_commands import row_command, takes
from resolvers.aggregates.derived_inputs import changed_values, input_model
from resolvers.aggregates.handlers import lock_row
from resolvers.identity.accounts import Accounts, Attempt
from resolvers.identity.inputs import SAME_AS_EMAIL, GivenPassword, NewPasswordField, OwnPasswordField, is_email
from resolvers.request.context import Context
from resolvers.validation.command import Command, check_version, raise_all, version_errors
from resolvers.validation.valid_parts import reports

_user, _preferences = aggregates[User], aggregates[UserPreferences]


class SignOut(Command):
    """The sessions to end."""

    everywhere: bool = False
    """True: ends all of the viewer's sessions. False: ends the one this request belongs to."""


class ChangePassword(Command):
    """The current and the new password."""

    current_password: GivenPassword = Field(repr=False)
    """The current password."""
    new_password: NewPasswordField


class DeactivateAccount(Command):
    """The password, to confirm that the account is to be closed."""

    password: OwnPasswordField = None


# sessions


async def sign_out(work: UnitOfWork, command: SignOut) -> list[Session]:
    """Ends the session of this request, or all sessions of the viewer. Their access tokens become invalid."""
    if command.everywhere:
        return await revoke_all_sessions(work, work.viewer_id, "signed_out")
    key = work.viewer.session
    session = (await work.repository(Sessions).lock_many([key])).get(key) if key else None
    return [] if session is None else [await end_session(work, session, "signed_out")]


@row_command(Session, "The session to end: one of the viewer's sessions, or any session for administrators.")
async def revoke_session(work: UnitOfWork, command: Any) -> Session:
    """Ends one of the viewer's sessions, or any session for administrators. Its tokens become invalid.

    A session that has ended stays as it is. Possible error: NOT_FOUND.
    """
    return await end_session(work, await lock_row(work, Session, command), "revoked")


async def end_session(work: UnitOfWork, session: Session, reason: str) -> Session:
    """Ends a session and records the event. A session that was ended before stays as it is."""
    if session.revoked_at is not None:
        return session
    ended = await work.repository(Sessions).change(session, revoked_at=work.now)
    _record_end(work, ended, reason)
    return ended


async def revoke_all_sessions(work: UnitOfWork, user: UUID, reason: str, *, but: UUID | None = None) -> list[Session]:
    """Ends the sessions of a user, except ``but``, and records the events."""
    ended = await work.repository(Sessions).revoke_all(user, work.now, but=but)
    for session in ended:
        _record_end(work, session, reason)
    return ended


def _record_end(work: UnitOfWork, session: Session, reason: str) -> None:
    change = change_of(session.replace(revoked_at=None), session)
    work.record(SessionRevoked(session.id, session.user_id, reason, change=change))


# the account


async def change_password(context: Context, command: ChangePassword) -> User:
    """Replaces the viewer's password and ends the viewer's other sessions. Tokens sent by e-mail become invalid.

    Possible errors: VALIDATION_ERROR, CONFLICT if the account was changed at the same time.
    """
    user = await viewer_with_password(context, command.current_password, "current_password")
    if is_email(command.new_password, user.email):
        raise ValidationError(SAME_AS_EMAIL + ".", path=("new_password",))
    fresh = await context.service(Accounts).passwords.hash(command.new_password)
    async with context.unit_of_work(SERVICE) as work:  # only the service may revoke tokens that were sent by e-mail
        account = await unchanged_account(work, user)
        work.outcome = changed = await work.change(account, PasswordChanged, password_hash=fresh)
        await work.repository(AccountTokens).revoke_all(user.id, work.now)
        await revoke_all_sessions(work, user.id, "password_changed", but=context.viewer.session)
    return changed


async def deactivate_account(context: Context, command: DeactivateAccount) -> User:
    """Closes the viewer's account and ends all of its sessions. Only administrators can open it again.

    Possible errors: VALIDATION_ERROR if the password is wrong, CONFLICT for the last administrator.
    """
    user = await viewer_with_password(context, command.password, "password")
    async with context.unit_of_work(SERVICE) as work:  # only the service may see the other administrators
        async with work.repository(RoleGrants).keeping_an_admin():
            account = await unchanged_account(work, user)
            if account.status is not UserStatus.ACTIVE:
                raise Conflict("Only an active account can be closed.")
            work.outcome = changed = await work.change(account, UserDeactivated, status=UserStatus.DEACTIVATED)
        await revoke_all_sessions(work, user.id, "deactivated")
    return changed


async def viewer_with_password(context: Context, password: str | None, field: str) -> User:
    """The viewer's account. Raises a ValidationError at ``field`` if it has another password.

    Attempts are counted per session, so that failed sign-ins of others do not lock the owner out.
    """
    user = await Users(context.snapshot).get(context.viewer_id)
    await context.discard_reads()
    if user.password_hash is None and password is None:
        return user
    accounts = context.service(Accounts)
    attempt = (Attempt.PASSWORD_FROM_CLIENT, user.id, context.viewer.session)
    await accounts.attempts.count(*attempt)
    if not await accounts.passwords.matches(user.password_hash, password or ""):
        raise ValidationError("This is not your password.", path=(field,))
    await accounts.attempts.forget(*attempt)
    return user


async def unchanged_account(work: UnitOfWork, before: User) -> User:
    """The viewer's account, locked. Raises a Conflict if its password or status has changed since ``before``."""
    user = await work.repository(Users).lock(before.id)
    if (user.password_hash, user.status) != (before.password_hash, before.status):
        raise Conflict("Your account was changed at the same moment. Try again.")
    return user


_UNCHANGED = "Fields that are left out keep their values."


async def _errors_of_profile(work: UnitOfWork, command: Any) -> list[InputError]:
    return version_errors(await work.repository(Users).lock(work.viewer_id), command.version)


@reports(_errors_of_profile)
@takes(input_model("UpdateProfile", f"Changes of the viewer's account. {_UNCHANGED}", changed_values(_user)))
async def update_profile(work: UnitOfWork, command: Any) -> User:
    """Changes the viewer's account. A new time zone takes effect with the next request.

    Possible errors: VALIDATION_ERROR, STALE_VERSION if it was changed since.
    """
    user = check_version(await work.repository(Users).lock(work.viewer_id), command.version)
    values = changed_columns(work, _user, user, command)
    return await work.change(user, **values) if values else user


async def _errors_of_preferences(work: UnitOfWork, command: Any) -> list[InputError]:
    _, row = await _lock_preferences(work)
    return version_errors(row, command.version)


async def _lock_preferences(work: UnitOfWork) -> tuple[UserPreferences | None, UserPreferences]:
    """The stored preferences of the viewer, and these or the default ones. Locks the viewer's account."""
    user = await work.repository(Users).lock(work.viewer_id)
    stored = (await work.repository(Preferences).by_id([user.id])).get(user.id)
    return stored, stored or default_preferences(user)


@reports(_errors_of_preferences)
@takes(
    input_model("UpdatePreferences", f"Changes of the viewer's preferences. {_UNCHANGED}", changed_values(_preferences))
)
async def update_preferences(work: UnitOfWork, command: Any) -> UserPreferences:
    """Changes the viewer's preferences. Possible error: STALE_VERSION if they were changed since."""
    stored, row = await _lock_preferences(work)
    raise_all(version_errors(row, command.version))
    values = changed_columns(work, _preferences, row, command)
    if not values:
        return row
    if stored is not None:
        return await work.change(stored, **values)
    defaults = row.replace(version=row.version + 1, created_at=work.now, updated_at=work.now)
    added = await work.repository(Preferences).add(**dict(zip(row.__fields__, defaults, strict=True)) | values)
    work.record_changed(defaults, added)
    return added
