"""The texts of e-mails.

They contain no text that a user has chosen, such as a name. Otherwise anyone could sign up with the address of another
person and send text to this person.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTPUTF8
from email.utils import format_datetime
from typing import NamedTuple

from repositories.tables.identity import MessageKind, OutboxMessage


class Text(NamedTuple):
    """``path`` is the path of the application's page that uses the token. Notices have none."""

    subject: str
    body: str
    path: str | None = None
    closing: str = ""


ADDRESS_IN_USE = Text(
    "Your e-mail address belongs to an account",
    "Somebody asked to use this e-mail address for their account. It already belongs to another account, so nothing "
    "was changed.",
    closing="If it was you, sign in to the account with this address, or set a new password for it.",
)
"""Sent to the owner of an account instead of CHANGE_EMAIL, so that only the owner learns that the account exists."""

TEXTS: Mapping[MessageKind, Text] = {
    MessageKind.VERIFY_EMAIL: Text(
        "Verify your e-mail address",
        "Confirm that this e-mail address belongs to your account.",
        "verify-email",
        "If you have not created an account, ignore this message.",
    ),
    MessageKind.RESET_PASSWORD: Text(
        "Set a new password",
        "Somebody asked to set a new password for your account.",
        "reset-password",
        "If it was not you, ignore this message. Your password stays the same.",
    ),
    MessageKind.CHANGE_EMAIL: Text(
        "Confirm your new e-mail address",
        "Confirm that you want to use this e-mail address for your account.",
        "confirm-email-change",
        "If you have not asked for this, ignore this message.",
    ),
    MessageKind.INVITATION: Text(
        "You are invited to create an account",
        "An administrator has invited you to create an account with this e-mail address.",
        "sign-up",
        "If you do not want an account, ignore this message.",
    ),
    MessageKind.PASSWORD_WAS_RESET: Text(
        "Your password was changed",
        "The password of your account was changed with a link that was sent to this e-mail address. All devices were "
        "signed out.",
        closing="If it was not you, somebody else can read your e-mail. Change the password of your mailbox first, "
        "then set a new password for your account.",
    ),
    MessageKind.EMAIL_WAS_CHANGED: Text(
        "The e-mail address of your account was changed",
        "Your account has another e-mail address now. No more messages about it are sent to this one.",
        closing="If it was not you, contact the administrator.",
    ),
}


class SentToken(NamedTuple):
    """A token and the time for which it is valid."""

    text: str
    lifetime: dt.timedelta


@dataclass(frozen=True, slots=True)
class MailComposer:
    """Writes messages.

    ``app_url`` is the address of the application whose pages use the tokens. Without it, messages contain the token
    itself. ``sender`` is the address in the header ``From``.
    """

    sender: Address
    app_url: str | None

    def compose(self, message: OutboxMessage, recipient: str, text: Text, token: SentToken | None) -> EmailMessage:
        """The e-mail. Its Message-ID is the same in every attempt, so that mail programs recognise a duplicate.

        The library rejects line breaks in headers.
        """
        mail = EmailMessage(policy=SMTPUTF8)
        local, _, domain = recipient.rpartition("@")
        mail["Subject"] = text.subject
        mail["From"] = self.sender
        mail["To"] = Address(username=local, domain=domain)
        mail["Date"] = format_datetime(message.created_at)
        mail["Message-ID"] = f"<{message.id}@{self.sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834
        parts = [text.body, *self._use_of(token, text), text.closing]
        mail.set_content("\n\n".join(part for part in parts if part) + "\n", cte="quoted-printable")
        return mail

    def _use_of(self, token: SentToken | None, text: Text) -> list[str]:
        """How to use the token. It is in the fragment of the link, which browsers send to no server."""
        if token is None or text.path is None:
            return []
        if self.app_url is None:
            return ["Enter this code:", token.text, f"The code is valid for {_in_words(token.lifetime)}."]
        link = f"{self.app_url.rstrip('/')}/{text.path}#token={token.text}"
        return ["Open this link:", link, f"The link is valid for {_in_words(token.lifetime)} and can be used once."]


def _in_words(lifetime: dt.timedelta) -> str:
    """The lifetime in the largest unit that expresses it as a whole number."""
    seconds = int(lifetime.total_seconds())
    unit, size = next(
        (unit, size) for unit, size in (("hour", 3600), ("minute", 60), ("second", 1)) if seconds % size == 0
    )
    count = seconds // size
    return f"{count} {unit}{'' if count == 1 else 's'}"
