"""What people do with their own account."""

from collections.abc import Iterable

from pydantic import Field
from strawberry import Maybe

from repositories.account_messages import AccountTokens
from repositories.administration import RoleGrants
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, NotFound, ValidationError
from repositories.core.viewer import SERVICE
from repositories.identity import (
    PasswordChanged,
    Preferences,
    PreferencesUpdated,
    ProfileUpdated,
    SessionRevoked,
    Sessions,
    UserDeactivated,
    Users,
    default_preferences,
)
from repositories.tables.identity import Session, Theme, User, UserPreferences, UserStatus, Weekday
from resolvers.identity.accounts import Accounts, Attempt
from resolvers.identity.inputs import (
    SAME_AS_EMAIL,
    GivenPassword,
    Locale,
    Name,
    NewPassword,
    SessionKey,
    TimeZone,
    is_email,
)
from resolvers.request.context import Context
from resolvers.validation.command import (
    Command,
    Phone,
    Version,
    WebAddress,
    changed_fields,
    check_version,
    provided_fields,
)


class SignOut(Command):
    """Where to sign out."""

    everywhere: bool = False
    """True: ends all of the viewer's sessions. False: ends the one this request belongs to."""


class RevokeSession(Command):
    """The session to end."""

    id: SessionKey
    """One of the viewer's sessions."""


class ChangePassword(Command):
    """The old and the new password."""

    current_password: GivenPassword = Field(repr=False)
    """The password as it is."""
    new_password: NewPassword = Field(repr=False)
    """The new password, 10 to 128 characters, not the e-mail address and none of the most common passwords."""


class UpdateProfile(Command):
    """Changes of the viewer's account; what is left out stays as it is."""

    version: Version
    """The version that was seen; if the account has another by now, nothing is changed."""
    first_name: Maybe[Name]
    """The first name, 2 to 50 characters."""
    last_name: Maybe[Name]
    """The last name, 2 to 50 characters."""
    phone: Maybe[Phone | None]
    """The phone number with + and the code of its country; it is kept in E.164, encrypted. Null removes it."""
    avatar_url: Maybe[WebAddress | None]
    """The address of a picture, http or https, at most 255 characters; null removes it."""
    time_zone: Maybe[TimeZone]
    """The IANA time zone the person lives in, such as Europe/Berlin. It counts from the next request on."""
    locale: Maybe[Locale]
    """The language and region texts are shown in, such as en or de-AT."""


class UpdatePreferences(Command):
    """Changes of the viewer's preferences; what is left out stays as it is."""

    version: Version
    """The version that was seen; if the preferences have another by now, nothing is changed."""
    theme: Maybe[Theme]
    """How the applications look."""
    week_starts_on: Maybe[Weekday]
    """The first day of the week in trends and in tiles such as `pointsThisWeek`."""


class DeactivateAccount(Command):
    """The password once more, because an account that is closed can be opened by administrators only."""

    password: GivenPassword | None = Field(None, repr=False)
    """The account's password; accounts of an outside issuer have none."""


# sessions


async def sign_out(work: UnitOfWork, command: SignOut) -> list[Session]:
    """Ends the session this request belongs to, or all of the viewer's. Its access tokens become invalid."""
    if command.everywhere:
        return await revoked(work, await work.repository(Sessions).revoke_all(work.viewer_id, work.now), "signed_out")
    key = work.viewer.session
    session = (await work.repository(Sessions).lock_many([key])).get(key) if key else None
    return [] if session is None else [await _end(work, session, "signed_out")]


async def revoke_session(work: UnitOfWork, command: RevokeSession) -> Session:
    """Ends one of the viewer's sessions; one that has ended stays as it is."""
    session = await work.repository(Sessions).lock(command.id)
    if session.user_id != work.viewer_id:
        raise NotFound.of("session")
    return await _end(work, session, "revoked")


async def _end(work: UnitOfWork, session: Session, reason: str) -> Session:
    if session.revoked_at is not None:
        return session
    changed = await work.repository(Sessions).change(session, revoked_at=work.now)
    await revoked(work, [changed], reason)
    return changed


async def revoked(work: UnitOfWork, sessions: Iterable[Session], reason: str) -> list[Session]:
    """Notes that sessions have ended."""
    ended = list(sessions)
    for session in ended:
        work.record(SessionRevoked(session.id, session.user_id, reason))
    return ended


# the account


async def change_password(context: Context, command: ChangePassword) -> User:
    """Replaces the viewer's password and ends the viewer's other sessions. Tokens that were sent become invalid."""
    user = await viewer_with_password(context, command.current_password, "current_password")
    if is_email(command.new_password, user.email):
        raise ValidationError(SAME_AS_EMAIL + ".", path=("new_password",))
    fresh = await context.service(Accounts).passwords.hash(command.new_password)
    async with context.unit_of_work(SERVICE) as work:  # only the service may revoke tokens that were sent by e-mail
        account = await unchanged_account(work, user)
        changed = await work.repository(Users).change(account, password_hash=fresh)
        work.record(PasswordChanged(user.id, user.id))
        await work.repository(AccountTokens).revoke_all(user.id, work.now)
        others = await work.repository(Sessions).revoke_all(user.id, work.now, but=context.viewer.session)
        await revoked(work, others, "password_changed")
    return changed


async def deactivate_account(context: Context, command: DeactivateAccount) -> User:
    """Closes the viewer's account and ends all of its sessions. The last administrator has to stay."""
    user = await viewer_with_password(context, command.password, "password")
    async with context.unit_of_work(SERVICE) as work:  # who else administers is nothing that everybody may see
        async with work.repository(RoleGrants).keeping_an_admin():
            account = await unchanged_account(work, user)
            if account.status is not UserStatus.ACTIVE:
                raise Conflict("Only an active account can be closed.")
            changed = await work.repository(Users).change(account, status=UserStatus.DEACTIVATED)
        work.record(UserDeactivated(user.id, user.id))
        ended = await work.repository(Sessions).revoke_all(user.id, work.now)
        await revoked(work, ended, "deactivated")
    return changed


async def viewer_with_password(context: Context, password: str | None, field: str) -> User:
    """The viewer's account, if it has this password.

    Attempts are counted per session, so that attempts of others to sign in do not lock the owner out.
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
    """The viewer's account, locked, if it still is the one whose password was looked at."""
    user = await work.repository(Users).lock(before.id)
    if (user.password_hash, user.status) != (before.password_hash, before.status):
        raise Conflict("Your account was changed at the same moment. Try again.")
    return user


async def update_profile(work: UnitOfWork, command: UpdateProfile) -> User:
    """Changes the viewer's account, if it still has the version that was seen."""
    user = check_version(await work.repository(Users).lock(work.viewer_id), command.version)
    wanted = provided_fields(command, "first_name", "last_name", "phone", "avatar_url", "time_zone", "locale")
    values = changed_fields(work, user, wanted)
    if not values:
        return user
    changed = await work.repository(Users).change(user, **values)
    work.record(ProfileUpdated(user.id, user.id, tuple(sorted(values))))
    return changed


async def update_preferences(work: UnitOfWork, command: UpdatePreferences) -> UserPreferences:
    """Changes the viewer's preferences, if they still have the version that was seen."""
    preferences = work.repository(Preferences)
    user = await work.repository(Users).lock(work.viewer_id)
    stored = (await preferences.by_id([user.id])).get(user.id)
    row = check_version(stored or default_preferences(user), command.version)
    values = changed_fields(work, row, provided_fields(command, "theme", "week_starts_on"))
    if not values:
        return row
    work.record(PreferencesUpdated(user.id, user.id, tuple(sorted(values))))
    if stored is not None:
        return await preferences.change(stored, **values)
    made = dict(zip(row.__fields__, row, strict=True)) | {"version": row.version + 1, "created_at": work.now}
    return await preferences.add(**made | {"updated_at": work.now} | values)
