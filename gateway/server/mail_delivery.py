"""Chooses how e-mails are sent, and creates the outbox."""

import datetime as dt
from collections.abc import Callable

from gateway.auth.tokens import Tokens
from gateway.settings import Settings
from repositories.core.clock import now
from repositories.engines.database import Database
from repositories.tables.identity import TokenPurpose
from resolvers.identity.mail_texts import MailComposer
from resolvers.identity.outbox import Outbox
from resolvers.reactions import REACTIONS
from resolvers.services.mail import LoggedMail, MailTransport
from resolvers.services.smtp import SMTPTransport


def create_transport(settings: Settings, database: Database, *, fallback: bool) -> MailTransport | None:
    """The SMTP server of the settings. Without one, e-mails are logged in development, which means on SQLite.

    None if no e-mails can be sent: on PostgreSQL, and if SQLite replaces it, because a log must not contain secrets.
    """
    if settings.smtp_url is not None:
        return SMTPTransport(settings.smtp_url.get_secret_value())
    return None if database.engine.is_postgresql or fallback else LoggedMail()


def create_outbox(
    settings: Settings,
    database: Database,
    tokens: Tokens,
    transport: MailTransport,
    clock: Callable[[], dt.datetime] = now,
) -> Outbox:
    """The outbox. All processes of a deployment compute the same tokens from the secret that signs bearer tokens."""
    lifetimes = {
        TokenPurpose.VERIFY_EMAIL: settings.verification_lifetime,
        TokenPurpose.CHANGE_EMAIL: settings.verification_lifetime,
        TokenPurpose.RESET_PASSWORD: settings.password_reset_lifetime,
        TokenPurpose.INVITATION: settings.invitation_lifetime,
    }
    return Outbox(
        database,
        REACTIONS,
        transport,
        MailComposer(settings.mail_sender(), settings.app_url),
        key=tokens.derive_key("account tokens"),
        lifetimes={purpose: dt.timedelta(seconds=seconds) for purpose, seconds in lifetimes.items()},
        clock=clock,
    )
