"""Who may sign up (GATEWAY_SIGN_UP), and invitations."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from repositories.core.clock import now
from repositories.engines.database import Database, DatabaseOptions
from repositories.identity import Users
from repositories.tables.identity import User
from tests.api.client import connect_database, user_error
from tests.api.mailbox import Mailbox, MailGateway
from tests.api.people import PASSWORD, all_sessions, make_member
from tests.api.stored_rows import event_summaries
from tests.repositories.support import open_snapshot

pytestmark = pytest.mark.usefixtures("cheap_passwords")
INVALID = user_error(
    "VALIDATION_ERROR",
    "This link or code is not valid: it was used, replaced by a newer one, or has expired.",
    "invitation",
)


@pytest_asyncio.fixture
async def inviting(database: Database, mailbox: Mailbox) -> AsyncIterator[MailGateway]:
    """A gateway that accepts people with an invitation only."""
    gateway = MailGateway(database, mailbox, sign_up="invite")
    yield gateway
    await gateway.http.aclose()
    assert database.pool_state().used == 0


async def sign_up(gateway: MailGateway, email: str = "new@example.com", **values: Any) -> Any:
    person = {"email": email, "password": PASSWORD, "firstName": "New", "lastName": "Person"}
    return await gateway.client().do("signUp", "viewer { email emailVerified }", **person | values)


async def invite(gateway: MailGateway, admin: User, email: str = "new@example.com") -> str:
    """Returns the token of an invitation."""
    payload = await gateway.client(admin).do("inviteUser", "email", email=email)
    assert payload["userErrors"] == []
    (mail,) = await gateway.deliver()
    assert (mail.recipients, mail.subject) == ([payload["email"]], "You are invited to create an account")
    assert "The code is valid for 168 hours." in mail.text
    return mail.token


async def accounts(database: Database) -> int:
    async with open_snapshot(database) as snapshot:
        return await Users(snapshot).count()


async def test_an_invited_person_signs_up(inviting: MailGateway, admin: User) -> None:
    """Once, with a verified address, and without another message."""
    token = await invite(inviting, admin, "New@Example.com")
    payload = await sign_up(inviting, " NEW@example.com", invitation=token)
    assert payload == {"viewer": {"email": "new@example.com", "emailVerified": True}, "userErrors": []}
    assert await inviting.deliver() == []
    assert (await sign_up(inviting, invitation=token))["userErrors"] == [INVALID]
    events = await event_summaries(inviting.database)
    assert [event[0] for event in events] == ["UserInvited", "UserSignedUp", "SessionStarted", "UserSignedIn"]
    assert events[0][3] == admin.id
    assert "example.com" not in str(events)


async def test_people_without_an_invitation_are_rejected(inviting: MailGateway, admin: User) -> None:
    """The response does not tell whether there is an account with the address."""
    await make_member(inviting.database)
    token = await invite(inviting, admin)
    missing = user_error("VALIDATION_ERROR", "You need an invitation to create an account.", "invitation")
    other = user_error("VALIDATION_ERROR", "The invitation is for another e-mail address.", "email")
    for email in ("ada@example.com", "free@example.com"):
        assert (await sign_up(inviting, email))["userErrors"] == [missing]
        assert (await sign_up(inviting, email, invitation="x" * 43))["userErrors"] == [INVALID]
        assert (await sign_up(inviting, email, invitation=token))["userErrors"] == [other]
    assert await accounts(inviting.database) == 2
    assert await all_sessions(inviting.database) == []
    assert (await sign_up(inviting, invitation=token))["userErrors"] == []


async def test_a_newer_invitation_replaces_an_older_one(inviting: MailGateway, admin: User) -> None:
    older = await invite(inviting, admin)
    other = await invite(inviting, admin, "other@example.com")
    newer = await invite(inviting, admin)
    assert (await sign_up(inviting, invitation=older))["userErrors"] == [INVALID]
    assert (await sign_up(inviting, invitation=newer))["userErrors"] == []
    assert (await sign_up(inviting, "other@example.com", invitation=other))["userErrors"] == []


async def test_an_expired_invitation_is_rejected(database: Database, mailbox: Mailbox, admin: User) -> None:
    at = now()
    token = await invite(MailGateway(database, mailbox, clock=lambda: at), admin)
    later = MailGateway(database, mailbox, clock=lambda: at + dt.timedelta(days=7))
    assert (await sign_up(later, invitation=token))["userErrors"] == [INVALID]
    assert await accounts(database) == 1


async def test_two_people_use_an_invitation_at_once(cloned_options: DatabaseOptions, mailbox: Mailbox) -> None:
    async with connect_database(cloned_options) as database:
        gateway = MailGateway(database, mailbox, sign_up="invite")
        admin = await make_member(database, "admin@example.com", role="admin")
        token = await invite(gateway, admin)
        results = await asyncio.gather(*(sign_up(gateway, invitation=token) for _ in range(4)))
        assert sorted(len(result["userErrors"]) for result in results) == [0, 1, 1, 1]
        assert await accounts(database) == 2
        await gateway.http.aclose()


async def test_invitations_of_people_with_an_account(inviting: MailGateway, admin: User) -> None:
    """An account that is created after the invitation was requested gets no message."""
    await make_member(inviting.database)
    taken = user_error("CONFLICT", "There is already an account with this e-mail address.", "email")
    payload = await inviting.client(admin).do("inviteUser", "email", email="ADA@example.com")
    assert payload == {"email": None, "userErrors": [taken]}
    await inviting.client(admin).do("inviteUser", "email", email="bob@example.com")
    await make_member(inviting.database, "bob@example.com")
    assert await inviting.deliver() == []


async def test_only_administrators_invite(inviting: MailGateway, ada: User) -> None:
    document = "mutation($i: InviteUserInput!) { inviteUser(input: $i) { email } }"
    for client, code in ((inviting.client(ada), "FORBIDDEN"), (inviting.client(), "UNAUTHENTICATED")):
        assert (await client.ask(document, i={"email": "new@example.com"})).codes == [code]
    assert await inviting.deliver() == []
    assert await event_summaries(inviting.database) == []


async def test_a_closed_gateway_accepts_nobody(
    database: Database, mailbox: Mailbox, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even with an invitation. The response is the same for known addresses, and no password is hashed."""
    token = await invite(MailGateway(database, mailbox), admin)
    await make_member(database)
    monkeypatch.setattr("argon2.PasswordHasher.hash", lambda *_: pytest.fail("a password was hashed"))
    closed = MailGateway(database, mailbox, sign_up="closed")
    error = user_error("VALIDATION_ERROR", "This gateway accepts no new accounts.")
    for values in ({"email": "ada@example.com"}, {"email": "new@example.com", "invitation": token}):
        assert (await sign_up(closed, **values))["userErrors"] == [error]
    assert await accounts(database) == 2


async def test_an_invitation_also_verifies_on_an_open_gateway(
    database: Database, mailbox: Mailbox, admin: User
) -> None:
    gateway = MailGateway(database, mailbox)
    token = await invite(gateway, admin)
    assert (await sign_up(gateway, "free@example.com"))["viewer"]["emailVerified"] is False
    assert (await sign_up(gateway, invitation=token))["viewer"]["emailVerified"] is True


async def test_invitations_to_one_address_are_limited(database: Database, mailbox: Mailbox, admin: User) -> None:
    """Nothing is stored and sent beyond the limit. Another address is not affected."""
    gateway = MailGateway(database, mailbox, sign_up="invite", mails_per_recipient="2/hour")
    await invite(gateway, admin)
    await invite(gateway, admin)
    events = await event_summaries(database)
    document = "mutation($i: InviteUserInput!) { inviteUser(input: $i) { email } }"
    answer = await gateway.client(admin).ask(document, i={"email": "new@example.com"})
    assert (answer.data, answer.codes) == ({"inviteUser": None}, ["RATE_LIMITED"])
    assert await event_summaries(database) == events
    assert await gateway.deliver() == []
    await invite(gateway, admin, "other@example.com")
    await gateway.http.aclose()
