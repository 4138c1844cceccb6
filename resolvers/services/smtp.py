"""Sends e-mails through an SMTP server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from email_validator import EmailNotValidError, validate_email

from resolvers.services.mail import MailDeferred, MailRejected

if TYPE_CHECKING:
    import aiosmtplib

_TIMEOUT = 20.0
"""Seconds for each step of the conversation with the server."""
_CONNECT_TIMEOUT = 60.0
"""Seconds until the server is ready for a message, with TLS and the sign-in."""
_SEND_TIMEOUT = 90.0
"""Seconds until the server has accepted a message."""
_PERMANENT = 500
"""Replies from this code on are permanent (RFC 5321, section 4.2.1)."""


class SMTPTransport:
    """Sends each message over a connection of its own.

    ``smtps://`` uses TLS from the start. ``smtp://`` changes to TLS (STARTTLS) if the server offers it. With a
    password, it does not send anything without TLS, except to this machine. Certificates are verified.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "localhost"
        self._port = parts.port
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._uses_tls = parts.scheme == "smtps"
        needs_tls = self._password is not None and not _is_local(self._host)
        self._start_tls = False if self._uses_tls else True if needs_tls else None

    async def send(self, message: EmailMessage, recipient: str) -> None:
        async with self.connect() as client:
            await _send(client, message, recipient)

    async def check(self) -> None:
        """Connects and signs in to the server; MailDeferred if that is not possible."""
        async with self.connect():
            pass

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["aiosmtplib.SMTP"]:
        """A connection that is ready for messages."""
        from aiosmtplib import SMTP, SMTPException, SMTPResponseException  # noqa: PLC0415 (loaded only where it is used)

        client = SMTP(
            hostname=self._host,
            port=self._port,
            username=self._user,
            password=self._password,
            local_hostname=socket.gethostname(),
            timeout=_TIMEOUT,
            use_tls=self._uses_tls,
            start_tls=self._start_tls,
        )
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await client.connect()
        except SMTPResponseException as error:
            raise MailDeferred(f"{type(error).__name__} {error.code}", is_outage=True) from None
        except (SMTPException, OSError) as error:
            raise MailDeferred(type(error).__name__, is_outage=True) from error
        try:
            yield client
            with suppress(SMTPException, OSError):  # the message was accepted, whatever happens now
                await client.quit()
        finally:
            client.close()


async def _send(client: "aiosmtplib.SMTP", message: EmailMessage, recipient: str) -> None:
    from aiosmtplib import (  # noqa: PLC0415 (loaded only where it is used)
        SMTPException,
        SMTPNotSupported,
        SMTPRecipientsRefused,
        SMTPResponseException,
    )

    try:
        async with asyncio.timeout(_SEND_TIMEOUT):
            await client.send_message(message, recipients=[recipient])
    except SMTPRecipientsRefused as refused:
        raise _error_of_reply(refused.recipients[0]) from None
    except SMTPResponseException as error:
        raise _error_of_reply(error) from None
    except (SMTPNotSupported, ValueError) as error:
        raise MailRejected(type(error).__name__) from None
    except (SMTPException, OSError) as error:
        raise MailDeferred(type(error).__name__, is_outage=True) from None


def _error_of_reply(error: "aiosmtplib.SMTPResponseException") -> MailRejected | MailDeferred:
    """The text of the reply is left out, because servers repeat the address in it."""
    reason = f"{type(error).__name__} {error.code}"
    return MailRejected(reason) if error.code >= _PERMANENT else MailDeferred(reason, is_outage=False)


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def deliverable_address(email: str) -> str:
    """The address with an ASCII domain, which servers without SMTPUTF8 understand. MailRejected if it is no address."""
    try:
        parts = validate_email(email, check_deliverability=False)
    except EmailNotValidError as error:
        raise MailRejected(type(error).__name__) from None
    return f"{parts.local_part}@{parts.ascii_domain}"
