"""Verification of e-mail addresses, password reset, change of the address: with messages over real SMTP."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from repositories.account_messages import AccountTokens, OutboxMessages
from repositories.core.clock import now
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.identity import Users, placeholder_email
from repositories.tables.identity import AccountToken, MessageOutcome, OutboxMessage, User, UserStatus
from resolvers.identity.commands import viewer_with_password
from tests.api.client import Client, connect_database, user_error
from tests.api.mailbox import Mailbox, MailGateway, Received
from tests.api.people import PASSWORD, all_sessions, make_member, open_session, sign_in
from tests.api.stored_rows import event_summaries
from tests.factories import make_user
from tests.repositories.support import open_snapshot

NEW_PASSWORD = "a completely new password"  # noqa: S105 (used only in tests)
INVALID = user_error(
    "VALIDATION_ERROR", "This link or code is not valid: it was used, replaced by a newer one, or has expired.", "token"
)
HOUR = dt.timedelta(hours=1)


class _Clock:
    """The time of the gateway, which a test advances."""

    def __init__(self) -> None:
        self.at = now()

    def __call__(self) -> dt.datetime:
        return self.at


@pytest.fixture
def clock() -> _Clock:
    """The time of requests, messages and tokens."""
    return _Clock()


@pytest_asyncio.fixture
async def mailing(
    database: Database, mailbox: Mailbox, clock: _Clock, cheap_passwords: None
) -> AsyncIterator[MailGateway]:
    """A gateway that sends messages to the mailbox."""
    gateway = MailGateway(database, mailbox, clock=clock)
    yield gateway
    await gateway.http.aclose()
    assert database.pool_state().used == 0


async def stored(database: Database, user: User) -> User:
    async with open_snapshot(database) as snapshot:
        return await Users(snapshot).get(user.id)


async def all_tokens(database: Database) -> list[AccountToken]:
    async with open_snapshot(database) as snapshot:
        return await AccountTokens(snapshot).find(limit=100)


async def all_messages(database: Database) -> list[OutboxMessage]:
    async with open_snapshot(database) as snapshot:
        return await OutboxMessages(snapshot).find(limit=100)


async def rows(database: Database) -> Any:
    """Everything that a rejected mutation must not change."""
    async with open_snapshot(database) as snapshot:
        users = await Users(snapshot).find(limit=100)
    return users, await all_tokens(database), await all_messages(database), await all_sessions(database)


async def reset(gateway: MailGateway, token: str, password: str = NEW_PASSWORD) -> Any:
    return await gateway.client().do("resetPassword", "email", token=token, newPassword=password)


async def request_reset(gateway: MailGateway, email: str = "ada@example.com") -> Any:
    return await gateway.client().do("requestPasswordReset", "email", email=email)


async def one_mail(gateway: MailGateway, recipient: str = "ada@example.com") -> Received:
    """Sends what is due, which must be one message, to this address."""
    (received,) = await gateway.deliver()
    assert received.recipients == [recipient]
    return received


# verification


async def test_sign_up_sends_a_message_that_verifies_the_address(mailing: MailGateway) -> None:
    person = {"email": "Ada@Example.com", "password": PASSWORD, "firstName": "Http://evil.example", "lastName": "Byron"}
    payload = await mailing.client().do("signUp", "accessToken viewer { emailVerified }", **person)
    assert payload["viewer"] == {"emailVerified": False}
    mail = await one_mail(mailing)
    assert mail.subject == "Verify your e-mail address"
    assert mail.sender == "no-reply@gateway.example"
    assert mail.message["From"] == "Example <no-reply@gateway.example>"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert "evil" not in mail.text
    assert "The code is valid for 48 hours." in mail.text
    verified = await mailing.client().do("verifyEmail", "email", token=mail.token)
    assert verified == {"email": "ada@example.com", "userErrors": []}
    client = mailing.client_with_token(payload["accessToken"])
    assert await client.data("{ viewer { emailVerified } }") == {"viewer": {"emailVerified": True}}
    assert (await mailing.client().do("verifyEmail", "email", token=mail.token))["userErrors"] == [INVALID]
    assert [event[0] for event in await event_summaries(mailing.database)] == [
        "UserSignedUp",
        "SessionStarted",
        "UserSignedIn",
        "EmailVerified",
    ]
    assert await all_tokens(mailing.database) == []


async def test_a_newer_message_replaces_an_older_one(mailing: MailGateway) -> None:
    """Only the last token is valid, also if the messages are sent in another order."""
    user = await make_member(mailing.database)
    client = mailing.client(user)
    for _ in range(2):
        await client.do("requestEmailVerification", "email", email="ADA@example.com")
    sent = await mailing.deliver()
    assert len(sent) == 2
    first, second = sorted(sent, key=lambda mail: mail.message["Date"].datetime)
    stored_tokens = await all_tokens(mailing.database)
    assert len(stored_tokens) == 1
    results = [await mailing.client().do("verifyEmail", "email", token=mail.token) for mail in (first, second)]
    assert sorted(len(result["userErrors"]) for result in results) == [0, 1]
    assert (await stored(mailing.database, user)).email_verified is True


async def test_an_older_request_that_is_sent_later_is_dropped(mailing: MailGateway, clock: _Clock) -> None:
    """The server defers the first message. Its second attempt comes after a newer message, and sends nothing."""
    user = await make_member(mailing.database)
    mailing.mailbox.replies.append("451 try later")
    await request_reset(mailing)
    assert await mailing.deliver() == []
    (first,) = await all_messages(mailing.database)
    assert (first.outcome, first.attempts) == ("pending", 1)
    clock.at += dt.timedelta(seconds=1)
    await request_reset(mailing)
    newer = await one_mail(mailing)
    clock.at += HOUR / 2
    assert await mailing.deliver() == []
    assert {message.outcome.value for message in await all_messages(mailing.database)} == {"sent", "dropped"}
    assert (await reset(mailing, newer.token))["userErrors"] == []
    assert (await stored(mailing.database, user)).email_verified is True


async def test_verification_of_another_address_is_rejected(mailing: MailGateway) -> None:
    """The viewer's own address only; not once it is verified; not a placeholder; not for anonymous callers."""
    user = await make_member(mailing.database)
    verified = await make_member(mailing.database, "bob@example.com", email_verified=True)
    external = await make_user(mailing.database, email="x@example.com")
    async with mailing.database.transaction(SERVICE) as write:
        await Users(write).release_email(external, now())
    before = await rows(mailing.database)
    other = user_error("VALIDATION_ERROR", "This is not the e-mail address of your account.", "email")
    for viewer, email, error in (
        (user, "bob@example.com", other),
        (user, "nobody@example.com", other),
        (external, placeholder_email(external.id), other),
        (verified, "bob@example.com", user_error("CONFLICT", "Your e-mail address is verified already.", "email")),
    ):
        payload = await mailing.client(viewer).do("requestEmailVerification", "email", email=email)
        assert payload == {"email": None, "userErrors": [error]}
    document = "mutation($i: RequestEmailVerificationInput!) { requestEmailVerification(input: $i) { email } }"
    assert (await mailing.client().ask(document, i={"email": "ada@example.com"})).codes == ["UNAUTHENTICATED"]
    assert await rows(mailing.database) == before
    assert await event_summaries(mailing.database) == []


# password reset


async def test_password_reset(mailing: MailGateway) -> None:
    """All sessions end, the address is verified, and a message tells the owner."""
    user = await make_member(mailing.database)
    await open_session(mailing)
    assert await request_reset(mailing, " ADA@example.com") == {"email": "ada@example.com", "userErrors": []}
    mail = await one_mail(mailing)
    assert mail.subject == "Set a new password"
    assert "The code is valid for 1 hour." in mail.text
    (message,) = [message for message in await all_messages(mailing.database) if message.kind == "reset_password"]
    assert (message.outcome, message.recipient, message.error) == ("sent", None, None)
    assert mail.message["Message-ID"] == f"<{message.id}@gateway.example>"
    (token,) = await all_tokens(mailing.database)
    assert mail.token not in repr([tuple(token), tuple(message)])
    assert await reset(mailing, mail.token) == {"email": "ada@example.com", "userErrors": []}
    assert all(session.revoked_at is not None for session in await all_sessions(mailing.database))
    assert (await sign_in(mailing.client()))["accessToken"] is None
    assert (await sign_in(mailing.client(), password=NEW_PASSWORD))["accessToken"] is not None
    assert (await stored(mailing.database, user)).email_verified is True
    notice = await one_mail(mailing)
    assert notice.subject == "Your password was changed"
    assert (await reset(mailing, mail.token))["userErrors"] == [INVALID]
    assert [event[0] for event in await event_summaries(mailing.database)] == [
        "SessionStarted",
        "UserSignedIn",
        "PasswordResetRequested",
        "PasswordReset",
        "SessionRevoked",
        "SessionStarted",
        "UserSignedIn",
    ]
    assert "ada@" not in str(await event_summaries(mailing.database)).lower()


async def test_the_response_does_not_tell_whether_an_account_exists(
    mailing: MailGateway, statements: list[str]
) -> None:
    """Response, statements and stored rows are the same for every address. Only an active local account gets mail."""
    await make_member(mailing.database)
    await make_member(mailing.database, "suspended@example.com", status=UserStatus.SUSPENDED)
    await make_member(mailing.database, "closed@example.com", status=UserStatus.DEACTIVATED)
    await make_member(mailing.database, "deleted@example.com", deleted_at=now())
    await make_user(mailing.database, email="external@example.com")
    people = ("ada", "nobody", "suspended", "closed", "deleted", "external")
    executed = []
    for person in people:
        statements.clear()
        email = f"{person}@example.com"
        assert await request_reset(mailing, email) == {"email": email, "userErrors": []}
        executed.append(list(statements))
    assert all(each == executed[0] for each in executed)
    pending = await all_messages(mailing.database)
    assert {(message.kind, message.user_id, message.token_id) for message in pending} == {
        ("reset_password", None, None)
    }
    assert len(pending) == len(people)
    assert await event_summaries(mailing.database) == []
    await one_mail(mailing)
    outcomes = sorted(message.outcome.value for message in await all_messages(mailing.database))
    assert outcomes == ["dropped"] * 5 + ["sent"]


async def test_an_address_that_is_no_address_gets_the_same_response(mailing: MailGateway) -> None:
    assert await request_reset(mailing, "no address") == {"email": "no address", "userErrors": []}
    assert await mailing.deliver() == []


@pytest.mark.parametrize("change", ["expired", "used", "suspended", "email", "password", "other purpose", "altered"])
async def test_an_invalid_token_changes_nothing(mailing: MailGateway, clock: _Clock, change: str) -> None:
    database = mailing.database
    user = await make_member(database)
    client, _ = await open_session(mailing)
    if change == "other purpose":
        await client.do("requestEmailVerification", "email", email="ada@example.com")
    else:
        await request_reset(mailing)
    token = (await one_mail(mailing)).token
    if change == "expired":
        clock.at += HOUR
    elif change == "used":
        assert (await reset(mailing, token, "yet another password"))["userErrors"] == []
    elif change == "password":
        changed = {"currentPassword": PASSWORD, "newPassword": "yet another password"}
        assert (await client.do("changePassword", "user { id }", **changed))["userErrors"] == []
    elif change in {"suspended", "email"}:
        values: dict[str, Any] = {"status": UserStatus.SUSPENDED}
        if change == "email":
            values = {"email": "other@example.com"}
        async with database.transaction(SERVICE) as write:
            await Users(write).change(await Users(write).get(user.id), **values)
    elif change == "altered":
        token = token[:-1] + ("A" if token[-1] != "A" else "B")
    before, count = await rows(database), len(await event_summaries(database))
    assert await reset(mailing, token) == {"email": None, "userErrors": [INVALID]}
    assert await rows(database) == before
    assert len(await event_summaries(database)) == count


async def test_a_token_is_valid_until_it_expires(mailing: MailGateway, clock: _Clock) -> None:
    """To the microsecond. The lifetime begins when the message is sent first, so it is whole after an outage."""
    await make_member(mailing.database)
    await request_reset(mailing)
    clock.at += 5 * HOUR
    mail = await one_mail(mailing)
    clock.at += HOUR - dt.timedelta(microseconds=1)
    assert (await reset(mailing, mail.token))["userErrors"] == []


async def test_a_password_that_is_the_address_is_rejected_and_leaves_the_token(mailing: MailGateway) -> None:
    await make_member(mailing.database)
    await request_reset(mailing)
    mail = await one_mail(mailing)
    error = user_error("VALIDATION_ERROR", "The password must not be the e-mail address.", "newPassword")
    assert (await reset(mailing, mail.token, "ADA@example.com"))["userErrors"] == [error]
    assert (await reset(mailing, mail.token))["userErrors"] == []


async def test_an_invalid_token_costs_no_password_hash(mailing: MailGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    monkeypatch.setattr("argon2.PasswordHasher.hash", lambda _self, password: hashed.append(password))
    assert (await reset(mailing, "x" * 43))["userErrors"] == [INVALID]
    assert hashed == []


@pytest.mark.usefixtures("cheap_passwords")
async def test_two_uses_at_once(cloned_options: DatabaseOptions, mailbox: Mailbox) -> None:
    """One succeeds. The others wait for it and fail."""
    async with connect_database(cloned_options) as database:
        mailing = MailGateway(database, mailbox)
        await make_member(database)
        await request_reset(mailing)
        mail = await one_mail(mailing)
        passwords = [f"password number {index}" for index in range(5)]
        results = await asyncio.gather(*(reset(mailing, mail.token, password) for password in passwords))
        assert sorted(len(result["userErrors"]) for result in results) == [0, 1, 1, 1, 1]
        winner = passwords[[result["userErrors"] for result in results].index([])]
        signed_in = [bool((await sign_in(mailing.client(), password=each))["accessToken"]) for each in passwords]
        assert signed_in == [password == winner for password in passwords]
        names = [event[0] for event in await event_summaries(database)]
        assert names.count("PasswordReset") == 1
        await mailing.http.aclose()


# change of the address


async def request_change(client: Client, email: str, password: str | None = PASSWORD) -> Any:
    return await client.do("requestEmailChange", "email", newEmail=email, password=password)


async def confirm(gateway: MailGateway, token: str) -> Any:
    return await gateway.client().do("confirmEmailChange", "email", token=token)


async def test_change_of_the_address(mailing: MailGateway) -> None:
    """It takes effect with the token. The old address gets a notice, and other tokens become invalid."""
    user = await make_member(mailing.database)
    client, _ = await open_session(mailing)
    await request_reset(mailing)
    old = await one_mail(mailing)
    assert await request_change(client, "Ada@New.example") == {"email": "ada@new.example", "userErrors": []}
    mail = await one_mail(mailing, "ada@new.example")
    assert mail.subject == "Confirm your new e-mail address"
    assert (await stored(mailing.database, user)).email == "ada@example.com"
    assert await confirm(mailing, mail.token) == {"email": "ada@new.example", "userErrors": []}
    changed = await stored(mailing.database, user)
    assert (changed.email, changed.email_verified, changed.version) == ("ada@new.example", True, user.version + 1)
    notice = await one_mail(mailing)
    assert notice.subject == "The e-mail address of your account was changed"
    assert "new.example" not in notice.text
    assert (await reset(mailing, old.token))["userErrors"] == [INVALID]
    assert (await confirm(mailing, mail.token))["userErrors"] == [INVALID]
    assert await client.data("{ viewer { email } }") == {"viewer": {"email": "ada@new.example"}}
    assert (await sign_in(mailing.client(), "ada@new.example"))["accessToken"] is not None
    names = [event[0] for event in await event_summaries(mailing.database)]
    began = ["SessionStarted", "UserSignedIn"]
    assert names == [*began, "PasswordResetRequested", "EmailChangeRequested", "EmailChanged", *began]
    assert "new.example" not in str(await event_summaries(mailing.database))


@pytest.mark.parametrize("change", ["changePassword", "resetPassword", "confirmEmailChange"])
async def test_a_message_that_waits_is_dropped_by_a_new_password_or_address(mailing: MailGateway, change: str) -> None:
    """Otherwise an intruder's request, sent later, would give the account to the intruder after all."""
    await make_member(mailing.database)
    client, _ = await open_session(mailing)
    if change == "resetPassword":
        await request_reset(mailing)
        token = (await one_mail(mailing)).token
    elif change == "confirmEmailChange":
        await request_change(client, "ada@new.example")
        token = (await one_mail(mailing, "ada@new.example")).token
    assert (await request_change(client, "mallory@example.com"))["userErrors"] == []
    if change == "changePassword":
        given = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
        assert (await client.do("changePassword", "user { id }", **given))["userErrors"] == []
    elif change == "resetPassword":
        assert (await reset(mailing, token))["userErrors"] == []
    else:
        assert (await confirm(mailing, token))["userErrors"] == []
    outcomes = [each.outcome for each in await all_messages(mailing.database)]
    assert outcomes.count(MessageOutcome.DROPPED) == 1
    notices = [] if change == "changePassword" else [["ada@example.com"]]
    assert [each.recipients for each in await mailing.deliver()] == notices
    assert await all_tokens(mailing.database) == []


async def test_a_request_with_a_password_that_is_replaced_meanwhile_stores_nothing(
    mailing: MailGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old password was checked before the new one was stored, and the message would be added after that."""
    await make_member(mailing.database)
    owner, _ = await open_session(mailing)
    intruder, _ = await open_session(mailing)

    async def check_and_wait(*arguments: Any) -> User:
        user = await viewer_with_password(*arguments)
        given = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
        assert (await owner.do("changePassword", "user { id }", **given))["userErrors"] == []
        return user

    monkeypatch.setattr("resolvers.identity.recovery.viewer_with_password", check_and_wait)
    (error,) = (await request_change(intruder, "mallory@example.com"))["userErrors"]
    assert error["code"] == "CONFLICT"
    assert await all_messages(mailing.database) == []
    assert await all_tokens(mailing.database) == []


async def test_a_message_that_is_dropped_during_its_attempt_gets_no_token(mailing: MailGateway, clock: _Clock) -> None:
    await make_member(mailing.database)
    client, _ = await open_session(mailing)
    await request_change(client, "mallory@example.com")
    async with mailing.database.transaction(SERVICE) as write:
        message = await OutboxMessages(write).take(clock.at, clock.at + HOUR)
    assert message is not None
    given = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
    assert (await client.do("changePassword", "user { id }", **given))["userErrors"] == []
    assert await mailing.outbox._attempt(message)
    assert mailing.mailbox.received == []
    assert await all_tokens(mailing.database) == []
    assert [each.outcome for each in await all_messages(mailing.database)] == [MessageOutcome.DROPPED]


async def test_change_to_the_address_of_another_account(mailing: MailGateway, statements: list[str]) -> None:
    """The response and the statements are the same. The owner of the address gets a notice without a token."""
    await make_member(mailing.database)
    await make_member(mailing.database, "bob@example.com")
    client, _ = await open_session(mailing)
    executed = []
    for email in ("free@example.com", "bob@example.com"):
        statements.clear()
        assert await request_change(client, email) == {"email": email, "userErrors": []}
        executed.append(list(statements))
    assert executed[0] == executed[1]
    free, taken = await mailing.deliver()
    assert (free.recipients, free.subject) == (["free@example.com"], "Confirm your new e-mail address")
    assert (taken.recipients, taken.subject) == (["bob@example.com"], "Your e-mail address belongs to an account")
    assert "code" not in taken.text


async def test_an_address_that_was_taken_meanwhile_is_a_conflict(mailing: MailGateway) -> None:
    """Nothing changes, and the token stays valid."""
    user = await make_member(mailing.database)
    client, _ = await open_session(mailing)
    await request_change(client, "new@example.com")
    mail = await one_mail(mailing, "new@example.com")
    other = await make_member(mailing.database, "new@example.com")
    before = await rows(mailing.database)
    taken = user_error("CONFLICT", "There is already an account with this e-mail address.")
    assert await confirm(mailing, mail.token) == {"email": None, "userErrors": [taken]}
    assert await rows(mailing.database) == before
    async with mailing.database.transaction(SERVICE) as write:
        await Users(write).change(other, email="gone@example.com")
    assert (await confirm(mailing, mail.token))["userErrors"] == []
    assert (await stored(mailing.database, user)).email == "new@example.com"


async def test_a_change_needs_the_password(mailing: MailGateway) -> None:
    await make_member(mailing.database)
    client, _ = await open_session(mailing)
    before, count = await rows(mailing.database), len(await event_summaries(mailing.database))
    error = user_error("VALIDATION_ERROR", "This is not your password.", "password")
    for password in ("wrong password", None):
        payload = await request_change(client, "new@example.com", password)
        assert payload == {"email": None, "userErrors": [error]}
    same = user_error("CONFLICT", "Your account has this e-mail address already.", "newEmail")
    assert (await request_change(client, "ADA@example.com"))["userErrors"] == [same]
    assert await rows(mailing.database) == before
    assert len(await event_summaries(mailing.database)) == count


# limits


async def _try_reset(gateway: MailGateway, email: str, address: str) -> bool:
    """Whether a request is rate limited."""
    document = "mutation($i: RequestPasswordResetInput!) { requestPasswordReset(input: $i) { email } }"
    async with gateway.http_from(address) as http:
        body = (await http.post("/graphql", json={"query": document, "variables": {"i": {"email": email}}})).json()
    codes = [error["extensions"]["code"] for error in body.get("errors", [])]
    assert codes in ([], ["RATE_LIMITED"])
    return codes != []


@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
async def test_messages_to_one_address_are_limited(database: Database, mailbox: Mailbox, email: str) -> None:
    """Per client, and for all clients together; in every spelling; alike for known and unknown addresses."""
    await make_member(database)
    limits = {"mails_per_client": "2 per hour", "mails_per_recipient": "5 per hour"}
    gateway = MailGateway(database, mailbox, **limits)
    spellings = (email, email.upper(), f" {email} ")
    assert [await _try_reset(gateway, each, "10.0.0.1") for each in spellings] == [False, False, True]
    others = [await _try_reset(gateway, email, f"10.0.0.{index}") for index in range(2, 7)]
    assert others == [False, False, False, True, True]
    assert not await _try_reset(gateway, "other@example.com", "10.0.0.1")
    assert len(await all_messages(database)) == 6


async def test_messages_from_one_ip_address_are_limited(database: Database, mailbox: Mailbox) -> None:
    gateway = MailGateway(database, mailbox, mails_per_address="2 per hour")
    tries = [await _try_reset(gateway, f"{index}@example.com", "2001:db8::1") for index in range(2)]
    assert tries == [False, False]
    assert await _try_reset(gateway, "3@example.com", "2001:db8::2")
    assert not await _try_reset(gateway, "3@example.com", "2001:db8:1::1")


async def test_without_a_mail_server_on_postgresql_requests_fail_alike(
    postgres_only: DatabaseOptions,
) -> None:
    """The error is the same for known and unknown addresses, and nothing is stored. Signing up works."""
    from tests.api.client import Gateway  # noqa: PLC0415

    async with connect_database(postgres_only) as database:
        user = await make_member(database)
        gateway = Gateway(database)
        document = "mutation($i: RequestPasswordResetInput!) { requestPasswordReset(input: $i) { email } }"
        for email in ("ada@example.com", "nobody@example.com"):
            answer = await gateway.client().ask(document, i={"email": email})
            assert answer.codes == ["SERVICE_UNAVAILABLE"]
            assert answer.errors[0]["message"] == "This gateway cannot send e-mails. Ask its administrator."
        document = "mutation($i: RequestEmailVerificationInput!) { requestEmailVerification(input: $i) { email } }"
        answer = await gateway.client(user).ask(document, i={"email": "ada@example.com"})
        assert answer.codes == ["SERVICE_UNAVAILABLE"]
        person = {"email": "new@example.com", "password": PASSWORD, "firstName": "Ada", "lastName": "Byron"}
        assert (await gateway.client().do("signUp", "viewer { email }", **person))["userErrors"] == []
        assert await all_messages(database) == []
        await gateway.http.aclose()
