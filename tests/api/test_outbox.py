"""Sending messages over real SMTP: outages, refusals, retries, several senders, a killed process, TLS and addresses."""

import asyncio
import datetime as dt
import logging
import signal
import sys
from email.headerregistry import Address
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings, SettingsError, load_settings
from repositories.account_messages import OutboxMessages
from repositories.core.clock import now
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.tables.identity import MessageKind, MessageOutcome, OutboxMessage, User
from resolvers.identity import outbox as outbox_module
from resolvers.identity.mail_texts import TEXTS, MailComposer, SentToken
from resolvers.identity.outbox import LEASE, MAX_ATTEMPTS, retry_delay
from tests.api.client import Gateway, connect_database, serve
from tests.api.mailbox import Mailbox, MailGateway, check_password, open_mailbox
from tests.api.people import make_member
from tests.certificates import create_certificate, server_context
from tests.databases import ON_SQLITE
from tests.repositories.support import open_snapshot
from tests.waiting import until

MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that signs itself, and its key."""
    return create_certificate(tmp_path)


class Clock:
    """The time of the sender, which a test advances."""

    def __init__(self) -> None:
        self.at = now()

    def __call__(self) -> dt.datetime:
        return self.at


async def store_message(database: Database, recipient: str = "ada@example.com", **values: Any) -> OutboxMessage:
    """A pending notice, which needs no account."""
    given = {"kind": MessageKind.EMAIL_WAS_CHANGED, "recipient": recipient, "next_attempt_at": now() - MINUTE}
    async with database.transaction(SERVICE) as write:
        return await OutboxMessages(write).add(**given | values)


async def stored_messages(database: Database) -> list[OutboxMessage]:
    """All messages, in the order in which they were stored."""
    async with open_snapshot(database) as snapshot:
        return sorted(await OutboxMessages(snapshot).find(limit=1000), key=lambda message: message.created_at)


async def stored_message(database: Database) -> OutboxMessage:
    (message,) = await stored_messages(database)
    return message


async def test_a_temporary_refusal_is_tried_again_later(database: Database, mailbox: Mailbox) -> None:
    """Until then nothing is sent. The message is the same in every attempt."""
    clock = Clock()
    gateway = MailGateway(database, mailbox, clock=clock)
    made = await store_message(database)
    mailbox.replies.append("451 mailbox of ada@example.com is busy")
    mailbox.data_replies.append("452 disk full")
    for attempt, error in ((1, "SMTPRecipientRefused 451"), (2, "SMTPDataError 452")):
        assert await gateway.deliver() == []
        message = await stored_message(database)
        assert (message.outcome, message.attempts, message.error) == (MessageOutcome.PENDING, attempt, error)
        delay = message.next_attempt_at - clock.at
        assert dt.timedelta(seconds=15 * 2 ** (attempt - 1)) <= delay <= dt.timedelta(seconds=45 * 2 ** (attempt - 1))
        clock.at = message.next_attempt_at - dt.timedelta(microseconds=1)
        assert await gateway.deliver() == []
        clock.at = message.next_attempt_at
    (received,) = await gateway.deliver()
    assert received.message["Message-ID"] == f"<{made.id}@gateway.example>"
    message = await stored_message(database)
    assert (message.outcome, message.attempts, message.recipient, message.error) == ("sent", 3, None, None)
    assert mailbox.connection_count == 3


@pytest.mark.parametrize("step", ["recipient", "text"])
async def test_a_permanent_refusal_is_not_tried_again(database: Database, mailbox: Mailbox, step: str) -> None:
    """Only this message fails. The recipient is deleted, and the error contains no address."""
    clock = Clock()
    gateway = MailGateway(database, mailbox, clock=clock)
    await store_message(database)
    await store_message(database, "bob@example.com", created_at=now() + MINUTE, next_attempt_at=clock.at)
    (mailbox.replies if step == "recipient" else mailbox.data_replies).append("550 <ada@example.com> is unknown")
    (received,) = await gateway.deliver()
    assert received.recipients == ["bob@example.com"]
    failed, sent = await stored_messages(database)
    kind = "SMTPRecipientRefused" if step == "recipient" else "SMTPDataError"
    assert (failed.outcome, failed.attempts, failed.recipient, failed.error) == ("failed", 1, None, f"{kind} 550")
    assert (failed.finished_at, sent.outcome) == (clock.at, "sent")
    clock.at += dt.timedelta(days=1)
    assert await gateway.deliver() == []


async def test_an_outage_of_the_server(database: Database, mailbox: Mailbox) -> None:
    """A sender makes one attempt, not one per message. All messages are sent when the server is back."""
    clock = Clock()
    gateway = MailGateway(database, mailbox, clock=clock)
    for index in range(5):
        await store_message(database, f"{index}@example.com")
    await mailbox.stop()
    assert await gateway.deliver() == []
    messages = await stored_messages(database)
    assert sorted(message.attempts for message in messages) == [0, 0, 0, 0, 1]
    assert {message.error for message in messages} == {None, "SMTPConnectError"}
    await mailbox.start()
    clock.at += MINUTE
    received = await gateway.deliver()
    assert sorted(mail.recipients[0] for mail in received) == [f"{index}@example.com" for index in range(5)]


async def test_a_message_is_given_up_after_the_last_attempt(database: Database, mailbox: Mailbox) -> None:
    clock = Clock()
    gateway = MailGateway(database, mailbox, clock=clock)
    await store_message(database)
    mailbox.replies.extend(["451 later"] * MAX_ATTEMPTS)
    begin = clock.at
    for _ in range(MAX_ATTEMPTS - 1):
        await gateway.deliver()
        clock.at = (await stored_message(database)).next_attempt_at
    assert dt.timedelta(hours=3) < clock.at - begin < dt.timedelta(hours=12)
    await gateway.deliver()
    message = await stored_message(database)
    assert (message.outcome, message.attempts, message.recipient) == ("failed", MAX_ATTEMPTS, None)
    assert mailbox.received == []


def test_delays_double_up_to_an_hour_and_vary() -> None:
    for attempt in range(1, 30):
        expected = min(30 * 2 ** (attempt - 1), 3600)
        delays = {retry_delay(attempt).total_seconds() for _ in range(20)}
        assert len(delays) > 1
        assert all(expected * 0.5 <= delay <= expected * 1.5 for delay in delays)


async def test_two_senders_at_once_send_each_message_once(cloned_options: DatabaseOptions, mailbox: Mailbox) -> None:
    async with connect_database(cloned_options) as database:
        gateway = MailGateway(database, mailbox)
        for index in range(20):
            await store_message(database, f"{index}@example.com")
        counts = await asyncio.gather(*(gateway.new_outbox().send_due() for _ in range(4)))
        assert sum(counts) == 20
        assert sorted(mail.recipients[0] for mail in mailbox.received) == sorted(
            f"{index}@example.com" for index in range(20)
        )
        assert {message.attempts for message in await stored_messages(database)} == {1}


async def test_a_message_that_is_being_sent_is_not_taken(database: Database, mailbox: Mailbox) -> None:
    """Not before the end of its lease. The attempt that lost its lease does not overwrite the outcome of the other."""
    clock = Clock()
    gateway = MailGateway(database, mailbox, clock=clock)
    await store_message(database)
    mailbox.may_accept.clear()
    slow = asyncio.ensure_future(gateway.outbox.send_due())
    await mailbox.arrived.wait()
    assert await gateway.new_outbox(clock=clock).send_due() == 0
    clock.at += LEASE
    mailbox.arrived.clear()
    second = asyncio.ensure_future(gateway.new_outbox(clock=clock).send_due())
    await mailbox.arrived.wait()
    mailbox.data_replies.extend(["550 no", "250 OK"])
    mailbox.may_accept.set()
    assert (await slow, await second) == (1, 1)
    message = await stored_message(database)
    assert message.attempts == 2
    assert message.outcome in {MessageOutcome.SENT, MessageOutcome.FAILED}
    assert len(mailbox.received) == 1


_SENDER = """
import asyncio, sys
from pathlib import Path
from gateway.settings import Settings
from repositories.engines.database import DatabaseOptions
from repositories.engines.factory import open_database
from gateway.auth.tokens import Tokens
from gateway.server.mail_delivery import create_outbox, create_transport
from tests.api.client import AUDIENCE, SECRET
from tests.databases import KEYS

async def main(path, port):
    database = open_database(DatabaseOptions(sqlite_path=Path(path), **KEYS))
    await database.connect()
    settings = Settings(smtp_url=f"smtp://127.0.0.1:{port}", mail_from="no-reply@gateway.example")
    transport = create_transport(settings, database, fallback=False)
    await create_outbox(settings, database, Tokens(SECRET, AUDIENCE), transport).send_due()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_process_that_is_killed_after_sending(sqlite_only: DatabaseOptions) -> None:
    """The message is sent a second time, with the same Message-ID and the same token. That token works once."""
    async with connect_database(sqlite_only) as database, open_mailbox() as mailbox:
        clock = Clock()
        gateway = MailGateway(database, mailbox, clock=clock)
        await make_member(database)
        await gateway.client().do("requestPasswordReset", "email", email="ada@example.com")
        mailbox.may_accept.clear()
        path, root = str(sqlite_only.sqlite_path), Path(__file__).parents[2]
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", _SENDER, path, str(mailbox.port), cwd=root)
        await mailbox.arrived.wait()
        mailbox.may_accept.set()
        process.send_signal(signal.SIGSTOP)  # it must not record that the message was accepted
        await until(lambda: len(mailbox.received) == 1)
        process.kill()
        await process.wait()
        assert (await stored_message(database)).outcome is MessageOutcome.PENDING
        assert await gateway.deliver() == []
        clock.at += LEASE + MINUTE
        (again,) = await gateway.deliver()
        first = mailbox.received[0]
        assert (again.message["Message-ID"], again.token) == (first.message["Message-ID"], first.token)
        given = {"token": first.token, "newPassword": "a completely new password"}
        results = [await gateway.client().do("resetPassword", "email", **given) for _ in range(2)]
        assert [len(result["userErrors"]) for result in results] == [0, 1]
        await gateway.http.aclose()


async def test_a_token_that_was_used_is_not_sent_again(database: Database, mailbox: Mailbox) -> None:
    """The first attempt arrived, but its outcome was not recorded. Meanwhile the token was used."""
    clock = Clock()
    gateway = MailGateway(database, mailbox, clock=clock)
    await make_member(database)
    await gateway.client().do("requestPasswordReset", "email", email="ada@example.com")
    message = await stored_message(database)
    (received,) = await gateway.deliver()
    pending: dict[str, Any] = {"outcome": MessageOutcome.PENDING, "recipient": "ada@example.com", "finished_at": None}
    async with database.transaction(SERVICE) as write:
        await OutboxMessages(write).change(message, **pending, next_attempt_at=clock.at)
    given = {"token": received.token, "newPassword": "a completely new password"}
    assert (await gateway.client().do("resetPassword", "email", **given))["userErrors"] == []
    (notice,) = await gateway.deliver()
    assert notice.subject == "Your password was changed"
    assert (await gateway.client().do("resetPassword", "email", **given))["userErrors"] != []
    assert {each.outcome.value for each in await stored_messages(database)} == {"dropped", "sent"}
    await gateway.http.aclose()


async def test_attempts_without_an_outcome_count(database: Database, mailbox: Mailbox) -> None:
    """A message that ends its process at each attempt is given up, too, and does not hold up others."""
    gateway = MailGateway(database, mailbox)
    await store_message(database, attempts=MAX_ATTEMPTS)
    await store_message(database, "bob@example.com", created_at=now() + MINUTE)
    assert [mail.recipients for mail in await gateway.deliver()] == [["bob@example.com"]]
    failed = (await stored_messages(database))[0]
    assert (failed.outcome, failed.error) == ("failed", "interrupted")


async def test_a_recipient_that_cannot_be_decrypted(database: Database, mailbox: Mailbox) -> None:
    """Its key is lost. The message fails, and others are sent."""
    gateway = MailGateway(database, mailbox)
    message = await store_message(database)
    await store_message(database, "bob@example.com", created_at=now() + MINUTE)
    other = database.cipher.encrypt(OutboxMessage.recipient, new_id(), "eve@example.com")
    async with database.transaction(SERVICE) as write:
        repository = OutboxMessages(write)
        repository._encrypt = lambda _key, values: dict(values)  # type: ignore[method-assign, assignment]
        await repository.change(message, recipient=other)
    assert [mail.recipients for mail in await gateway.deliver()] == [["bob@example.com"]]
    failed = (await stored_messages(database))[0]
    assert (failed.outcome, failed.error) == ("failed", "DecryptionError")


async def test_the_log_contains_no_addresses_and_no_tokens(
    database: Database, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gateway = MailGateway(database, mailbox)
    await make_member(database)
    await gateway.client().do("requestPasswordReset", "email", email="ada@example.com")
    (received,) = await gateway.deliver()
    await store_message(database)
    mailbox.replies.append("550 <ada@example.com> is unknown")
    await gateway.deliver()
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name != "mail.log")  # the server's
    assert logged.count("was sent.") == 1
    assert logged.count("was not accepted: SMTPRecipientRefused 550. It is given up.") == 1
    assert "ada@example.com" not in logged
    assert received.token not in logged
    await gateway.http.aclose()


# the task of the process


async def test_a_message_is_sent_right_after_the_commit(
    database: Database, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit wakes the task: it does not wait for the poll interval. A rolled back unit of work sends nothing."""
    monkeypatch.setattr(outbox_module, "POLL_INTERVAL", 3600.0)
    user = await make_member(database)
    gateway = MailGateway(database, mailbox)
    async with serve(gateway.app, lifespan="on"):
        await gateway.client(user).do("requestEmailVerification", "email", email="ada@example.com")
        await until(lambda: len(mailbox.received) == 1)
    assert (await stored_message(database)).outcome is MessageOutcome.SENT
    await gateway.http.aclose()


async def test_the_task_finds_messages_of_other_processes_and_survives_errors(
    database: Database, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox_module, "POLL_INTERVAL", 0.01)
    gateway = MailGateway(database, mailbox)
    take, failures = OutboxMessages.take, [RuntimeError("a bug")]

    async def fail_once(self: OutboxMessages, *arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await take(self, *arguments)

    monkeypatch.setattr(OutboxMessages, "take", fail_once)
    async with serve(gateway.app, lifespan="on"):
        await store_message(database)
        await until(lambda: len(mailbox.received) == 1)
    assert "E-mails cannot be sent right now." in caplog.text
    await gateway.http.aclose()


async def test_the_process_ends_although_the_mail_server_does_not_answer(database: Database, mailbox: Mailbox) -> None:
    """The attempt is cancelled after the shutdown timeout, and made again after its lease."""
    mailbox.may_accept.clear()
    gateway = MailGateway(database, mailbox, shutdown_timeout=0)
    await store_message(database)
    async with serve(gateway.app, lifespan="on"):
        await mailbox.arrived.wait()
    assert (await stored_message(database)).outcome is MessageOutcome.PENDING
    mailbox.may_accept.set()
    await gateway.http.aclose()


# the connection to the server


@ON_SQLITE
async def test_starttls_and_sign_in(database: Database, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate is verified. User and password are percent-decoded."""
    options = {"tls_context": server_context(certificate), "authenticator": check_password("p@ss/word")}
    async with open_mailbox(**options) as mailbox:
        url = f"smtp://us%40er:p%40ss%2Fword@localhost:{mailbox.port}"
        gateway = MailGateway(database, mailbox, smtp_url=url)
        gateway.url = url
        sender = gateway.new_outbox()
        await store_message(database)
        assert await sender.send_due() == 0
        assert (await stored_message(database)).error in {"SMTPServerDisconnected", "SSLCertVerificationError"}
        assert mailbox.received == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        await store_message(database, "bob@example.com")
        await sender.send_due()
        (received,) = mailbox.received
        assert (received.is_encrypted, received.user) == (True, "us@er")


@ON_SQLITE
async def test_tls_from_the_start(database: Database, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with open_mailbox(ssl=server_context(certificate)) as mailbox:
        gateway = MailGateway(database, mailbox)
        gateway.url = f"smtps://localhost:{mailbox.port}"
        await store_message(database)
        await gateway.new_outbox().send_due()
        assert [mail.is_encrypted for mail in mailbox.received] == [True]


@ON_SQLITE
async def test_a_password_is_not_sent_without_tls(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Except to this machine. The name of another machine is resolved to this one for the test."""
    options = {"authenticator": check_password("geheim"), "auth_require_tls": False}
    async with open_mailbox(**options) as mailbox:
        gateway = MailGateway(database, mailbox)
        loop, lookups = asyncio.get_running_loop(), []
        resolve = loop.getaddrinfo

        async def resolve_here(host: Any, *arguments: Any, **named: Any) -> Any:
            lookups.append(host)
            return await resolve("127.0.0.1", *arguments, **named)

        monkeypatch.setattr(loop, "getaddrinfo", resolve_here)
        for host, count in (("mail.example", 0), ("localhost", 1)):
            await store_message(database)
            gateway.url = f"smtp://user:geheim@{host}:{mailbox.port}"
            await gateway.new_outbox().send_due()
            assert len(mailbox.received) == count
        assert "mail.example" in lookups
        assert mailbox.received[0].user == "user"


@ON_SQLITE
async def test_a_wrong_password_of_the_server_is_an_outage(database: Database) -> None:
    """The operator can correct it, so the messages are not given up although the reply is a permanent one."""
    async with open_mailbox(authenticator=check_password("right"), auth_require_tls=False) as mailbox:
        gateway = MailGateway(database, mailbox)
        gateway.url = f"smtp://user:geheim@127.0.0.1:{mailbox.port}"
        for _ in range(2):
            await store_message(database)
        await gateway.new_outbox().send_due()
        messages = await stored_messages(database)
        assert sorted(message.attempts for message in messages) == [0, 1]
        assert {message.outcome for message in messages} == {MessageOutcome.PENDING}
        assert {message.error for message in messages} == {None, "SMTPAuthenticationError 535"}


# addresses and texts


@ON_SQLITE
@pytest.mark.parametrize(
    ("email", "delivered"),
    [
        ("ada@example.com", "ada@example.com"),
        ("ada+tag@example.com", "ada+tag@example.com"),
        ("o'hara@example.com", "o'hara@example.com"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("grüße@example.com", "grüße@example.com"),
    ],
)
async def test_addresses_in_every_script(database: Database, mailbox: Mailbox, email: str, delivered: str) -> None:
    gateway = MailGateway(database, mailbox)
    await store_message(database, email)
    (received,) = await gateway.deliver()
    assert received.recipients == [delivered]
    (address,) = received.message["To"].addresses
    assert address.addr_spec.encode("ascii", "surrogateescape").decode() == delivered


@ON_SQLITE
async def test_an_address_that_the_server_does_not_support_is_permanent(database: Database) -> None:
    async with open_mailbox(enable_SMTPUTF8=False) as mailbox:
        gateway = MailGateway(database, mailbox)
        await store_message(database, "grüße@example.com")
        assert await gateway.deliver() == []
        message = await stored_message(database)
        assert (message.outcome, message.error) == ("failed", "SMTPNotSupported")


_INJECTIONS = (
    "ada@example.com\r\nBcc: eve@example.com",
    "ada@example.com, eve@example.com",
    "ada@example.com> SIZE=1",
    "a\nb@example.com",
    '"a@example.com, b"@example.com',
)


@ON_SQLITE
@pytest.mark.parametrize("text", _INJECTIONS)
async def test_no_header_and_no_recipient_can_be_added(database: Database, mailbox: Mailbox, text: str) -> None:
    """Texts that are no address are rejected by the inputs. If one is stored all the same, nothing is sent."""
    gateway = MailGateway(database, mailbox)
    await store_message(database, text)
    assert await gateway.deliver() == []
    assert mailbox.connection_count == 0
    message = await stored_message(database)
    assert (message.outcome, message.error) == ("failed", "EmailSyntaxError")


def test_links_have_the_token_in_the_fragment() -> None:
    composer = MailComposer(Address("Example", "no-reply", "example.com"), "https://app.example.com/base/")
    message = OutboxMessage._make((new_id(), *[None] * (len(OutboxMessage.__fields__) - 1))).replace(created_at=now())
    token = SentToken("T" * 43, dt.timedelta(minutes=90))
    for kind, path in (
        (MessageKind.VERIFY_EMAIL, "verify-email"),
        (MessageKind.RESET_PASSWORD, "reset-password"),
        (MessageKind.CHANGE_EMAIL, "confirm-email-change"),
        (MessageKind.INVITATION, "sign-up"),
    ):
        text = composer.compose(message, "ada@example.com", TEXTS[kind], token).get_content()
        assert f"\nhttps://app.example.com/base/{path}#token={'T' * 43}\n" in text
        assert "The link is valid for 90 minutes and can be used once." in text
    assert set(TEXTS) == set(MessageKind)


# development


@ON_SQLITE
async def test_without_a_server_messages_are_logged_on_sqlite(
    database: Database, caplog: pytest.LogCaptureFixture, ada: User
) -> None:
    caplog.set_level(logging.INFO)
    gateway = Gateway(database)
    async with serve(gateway.app, lifespan="on"):
        await gateway.client(ada).do("requestEmailVerification", "email", email="ada@example.com")
        await until(lambda: "verify" in caplog.text)
    assert "GATEWAY_SMTP_URL is not set, so this message is not sent." in caplog.text
    assert "To: ada@example.com" in caplog.text
    assert (await stored_message(database)).outcome is MessageOutcome.SENT
    await gateway.http.aclose()


# settings


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"GATEWAY_SMTP_URL": "http://mail.example"}, "GATEWAY_SMTP_URL"),
        ({"GATEWAY_SMTP_URL": "smtp://"}, "GATEWAY_SMTP_URL"),
        ({"GATEWAY_SMTP_URL": "smtp://mail.example:many"}, "GATEWAY_SMTP_URL"),
        ({"GATEWAY_SMTP_URL": "smtp://user:geheim@mail.example/?tls=no"}, "GATEWAY_SMTP_URL"),
        ({"GATEWAY_SMTP_URL": "smtp://user:geheim@mail.example"}, "GATEWAY_MAIL_FROM"),
        ({"GATEWAY_MAIL_FROM": "Example"}, "GATEWAY_MAIL_FROM"),
        ({"GATEWAY_MAIL_FROM": "a@example.com, b@example.com"}, "GATEWAY_MAIL_FROM"),
        ({"GATEWAY_MAIL_FROM": "Example\r\nBcc: b@example.com <a@example.com>"}, "GATEWAY_MAIL_FROM"),
        ({"GATEWAY_MAIL_FROM": "Bücher <a@example.com>"}, "GATEWAY_MAIL_FROM"),
        ({"GATEWAY_APP_URL": "app.example.com"}, "GATEWAY_APP_URL"),
        ({"GATEWAY_APP_URL": "javascript:alert(1)"}, "GATEWAY_APP_URL"),
        ({"GATEWAY_APP_URL": "https://app.example.com/#x"}, "GATEWAY_APP_URL"),
        ({"GATEWAY_SIGN_UP": "maybe"}, "GATEWAY_SIGN_UP"),
    ],
)
def test_invalid_settings_are_rejected(monkeypatch: pytest.MonkeyPatch, values: dict[str, str], name: str) -> None:
    for setting, value in values.items():
        monkeypatch.setenv(setting, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value).startswith(f"{name}: ")
    assert "geheim" not in str(raised.value)


def test_the_sender_has_a_name_and_an_address() -> None:
    settings = Settings(mail_from="Example, Inc. <no-reply@example.com>".replace(",", ""))
    assert settings.mail_sender() == Address("Example Inc.", "no-reply", "example.com")
    assert Settings(mail_from="no-reply@example.com").mail_sender().addr_spec == "no-reply@example.com"
