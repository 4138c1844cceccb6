"""Commands that start and continue sessions: signUp, signIn and refreshSession.

A session has one valid refresh token at a time, which every use replaces. If an older token is used, two clients have
it, so the session ends for both of them. The caller is anonymous, so all statements run as the service.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from repositories.account_messages import AccountTokens, hash_token
from repositories.aggregates.derived import change_of
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import SessionEnded, ValidationError
from repositories.core.event import Change
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE, Viewer
from repositories.identity import (
    SessionRefreshed,
    Sessions,
    Users,
    UserSignedIn,
    UserSignedUp,
    roles_of,
)
from repositories.permissions import RoleName
from repositories.sql.aggregate import aggregates
from repositories.sql.table import declared
from repositories.tables.identity import MessageKind, Session, TokenPurpose, User, UserStatus
from resolvers.aggregates.derived_commands import takes
from resolvers.aggregates.derived_inputs import input_model, new_values
from resolvers.identity.accounts import Accounts, Attempt, Passwords, SignUpMode
from resolvers.identity.commands import end_session
from resolvers.identity.inputs import GivenPassword, NewPasswordField, SecretToken, not_the_email
from resolvers.identity.outbox import Outbox
from resolvers.identity.recovery import check_invitation, use_invitation
from resolvers.request.context import Context
from resolvers.validation.command import Command, Email, LookupEmail, Storable

_AGENT_LENGTH: Any = declared(Session.user_agent).length


_address = "The e-mail address, which no other account may have. It is stored in its normal form: in lower case."
_invitation = (
    "The token of an invitation to this e-mail address, which then counts as verified. Some gateways require one."
)
SignUp = input_model(
    "SignUp",
    "A new account.",
    {
        "email": (Email, Field(description=_address)),
        "password": (Annotated[NewPasswordField, AfterValidator(not_the_email)], ...),
        **new_values(aggregates[User], (User.first_name, User.last_name, User.time_zone, User.locale)),
        "invitation": (SecretToken | None, Field(None, repr=False, description=_invitation)),
    },
)


class SignIn(Command):
    """The credentials of an account."""

    email: LookupEmail
    """The account's e-mail address, in any case and in any spelling of its domain."""
    password: GivenPassword = Field(repr=False)
    """The account's password."""
    device_token: Annotated[str, StringConstraints(max_length=2000), Storable] | None = Field(None, repr=False)
    """The `deviceToken` of the last sign-in on this device, if there is one. It exempts the sign-in from the limit on
    attempts from all addresses. A token of another account, an expired or an invalid one has no effect."""


class RefreshSession(Command):
    """The session to continue."""

    refresh_token: Annotated[str, StringConstraints(max_length=2000), Storable] = Field(repr=False)
    """The session's current refresh token. It can be used once: the payload has the next one."""


class SignedIn(NamedTuple):
    """The tokens of a session and their user."""

    access_token: Annotated[str, "The bearer token for the Authorization header of requests."]
    refresh_token: Annotated[str, "The token for `refreshSession`, which can be used once. Keep it secret."]
    device_token: Annotated[
        str,
        "The token for `signIn` by which the account knows this device, valid for a year or until the password "
        "changes. Keep it after the sign-out.",
    ]
    expires_at: Annotated[dt.datetime, "The time when the access token expires."]
    viewer: Annotated[User, "The user who has signed in."]


class _OpenSession(NamedTuple):
    """A session that was started or refreshed: its user, the roles of the user, and the new refresh token."""

    user: User
    roles: frozenset[RoleName]
    id: UUID
    refresh_token: str


@takes(SignUp)
async def sign_up(context: Context, command: Any) -> SignedIn:
    """Creates an account and signs in to it. A message with a token for `verifyEmail` is sent to its address.

    Possible errors: VALIDATION_ERROR, also if the gateway accepts no new accounts or only those with an invitation,
    CONFLICT if another account has the address. Fails with RATE_LIMITED after too many accounts from one IP address.
    """
    accounts = context.service(Accounts)
    await accounts.attempts.count(Attempt.SIGN_UP_FROM_ADDRESS, context.origin.network)
    await _check_sign_up(context, command)
    values = command.model_dump(exclude={"password", "invitation"})
    values["password_hash"] = await accounts.passwords.hash(command.password)
    values["email_verified"] = command.invitation is not None
    outbox = context.optional_service(Outbox)
    async with context.unit_of_work(SERVICE) as work:
        if command.invitation is not None:
            await use_invitation(work, command.invitation, command.email)
        user = await work.add(User, UserSignedUp, **values, created_at=work.now, last_login=work.now)
        if outbox is not None and not user.email_verified:
            await outbox.add(work, MessageKind.VERIFY_EMAIL, user.email, user.id)
        session = await _start(context, work, user)
    return await _signed_in(context, session)


async def _check_sign_up(context: Context, command: Any) -> None:
    """Checks whether the gateway accepts the account. It runs before the password is hashed, which is expensive."""
    mode = context.service(Accounts).sign_up_mode
    if mode is SignUpMode.CLOSED:
        raise ValidationError("This gateway accepts no new accounts.")
    if mode is SignUpMode.INVITE and command.invitation is None:
        raise ValidationError("You need an invitation to create an account.", path=("invitation",))
    if command.invitation is not None:
        async with context.database.snapshot(SERVICE) as snapshot:
            tokens = AccountTokens(snapshot)
            found = await tokens.find_valid(TokenPurpose.INVITATION, command.invitation, context.now)
        check_invitation(tokens, found, command.email)


async def sign_in(context: Context, command: SignIn) -> SignedIn:
    """Signs in and starts a session.

    Possible error: VALIDATION_ERROR, the same for an unknown address, a wrong password and an account that is not
    active. Fails with RATE_LIMITED after too many attempts from one IP address, for one account from one IP address, or
    for one account from all addresses. The last limit does not apply to a known device (`deviceToken`).
    """
    accounts = context.service(Accounts)
    await accounts.attempts.count(Attempt.SIGN_IN_FROM_ADDRESS, context.origin.network)
    async with context.database.snapshot(SERVICE) as snapshot:
        found = await Users(snapshot).of_email(command.email)
    attempts = _password_attempts(context, command, found)
    for attempt in attempts:
        await accounts.attempts.count(*attempt)
    changes = await _check_password(accounts.passwords, found, command.password)
    async with context.unit_of_work(SERVICE) as work:
        user = await work.repository(Users).signed_in(*changes, at=work.now)
        if user is None:
            raise _wrong()
        last_login = found.last_login if found is not None else None
        session = await _start(context, work, user, change_of(user.replace(last_login=last_login), user))
    for attempt in attempts:
        await accounts.attempts.forget(*attempt)
    return await _signed_in(context, session)


def _password_attempts(
    context: Context, command: SignIn, user: User | None
) -> Sequence[tuple[Attempt, *tuple[Any, ...]]]:
    """The attempts as which a sign-in counts: one of a known device, or one from a network and one for the account.

    The network counts first, so that a network that has reached its limit does not use up the limit of the account.
    """
    if user is not None and command.device_token is not None:
        device = context.service(Accounts).tokens.device_of(command.device_token, user)
        if device is not None:
            return [(Attempt.PASSWORD_FROM_CLIENT, user.id, device)]
    return [
        (Attempt.PASSWORD_FROM_CLIENT, command.email, context.origin.network),
        (Attempt.PASSWORD_OF_ACCOUNT, command.email),
    ]


def _wrong() -> ValidationError:
    return ValidationError("The e-mail address or the password is wrong.")


async def _check_password(passwords: Passwords, user: User | None, password: str) -> tuple[UUID, str, str]:
    """The account's id, the hash that matched, and the hash to store, which has the current parameters."""
    stored = user.password_hash if user else None
    is_right = await passwords.matches(stored, password)
    if not is_right or user is None or stored is None or user.status is not UserStatus.ACTIVE:
        raise _wrong()
    renewed = await passwords.hash(password) if passwords.is_outdated(stored) else stored
    return user.id, stored, renewed


async def refresh_session(context: Context, command: RefreshSession) -> SignedIn:
    """Continues a session: returns new tokens for the current refresh token. An older token ends the session.

    Possible errors: VALIDATION_ERROR if it is no refresh token of this gateway, SESSION_ENDED. Fails with RATE_LIMITED
    after too many requests from one IP address.
    """
    accounts = context.service(Accounts)
    await accounts.attempts.count(Attempt.REFRESH_FROM_ADDRESS, context.origin.network)
    key = accounts.tokens.session_of(command.refresh_token)
    if key is None:
        raise ValidationError("This is not a refresh token of this gateway.", path=("refresh_token",))
    async with context.unit_of_work(SERVICE) as work:
        session = await _refresh(context, work, key, command.refresh_token)
    if session is None:
        raise SessionEnded(path=("refresh_token",))
    return await _signed_in(context, session)


async def _start(context: Context, work: UnitOfWork, user: User, change: Change | None = None) -> _OpenSession:
    """Starts a session. ``change`` says what the sign-in has changed in the account."""
    key = new_id()
    client = context.origin
    rotated = _rotated(context, work, key)
    await work.add(
        Session,
        id=key,
        user_id=user.id,
        created_at=work.now,
        user_agent=client.user_agent[: _AGENT_LENGTH[1]] if client.user_agent else None,
        ip=client.address,
        **rotated.values,
    )
    work.record(UserSignedIn(user.id, user.id, key, change=change))
    return _OpenSession(user, await roles_of(work.connection, user), key, rotated.token)


async def _refresh(context: Context, work: UnitOfWork, key: UUID, token: str) -> _OpenSession | None:
    """Refreshes a session. Returns None if it has ended, or if it ends now because of this token or of its user.

    The caller raises the error after the commit, so that the end of the session is stored.
    """
    sessions = work.repository(Sessions)
    session = (await sessions.lock_many([key])).get(key)
    if session is None or session.revoked_at is not None or session.expires_at <= work.now:
        return None
    user = (await work.repository(Users).by_id([session.user_id])).get(session.user_id)
    if session.refresh_token_hash != hash_token(token):
        await end_session(work, session, "reused")
        return None
    if user is None or user.status is not UserStatus.ACTIVE:
        await end_session(work, session, "not_active")
        return None
    rotated = _rotated(context, work, key)
    await work.change(session, SessionRefreshed, ip=context.origin.address, **rotated.values)
    return _OpenSession(user, await roles_of(work.connection, user), key, rotated.token)


class _Rotated(NamedTuple):
    token: str
    values: Mapping[str, Any]


def _rotated(context: Context, work: UnitOfWork, key: UUID) -> _Rotated:
    """A session's next refresh token and the columns that change with it."""
    accounts = context.service(Accounts)
    expires_at = work.now + dt.timedelta(seconds=accounts.refresh_token_lifetime)
    token = accounts.tokens.issue_refresh(key, expires_at)
    return _Rotated(
        token, {"refresh_token_hash": hash_token(token), "expires_at": expires_at, "last_seen_at": work.now}
    )


async def _signed_in(context: Context, session: _OpenSession) -> SignedIn:
    """The tokens. The rest of the request runs as the user who has signed in."""
    accounts = context.service(Accounts)
    lifetime = accounts.access_token_lifetime
    token = accounts.tokens.issue(session.user, session.roles, lifetime, session.id)
    await context.switch_viewer(
        Viewer(session.user.id, session.roles, time_zone=session.user.time_zone, session=session.id)
    )
    expires_at = context.now + dt.timedelta(seconds=lifetime)
    device = accounts.tokens.issue_device(session.user)
    return SignedIn(token, session.refresh_token, device, expires_at, session.user)
