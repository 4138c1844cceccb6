"""The outbox: units of work write e-mails into it, and a task of the process sends them after the commit.

A message is sent in three transactions. The first one leases it, so that no other process sends it at the same time.
The second one looks up the account and stores the token. The third one records the outcome. If the process ends before
the third one, the message is sent a second time after its lease, with the same token and Message-ID.

A token is never stored. It is computed from its id and a key of the gateway, so that every attempt sends the same one.
"""

import asyncio
import base64
import datetime as dt
import hmac
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage
from typing import NamedTuple
from uuid import UUID

from repositories.account_messages import AccountTokens, OutboxMessages, PasswordResetRequested
from repositories.aggregates.unit_of_work import Reaction, UnitOfWork, open_unit_of_work
from repositories.core.background_tasks import end_tasks
from repositories.core.clock import now
from repositories.core.encryption import DecryptionError
from repositories.core.errors import GatewayError
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users, is_placeholder
from repositories.tables.identity import MessageKind, MessageOutcome, OutboxMessage, TokenPurpose, User, UserStatus
from resolvers.identity.mail_texts import ADDRESS_IN_USE, TEXTS, MailComposer, SentToken, Text
from resolvers.services.mail import MailDeferred, MailRejected, MailTransport
from resolvers.services.smtp import deliverable_address

log = logging.getLogger(__name__)

POLL_INTERVAL = 10.0
"""Seconds between two searches for due messages, which other processes may have written."""
LEASE = dt.timedelta(minutes=10)
"""How long an attempt owns its message. It is longer than the timeouts of an attempt together."""
MAX_ATTEMPTS = 12
"""About six hours: more than most outages of a mail server."""
_FIRST_DELAY, _LONGEST_DELAY = 30.0, 3600.0
"""Seconds. The delay doubles with each attempt."""


class _Mail(NamedTuple):
    recipient: str
    message: EmailMessage


class Outbox:
    """Stores messages, and sends them while :meth:`run` is active.

    ``key`` is the key from which tokens are computed, ``lifetimes`` the lifetimes of the tokens by purpose.
    """

    def __init__(  # noqa: PLR0913 (the parts of a process)
        self,
        database: Database,
        reactions: Sequence[Reaction],
        transport: MailTransport,
        composer: MailComposer,
        *,
        key: bytes,
        lifetimes: Mapping[TokenPurpose, dt.timedelta],
        clock: Callable[[], dt.datetime] = now,
    ) -> None:
        self._database = database
        self._reactions = reactions
        self._transport = transport
        self._composer = composer
        self._key = key
        self._lifetimes = lifetimes
        self._clock = clock
        self._wake = asyncio.Event()
        self._is_stopping = False

    async def add(self, work: UnitOfWork, kind: MessageKind, recipient: str, user: UUID | None = None) -> UUID:
        """Stores a message in a unit of work of the service, and returns its id. It is sent after the commit.

        Without ``user``, the account is looked up when the message is sent, so that the time of a request does not tell
        whether there is an account.
        """
        added = await work.repository(OutboxMessages).add(
            kind=kind, recipient=recipient, user_id=user, next_attempt_at=work.now, created_at=work.now
        )
        work.commit_callbacks.append(self._wake.set)
        return added.id

    # sending

    @asynccontextmanager
    async def run(self, shutdown_timeout: float) -> AsyncIterator[None]:
        """Sends messages until the end of the block. Then waits up to ``shutdown_timeout`` seconds for the last one."""
        task = asyncio.create_task(self._send_until_stopped())
        try:
            yield
        finally:
            self._is_stopping = True
            self._wake.set()
            _, late = await asyncio.wait([task], timeout=shutdown_timeout)
            await end_tasks(late)

    async def _send_until_stopped(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            try:
                await self.send_due()
            except GatewayError as error:
                log.warning("E-mails cannot be sent right now: %s, %r.", error.code, error.__cause__)
            except Exception:
                log.exception("E-mails cannot be sent right now.")
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL):
                    await self._wake.wait()

    async def send_due(self) -> int:
        """Sends the messages that are due and returns their number. Stops if the mail server cannot be reached."""
        count = 0
        while not self._is_stopping:
            at = self._clock()
            async with self._database.transaction(SERVICE) as write:
                message = await OutboxMessages(write).take(at, at + LEASE)
            if message is None or not await self._attempt(message):
                break
            count += 1
        return count

    async def _attempt(self, message: OutboxMessage) -> bool:
        """Makes one attempt and records its outcome. False if other messages would fail now, too."""
        outcome, error, is_outage = MessageOutcome.SENT, None, False
        if message.attempts > MAX_ATTEMPTS:  # the process ended during the last attempt
            await self._record(message, MessageOutcome.FAILED, "interrupted")
            return True
        try:
            mail = await self._prepare(message)
            if mail is None:
                outcome = MessageOutcome.DROPPED
            else:
                await self._transport.send(mail.message, mail.recipient)
        except MailDeferred as deferred:
            outcome, error, is_outage = MessageOutcome.PENDING, deferred.reason, deferred.is_outage
        except (MailRejected, DecryptionError) as rejected:
            outcome, error = MessageOutcome.FAILED, getattr(rejected, "reason", type(rejected).__name__)
        if outcome is MessageOutcome.PENDING and message.attempts >= MAX_ATTEMPTS:
            outcome = MessageOutcome.FAILED
        await self._record(message, outcome, error)
        return not is_outage

    async def _record(self, message: OutboxMessage, outcome: MessageOutcome, error: str | None) -> None:
        at = self._clock()
        async with self._database.transaction(SERVICE) as write:
            messages = OutboxMessages(write)
            if outcome is MessageOutcome.PENDING:
                await messages.postpone(message, at, at + retry_delay(message.attempts), error or "unknown")
            else:
                await messages.finish(message, outcome, at, error)
        if error is not None:
            end = "It will be sent again later." if outcome is MessageOutcome.PENDING else "It is given up."
            log.warning("The e-mail %s (%s) was not accepted: %s. %s", message.id, message.kind.value, error, end)
        elif outcome is MessageOutcome.SENT:
            log.info("The e-mail %s (%s) was sent.", message.id, message.kind.value)

    # the account and the token of a message

    async def _prepare(self, message: OutboxMessage) -> _Mail | None:
        """The e-mail; None if its account or its token is no longer valid."""
        async with open_unit_of_work(self._database, SERVICE, self._reactions, self._clock()) as work:
            recipient = work.repository(OutboxMessages).recipient_of(message)
            found = await self._find(work, message, recipient)
            if found is None:
                return None
            text, user = found
            token = None
            if text.path is not None:
                token = await self._token(work, message, recipient, user)
                if token is None:
                    return None
        address = deliverable_address(recipient)
        return _Mail(address, self._composer.compose(message, address, text, token))

    async def _find(self, work: UnitOfWork, message: OutboxMessage, recipient: str) -> tuple[Text, User | None] | None:
        """The text to send, and the account of the token, locked. None if the message must not be sent any more."""
        users, text = work.repository(Users), TEXTS[message.kind]
        holder = await users.of_email(recipient)
        match message.kind:
            case MessageKind.PASSWORD_WAS_RESET | MessageKind.EMAIL_WAS_CHANGED:
                return text, None
            case MessageKind.INVITATION:
                return (text, None) if holder is None else None
            case MessageKind.CHANGE_EMAIL if holder is not None:
                return (ADDRESS_IN_USE, None) if holder.id != message.user_id else None
        key = message.user_id or (holder.id if holder else None)
        user = (await users.lock_many([key])).get(key) if key else None
        if user is None or user.status is not UserStatus.ACTIVE:
            return None
        is_wanted = {
            MessageKind.VERIFY_EMAIL: user.email == recipient and not user.email_verified,
            MessageKind.RESET_PASSWORD: user.email == recipient and can_reset_password(user),
            MessageKind.CHANGE_EMAIL: True,
        }
        return (text, user) if is_wanted[message.kind] else None

    async def _token(
        self, work: UnitOfWork, message: OutboxMessage, recipient: str, user: User | None
    ) -> SentToken | None:
        """The message's token, which the first attempt stores. None if it was used, replaced or revoked, or expired."""
        tokens, purpose = work.repository(AccountTokens), TokenPurpose[message.kind.name]
        lifetime = self._lifetimes[purpose]
        if message.token_id is not None:
            stored = (await tokens.by_id([message.token_id])).get(message.token_id)
            is_valid = stored is not None and stored.expires_at > work.now
            return SentToken(self._text_of(message.token_id), lifetime) if is_valid else None
        messages = work.repository(OutboxMessages)
        current = (await messages.by_id([message.id])).get(message.id)
        if current is None or current.outcome is not MessageOutcome.PENDING:
            return None  # dropped by another transaction before the account was locked
        key = new_id()
        token = SentToken(self._text_of(key), lifetime)
        owner = user.id if user else None
        times = {"requested_at": message.created_at, "expires_at": work.now + lifetime}
        if not await tokens.replace(key, purpose, owner, recipient, token.text, **times):
            return None
        await messages.change(message, token_id=key)
        if message.kind is MessageKind.RESET_PASSWORD and owner is not None:
            work.record(PasswordResetRequested(owner, owner))
        return token

    def _text_of(self, token: UUID) -> str:
        """The token with this id: 256 bits, which cannot be computed without the key."""
        return base64.urlsafe_b64encode(hmac.digest(self._key, token.bytes, "sha256")).decode().rstrip("=")


def can_reset_password(user: User) -> bool:
    """Whether the account has a password to replace. Accounts of an external issuer must not get one."""
    return user.password_hash is not None and not is_placeholder(user.email)


def retry_delay(attempts: int) -> dt.timedelta:
    """The time until the next attempt: a delay that doubles, times a random factor, so that retries are spread."""
    delay = min(_FIRST_DELAY * 2 ** (attempts - 1), _LONGEST_DELAY)
    return dt.timedelta(seconds=delay * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
