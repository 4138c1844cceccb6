"""Settings of e-mails: the server that sends them, links in them, limits, and who may sign up."""

from email.headerregistry import Address
from typing import Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from gateway.settings.value_types import SMTPURL, MailSender, Rate, WebURL, parse_mail_sender


class MailSettings(BaseModel):
    smtp_url: SMTPURL | None = Field(
        None,
        description="SMTP server that sends e-mails: `smtp://user:password@host:587`, or `smtps://` for TLS from the "
        "start. With `smtp://` the gateway changes to TLS if the server offers it; a password is not sent without TLS, "
        "except to this machine. Special characters of user and password must be percent-encoded. Without this "
        "setting, a gateway on SQLite logs e-mails with their secrets, for development, and a gateway on PostgreSQL "
        "sends none.",
    )
    mail_from: MailSender | None = Field(
        None,
        validate_default=True,
        description="Sender of e-mails, such as `Example <no-reply@example.com>`. Required with `GATEWAY_SMTP_URL`.",
    )
    app_url: WebURL | None = Field(
        None,
        description="Address of the application with the pages for links in e-mails, such as "
        "`https://app.example.com` (see docs/authentication.md). Without it, e-mails contain codes to enter.",
    )
    verification_lifetime: int = Field(
        48 * 3600, ge=60, description="Seconds that a message to verify or change an e-mail address is valid."
    )
    password_reset_lifetime: int = Field(
        3600, ge=60, description="Seconds that a message to set a new password is valid."
    )
    invitation_lifetime: int = Field(7 * 24 * 3600, ge=60, description="Seconds that an invitation is valid.")
    mails_per_client: Rate = Field(
        "5 per hour", description="Maximum rate of requests for messages to one e-mail address from one IP address."
    )
    mails_per_recipient: Rate = Field(
        "20 per hour",
        description="Maximum rate of requests for messages to one e-mail address, known or unknown, from all IP "
        "addresses together.",
    )
    mails_per_address: Rate = Field(
        "20 per hour", description="Maximum rate of requests for messages from one IP address."
    )
    sign_up: Literal["open", "closed", "invite"] = Field(
        "open",
        description="Who may create an account with `signUp`: everyone, no one, or people with an invitation from an "
        "administrator (`inviteUser`). It does not apply to users of an external issuer.",
    )

    @field_validator("mail_from")
    @classmethod
    def _check_sender(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("smtp_url") is not None:
            message = "is required with GATEWAY_SMTP_URL"
            raise ValueError(message)
        return value

    def mail_sender(self) -> Address:
        return parse_mail_sender(self.mail_from or "siso-gateway <no-reply@localhost>")
