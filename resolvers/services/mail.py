"""Sending e-mails: the interface of a transport, its errors, and a transport for development."""

import logging
from collections import deque
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Protocol

log = logging.getLogger(__name__)

_MAX_REMEMBERED = 50


class MailError(Exception):
    """A message was not accepted. ``reason`` contains no personal data, so it may be logged and stored."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MailRejected(MailError):
    """The message will never be accepted, for example because the mailbox does not exist."""


class MailDeferred(MailError):
    """The message may be accepted later. If ``is_outage``, other messages would not be accepted now either."""

    def __init__(self, reason: str, *, is_outage: bool) -> None:
        super().__init__(reason)
        self.is_outage = is_outage


class MailTransport(Protocol):
    """Hands messages over for delivery."""

    async def send(self, message: EmailMessage, recipient: str) -> None:
        """Returns when the message was accepted, else raises a MailError."""
        ...


class LoggedMail:
    """A transport for development: it logs messages and remembers the latest ones. They contain secrets."""

    def __init__(self) -> None:
        self._messages: deque[EmailMessage] = deque(maxlen=_MAX_REMEMBERED)

    async def send(self, message: EmailMessage, recipient: str) -> None:
        self._messages.appendleft(message)
        log.info("GATEWAY_SMTP_URL is not set, so this message is not sent.\n%s", message.as_string())

    @property
    def messages(self) -> Sequence[EmailMessage]:
        """The latest messages, the newest first."""
        return tuple(self._messages)
