"""A real SMTP server that keeps the messages it accepts, and the gateway that sends them to it."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTPUTF8
from threading import Thread
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from gateway.server.mail_delivery import create_outbox
from gateway.settings import Settings
from repositories.engines.database import Database
from resolvers.identity.outbox import Outbox
from resolvers.services.smtp import SMTPTransport
from tests.api.client import Gateway

SENDER = "Example <no-reply@gateway.example>"
OK = "250 OK"
_TOKEN = re.compile(r"^(?:https?://\S+#token=)?([A-Za-z0-9_-]{43})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Received:
    """A message as the server got it."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    is_encrypted: bool
    user: str | None

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        return str(self.message.get_content()).replace("\r\n", "\n")

    @property
    def token(self) -> str:
        """The only token in the text."""
        (token,) = _TOKEN.findall(self.text)
        return str(token)


@dataclass
class Mailbox:
    """The server. ``replies`` are its next replies to recipients, ``data_replies`` those to the text of messages.

    After them, it accepts everything. ``may_accept`` delays the reply to a message until it is set.
    """

    port: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    replies: deque[str] = field(default_factory=deque)
    data_replies: deque[str] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)
    connection_count: int = 0
    may_accept: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _transports: list[asyncio.Transport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.may_accept.set()

    async def start(self) -> None:
        """Listens on a port, which stays the same after a restart."""
        tls = self.options.pop("ssl", None)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(self, hostname="mail.example", **self.options), "127.0.0.1", self.port, ssl=tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuses connections. Those that are open are closed by the client."""
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def handle_EHLO(  # noqa: N802 (the library's name)
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.connection_count += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(  # noqa: N802 (the library's name and parameters)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = self.replies.popleft() if self.replies else OK
        if reply == OK:
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 (as above)
        self.arrived.set()
        await self.may_accept.wait()
        reply = self.data_replies.popleft() if self.data_replies else OK
        if reply == OK:
            assert isinstance(envelope.content, bytes)
            message = message_from_bytes(envelope.content, policy=SMTPUTF8)
            assert isinstance(message, EmailMessage)
            user = session.auth_data.login.decode() if session.auth_data else None
            is_encrypted = server.transport is not None and bool(server.transport.get_extra_info("sslcontext"))
            self.received.append(
                Received(str(envelope.mail_from), list(envelope.rcpt_tos), message, is_encrypted, user)
            )
        return reply


def check_password(password: str) -> Any:
    """The authenticator of a server with one password."""

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data.password == password.encode(), handled=False, auth_data=data)

    return authenticate


@asynccontextmanager
async def open_mailbox(**options: Any) -> AsyncIterator[Mailbox]:
    """Runs a server with options of aiosmtpd."""
    mailbox = Mailbox(options={"enable_SMTPUTF8": True, **options})
    await mailbox.start()
    try:
        yield mailbox
    finally:
        await mailbox.stop()


@contextmanager
def mail_server(**options: Any) -> Iterator[int]:
    """Runs a server in a thread, for tests of commands. Yields its port."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    server = open_mailbox(**options)
    try:
        yield asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result().port
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class MailGateway(Gateway):
    """A gateway that sends its messages to a mailbox when a test calls :meth:`deliver`."""

    def __init__(self, database: Database, mailbox: Mailbox, *, clock: Any = None, **settings: Any) -> None:
        self.url = f"smtp://127.0.0.1:{mailbox.port}"
        defaults: dict[str, Any] = {
            "smtp_url": self.url,
            "mail_from": SENDER,
            "mails_per_client": "1000 per hour",
            "mails_per_recipient": "1000 per hour",
            "mails_per_address": "1000 per hour",
        }
        self.settings = Settings(**defaults | settings)
        self.mailbox = mailbox
        super().__init__(database, settings=self.settings, **({"clock": clock} if clock else {}))
        self.outbox = self.new_outbox(**({"clock": clock} if clock else {}))

    def new_outbox(self, **options: Any) -> Outbox:
        """A sender as another process has it."""
        return create_outbox(self.settings, self.database, self.tokens, SMTPTransport(self.url), **options)

    async def deliver(self) -> list[Received]:
        """Sends what is due and returns the messages that the server has received because of it."""
        count = len(self.mailbox.received)
        await self.outbox.send_due()
        return self.mailbox.received[count:]
