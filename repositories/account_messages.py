"""Tokens that are sent by e-mail, and the outbox with the e-mails to send. Only the service may use both tables."""

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.repository import Repository
from repositories.core.email_address import normalize_email
from repositories.core.event import Event
from repositories.sql import types
from repositories.sql.filters import And, Compare, Op
from repositories.sql.statements import Statement, scalar
from repositories.tables.identity import AccountToken, MessageOutcome, OutboxMessage, TokenPurpose

_tokens = AccountToken.__table__
_messages = OutboxMessage.__table__

# events


@dataclass(frozen=True, slots=True)
class EmailVerificationRequested(Event, aggregate="user"):
    """A user asked for a message that verifies the e-mail address of the account."""


@dataclass(frozen=True, slots=True)
class EmailVerified(Event, aggregate="user"):
    """A user proved to receive messages at the e-mail address of the account."""


@dataclass(frozen=True, slots=True)
class PasswordResetRequested(Event, aggregate="user"):
    """A message to set a new password was requested for the e-mail address of an account."""


@dataclass(frozen=True, slots=True)
class PasswordReset(Event, aggregate="user"):
    """A password was replaced with a token that was sent to the account's e-mail address."""


@dataclass(frozen=True, slots=True)
class EmailChangeRequested(Event, aggregate="user"):
    """A user asked for another e-mail address."""


@dataclass(frozen=True, slots=True)
class EmailChanged(Event, aggregate="user"):
    """An account got another e-mail address, which is verified."""


@dataclass(frozen=True, slots=True)
class EmailReleased(Event, aggregate="user"):
    """An account lost its unverified address to another account, for which an external issuer has verified it."""


@dataclass(frozen=True, slots=True)
class UserInvited(Event, aggregate="invitation"):
    """An administrator sent an invitation, and is the owner of the invitation."""


# tokens

_id = sa.bindparam("id", type_=types.Id())
_now = sa.bindparam("now", type_=types.Timestamp())
_purpose = sa.bindparam("purpose", type_=_tokens.c.purpose.type)

_use: Statement[AccountToken] = Statement(
    sa.delete(_tokens).where(_tokens.c.id == _id, _tokens.c.expires_at > _now).returning(*_tokens.c), AccountToken
)

_revoke_of_user: Statement[UUID] = Statement(
    sa.delete(_tokens).where(_tokens.c.user_id == sa.bindparam("user", type_=types.Id())).returning(_tokens.c.id),
    scalar(UUID),
)

_replace: Statement[UUID] = Statement(
    sa.delete(_tokens)
    .where(
        _tokens.c.purpose == _purpose,
        sa.or_(
            _tokens.c.user_id == sa.bindparam("user", type_=types.Id()),
            sa.and_(_tokens.c.user_id.is_(None), _tokens.c.email_index == sa.bindparam("index", type_=types.Text())),
        ),
        _tokens.c.created_at <= sa.bindparam("requested_at", type_=types.Timestamp()),
    )
    .returning(_tokens.c.id),
    scalar(UUID),
)

_purge_expired: Statement[UUID] = Statement(
    sa.delete(_tokens).where(_tokens.c.expires_at <= _now).returning(_tokens.c.id), scalar(UUID)
)


def hash_token(token: str) -> str:
    """The SHA-256 of a token. It needs no salt, because tokens have 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


class AccountTokens(Repository[AccountToken], table=AccountToken, noun="token"):
    """Tokens that have not been used. The address of an invitation is found by its blind index."""

    async def find_valid(self, purpose: TokenPurpose, token: str, at: dt.datetime) -> AccountToken | None:
        """The row of a token that has not expired."""
        of_token = Compare("token_hash", Op.EQ, hash_token(token))
        return await self.first(And((of_token, Compare("purpose", Op.EQ, purpose), Compare("expires_at", Op.GT, at))))

    async def use(self, key: UUID, at: dt.datetime) -> AccountToken | None:
        """Deletes the token, for its only use. None if another transaction has used it, or if it has expired."""
        return await self.connection.row(_use, id=key, now=at)

    async def replace(  # noqa: PLR0913 (the columns of a token)
        self,
        key: UUID,
        purpose: TokenPurpose,
        user: UUID | None,
        email: str,
        token: str,
        *,
        requested_at: dt.datetime,
        expires_at: dt.datetime,
    ) -> bool:
        """Stores a token, and deletes the earlier one of the same purpose for the same user or invited address.

        Stores nothing and returns False if a token exists that was requested later. Executes two statements.
        """
        index = self.connection.cipher.blind_index(AccountToken.email, normalize_email(email))
        await self.connection.execute_later(
            _replace, purpose=purpose, user=user, index=index, requested_at=requested_at
        )
        values: dict[str, Any] = {"id": key, "purpose": purpose, "user_id": user, "email": email}
        values |= {"token_hash": hash_token(token), "created_at": requested_at, "expires_at": expires_at}
        return key in await self.add_missing([values])

    def address_of(self, token: AccountToken) -> str:
        """The e-mail address to which the token was sent."""
        return self.connection.cipher.decrypt(AccountToken.email, token.id, token.email)

    async def revoke_all(self, user: UUID, at: dt.datetime) -> None:
        """Deletes all tokens of a user, and drops the user's pending messages that would contain new ones.

        A message to set a new password has no user before it is sent, so it stays. It is only sent if the account still
        has the address.
        """
        await self.connection.execute_later(_revoke_of_user, user=user)
        await self.connection.execute_later(_drop_of_user, user=user, now=at)

    async def purge_expired(self, at: dt.datetime) -> int:
        """Deletes the tokens that have expired by then and returns their number."""
        return len(await self.connection.rows(_purge_expired, now=at))


# outbox

_is_pending = _messages.c.outcome == sa.literal_column(f"'{MessageOutcome.PENDING.value}'")
_until = sa.bindparam("until", type_=types.Timestamp())

_take: Statement[OutboxMessage] = Statement(
    sa.update(_messages)
    .where(
        _messages.c.id
        == sa.select(_messages.c.id)
        .where(_is_pending, _messages.c.next_attempt_at <= _now)
        .order_by(_messages.c.next_attempt_at)
        .limit(sa.literal_column("1"))
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    .values(attempts=_messages.c.attempts + sa.literal_column("1"), next_attempt_at=_until, updated_at=_now)
    .returning(*_messages.c),
    OutboxMessage,
)

_is_attempt = sa.and_(
    _messages.c.id == _id, _messages.c.attempts == sa.bindparam("attempt", type_=sa.Integer()), _is_pending
)
_error = sa.bindparam("error", type_=types.Text())

_finish: Statement[UUID] = Statement(
    sa.update(_messages)
    .where(_is_attempt)
    .values(
        outcome=sa.bindparam("outcome", type_=_messages.c.outcome.type),
        finished_at=_now,
        recipient=sa.null(),
        error=_error,
        updated_at=_now,
    )
    .returning(_messages.c.id),
    scalar(UUID),
)

_drop_of_user: Statement[UUID] = Statement(
    sa.update(_messages)
    .where(
        _messages.c.user_id == sa.bindparam("user", type_=types.Id()),
        _is_pending,
        sa.or_(*(_messages.c.kind == sa.literal_column(f"'{purpose.value}'") for purpose in TokenPurpose)),
    )
    .values(
        outcome=sa.literal_column(f"'{MessageOutcome.DROPPED.value}'"),
        finished_at=_now,
        recipient=sa.null(),
        updated_at=_now,
    )
    .returning(_messages.c.id),
    scalar(UUID),
)

_postpone: Statement[UUID] = Statement(
    sa.update(_messages)
    .where(_is_attempt)
    .values(next_attempt_at=_until, error=_error, updated_at=_now)
    .returning(_messages.c.id),
    scalar(UUID),
)

_purge_finished: Statement[UUID] = Statement(
    sa.delete(_messages)
    .where(_messages.c.finished_at < sa.bindparam("before", type_=types.Timestamp()))
    .returning(_messages.c.id),
    scalar(UUID),
)


class OutboxMessages(Repository[OutboxMessage], table=OutboxMessage, noun="message"):
    """E-mails to send. An attempt leases its message, so that no two processes send it at the same time."""

    async def take(self, at: dt.datetime, until: dt.datetime) -> OutboxMessage | None:
        """The message that is due for the longest time, leased ``until`` a moment. None if no message is due.

        Skips messages that another process is taking at the moment.
        """
        return await self.connection.row(_take, now=at, until=until)

    async def finish(
        self, message: OutboxMessage, outcome: MessageOutcome, at: dt.datetime, error: str | None = None
    ) -> None:
        """Stores the outcome and deletes the recipient, unless a later attempt has begun."""
        await self.connection.rows(
            _finish, id=message.id, attempt=message.attempts, outcome=outcome, now=at, error=error
        )

    async def postpone(self, message: OutboxMessage, at: dt.datetime, until: dt.datetime, error: str) -> None:
        """Ends the attempt. The next one begins at ``until``. Does nothing if a later attempt has begun."""
        await self.connection.rows(_postpone, id=message.id, attempt=message.attempts, now=at, until=until, error=error)

    async def purge_finished(self, before: dt.datetime) -> int:
        """Deletes the messages that were finished before this moment and returns their number."""
        return len(await self.connection.rows(_purge_finished, before=before))

    def recipient_of(self, message: OutboxMessage) -> str:
        """The e-mail address of a pending message."""
        assert message.recipient is not None  # noqa: S101 (a CHECK constraint of the table)
        return self.connection.cipher.decrypt(OutboxMessage.recipient, message.id, message.recipient)
