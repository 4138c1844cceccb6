"""Commands with tokens that are sent by e-mail: to verify or change the address, to set a password, to sign up.

The response to a request for a message never depends on whether an account has the address: the account is looked up
when the message is sent (resolvers/identity/outbox.py).
"""

from typing import Annotated
from uuid import UUID

from repositories.account_messages import (
    AccountTokens,
    EmailChanged,
    EmailChangeRequested,
    EmailVerificationRequested,
    EmailVerified,
    PasswordReset,
    UserInvited,
)
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, ServiceUnavailable, ValidationError
from repositories.core.viewer import SERVICE
from repositories.identity import Users, is_placeholder
from repositories.tables.identity import AccountToken, MessageKind, TokenPurpose, User, UserStatus
from resolvers.identity.accounts import Accounts, Attempt
from resolvers.identity.commands import revoke_all_sessions, unchanged_account, viewer_with_password
from resolvers.identity.inputs import SAME_AS_EMAIL, NewPasswordField, OwnPasswordField, TokenField, is_email
from resolvers.identity.outbox import Outbox, can_reset_password
from resolvers.request.context import Context
from resolvers.validation.command import Command, Email, LookupEmail

_TAKEN = "There is already an account with this e-mail address."


class RequestEmailVerification(Command):
    """The address to verify."""

    email: LookupEmail
    """The e-mail address of the viewer's account."""


class VerifyEmail(Command):
    """The token from the message."""

    token: TokenField


class RequestPasswordReset(Command):
    """The e-mail address of an account."""

    email: LookupEmail
    """The account's e-mail address, in any case and in any spelling of its domain."""


class ResetPassword(Command):
    """The token from the message, and the new password."""

    token: TokenField
    new_password: NewPasswordField


class RequestEmailChange(Command):
    """The new e-mail address, and the current password."""

    new_email: Email
    """The new e-mail address. A message with a token is sent to it."""
    password: OwnPasswordField = None


class ConfirmEmailChange(Command):
    """The token from the message."""

    token: TokenField


class InviteUser(Command):
    """The e-mail address of a user to invite."""

    email: Email
    """The e-mail address to which the invitation is sent. Only an account with this address can be created with it."""


# verification of the address


MessageAddress = Annotated[
    str, "The e-mail address in its normal form. A message is sent to it, if the conditions are met."
]


async def request_email_verification(context: Context, command: RequestEmailVerification) -> MessageAddress:
    """Sends a message with a token for `verifyEmail` to the address of the viewer's account.

    Earlier messages become invalid. Possible errors: VALIDATION_ERROR if it is not the address of the account, CONFLICT
    if it is verified already. Fails with RATE_LIMITED after too many messages to one address or from one IP address.
    """
    user = await Users(context.snapshot).get(context.viewer_id)
    await context.discard_reads()
    if user.email != command.email or is_placeholder(user.email):
        raise ValidationError("This is not the e-mail address of your account.", path=("email",))
    if user.email_verified:
        raise Conflict("Your e-mail address is verified already.", path=("email",))
    outbox = await _outbox_for_message(context, user.email)
    async with context.unit_of_work(SERVICE) as work:
        await outbox.add(work, MessageKind.VERIFY_EMAIL, user.email, user.id)
        work.record(EmailVerificationRequested(user.id, user.id))
    return command.email


async def verify_email(context: Context, command: VerifyEmail) -> Annotated[str, "The verified e-mail address."]:
    """Marks the e-mail address to which the token was sent as verified. The caller need not be signed in.

    Possible error: VALIDATION_ERROR if the token is not valid.
    """
    await _count_use(context)
    async with context.unit_of_work(SERVICE) as work:
        work.outcome = user = await _use(work, TokenPurpose.VERIFY_EMAIL, command.token)
        if not user.email_verified:
            await work.change(user, EmailVerified, email_verified=True)
    return user.email


# the password


async def request_password_reset(context: Context, command: RequestPasswordReset) -> MessageAddress:
    """Sends a message with a token for `resetPassword` to the address, if there is an account with a password.

    The response does not tell whether there is one. Earlier messages become invalid. Fails with RATE_LIMITED after too
    many messages to one address or from one IP address.
    """
    outbox = await _outbox_for_message(context, command.email)
    async with context.unit_of_work(SERVICE) as work:
        await outbox.add(work, MessageKind.RESET_PASSWORD, command.email)
    return command.email


async def reset_password(
    context: Context, command: ResetPassword
) -> Annotated[str, "The e-mail address for `signIn`."]:
    """Replaces the password and ends all sessions of the account. A message informs the owner.

    The e-mail address counts as verified. All other tokens of the account become invalid. Possible error:
    VALIDATION_ERROR.
    """
    await _count_use(context)
    async with context.database.snapshot(SERVICE) as snapshot:
        tokens = AccountTokens(snapshot)
        token = await tokens.find_valid(TokenPurpose.RESET_PASSWORD, command.token, context.now)
    if token is None:
        raise invalid_token()
    if is_email(command.new_password, tokens.address_of(token)):
        raise ValidationError(SAME_AS_EMAIL + ".", path=("new_password",))
    accounts = context.service(Accounts)
    fresh = await accounts.passwords.hash(command.new_password)
    outbox = context.optional_service(Outbox)
    async with context.unit_of_work(SERVICE) as work:
        work.outcome = user = await _use(work, TokenPurpose.RESET_PASSWORD, command.token)
        if not can_reset_password(user):
            raise invalid_token()
        await work.change(user, PasswordReset, password_hash=fresh, email_verified=True)
        await work.repository(AccountTokens).revoke_all(user.id, work.now)
        await revoke_all_sessions(work, user.id, "password_reset")
        if outbox is not None:
            await outbox.add(work, MessageKind.PASSWORD_WAS_RESET, user.email, user.id)
    await accounts.attempts.forget(Attempt.PASSWORD_OF_ACCOUNT, user.email)
    await accounts.attempts.forget(Attempt.PASSWORD_FROM_CLIENT, user.email, context.origin.network)
    return user.email


# change of the address


async def request_email_change(context: Context, command: RequestEmailChange) -> MessageAddress:
    """Sends a message with a token for `confirmEmailChange` to the new address. Nothing changes until it is used.

    If the new address belongs to another account, its owner gets a message instead. The response does not tell this.
    Earlier messages become invalid. Possible errors: VALIDATION_ERROR, CONFLICT if the account has the address already.
    Fails with RATE_LIMITED after too many messages to one address or from one IP address.
    """
    user = await viewer_with_password(context, command.password, "password")
    if user.email == command.new_email:
        raise Conflict("Your account has this e-mail address already.", path=("new_email",))
    outbox = await _outbox_for_message(context, command.new_email)
    async with context.unit_of_work(SERVICE) as work:
        await unchanged_account(work, user)  # a change of the password at the same time drops the message
        await outbox.add(work, MessageKind.CHANGE_EMAIL, command.new_email, user.id)
        work.record(EmailChangeRequested(user.id, user.id))
    return command.new_email


async def confirm_email_change(
    context: Context, command: ConfirmEmailChange
) -> Annotated[str, "The account's new e-mail address."]:
    """Gives the account the e-mail address to which the token was sent. A message to the old address informs the owner.

    All other tokens of the account become invalid. The caller need not be signed in. Possible errors: VALIDATION_ERROR,
    CONFLICT if another account has got the address in the meantime.
    """
    await _count_use(context)
    outbox = context.optional_service(Outbox)
    async with context.unit_of_work(SERVICE) as work:
        user, address = await _use_of_account(work, TokenPurpose.CHANGE_EMAIL, command.token)
        try:
            work.outcome = await work.change(user, EmailChanged, email=address, email_verified=True)
        except Conflict as error:
            raise Conflict(error.message) from error  # without the path, because this input has no address
        await work.repository(AccountTokens).revoke_all(user.id, work.now)
        if outbox is not None and not is_placeholder(user.email):
            await outbox.add(work, MessageKind.EMAIL_WAS_CHANGED, user.email, user.id)
    return address


# invitations


async def invite_user(context: Context, command: InviteUser) -> MessageAddress:
    """Sends an invitation with a token for `signUp`. An earlier one to the same address becomes invalid.

    For administrators. Possible errors: VALIDATION_ERROR, CONFLICT if an account has the address. Fails with
    RATE_LIMITED after too many messages to one address or from one IP address.
    """
    outbox = await _outbox_for_message(context, command.email)
    async with context.unit_of_work(SERVICE) as work:
        if await work.repository(Users).lock_holder(command.email) is not None:
            raise Conflict(_TAKEN, path=("email",))
        invitation = await outbox.add(work, MessageKind.INVITATION, command.email)
        work.record(UserInvited(invitation, context.viewer_id))
    return command.email


async def use_invitation(work: UnitOfWork, token: str, email: str) -> None:
    """Deletes an invitation, which must be valid for this address."""
    tokens = work.repository(AccountTokens)
    invitation = await tokens.find_valid(TokenPurpose.INVITATION, token, work.now)
    check_invitation(tokens, invitation, email)
    if invitation is None or await tokens.use(invitation.id, work.now) is None:
        raise invalid_token("invitation")


def check_invitation(tokens: AccountTokens, invitation: AccountToken | None, email: str) -> None:
    """Raises a ValidationError unless the invitation was sent to this address."""
    if invitation is None:
        raise invalid_token("invitation")
    if tokens.address_of(invitation) != email:
        raise ValidationError("The invitation is for another e-mail address.", path=("email",))


# tokens and limits


def require_outbox(context: Context) -> Outbox:
    """The outbox, if this gateway can send e-mails."""
    outbox = context.optional_service(Outbox)
    if outbox is None:
        message = "This gateway cannot send e-mails. Ask its administrator."
        raise ServiceUnavailable(message)
    return outbox


async def _outbox_for_message(context: Context, recipient: str) -> Outbox:
    """The outbox. Counts the message first, whether or not there is an account.

    The network counts first, so that a network that has reached its limit does not use up the limit of the recipient.
    """
    outbox, network = require_outbox(context), context.origin.network
    attempts = context.service(Accounts).attempts
    await attempts.count(Attempt.MAIL_FROM_ADDRESS, network)
    await attempts.count(Attempt.MAIL_TO_RECIPIENT_FROM_CLIENT, recipient, network)
    await attempts.count(Attempt.MAIL_TO_RECIPIENT, recipient)
    return outbox


async def _count_use(context: Context) -> None:
    await context.service(Accounts).attempts.count(Attempt.SIGN_IN_FROM_ADDRESS, context.origin.network)


def invalid_token(field: str = "token") -> ValidationError:
    """The error of a token. It does not tell why the token is invalid."""
    message = "This link or code is not valid: it was used, replaced by a newer one, or has expired."
    return ValidationError(message, path=(field,))


async def _use(work: UnitOfWork, purpose: TokenPurpose, token: str) -> User:
    """The active account of a token, locked, if the token was sent to its current address. Deletes the token."""
    user, address = await _use_of_account(work, purpose, token)
    if user.email != address:
        raise invalid_token()
    return user


async def _use_of_account(work: UnitOfWork, purpose: TokenPurpose, token: str) -> tuple[User, str]:
    """The active account of a token, locked, and the address to which the token was sent. Deletes the token.

    All transactions lock the account before the token, so that there are no deadlocks.
    """
    tokens = work.repository(AccountTokens)
    found = await tokens.find_valid(purpose, token, work.now)
    key: UUID | None = found.user_id if found else None
    user = (await work.repository(Users).lock_many([key])).get(key) if key else None
    if found is None or user is None or user.status is not UserStatus.ACTIVE:
        raise invalid_token()
    if await tokens.use(found.id, work.now) is None:
        raise invalid_token()
    return user, tokens.address_of(found)
