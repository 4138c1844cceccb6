"""Suspensions, closed accounts, ended sessions, roles and time zones take effect at the next request of any process.

The access tokens stay valid by their signature.
"""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import pytest_asyncio

from gateway.auth import authentication
from gateway.auth.account_changes import AccountChanges
from gateway.auth.authentication import Authenticator
from repositories.administration import Roles
from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.clock import now
from repositories.core.errors import Unauthenticated
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE, Viewer
from repositories.engines.database import Database, DatabaseOptions
from repositories.identity import SessionRevoked, Users, UserSuspended
from repositories.permissions import RoleName
from repositories.tables.identity import User, UserStatus
from resolvers.streaming.feed import Feed
from tests.api.client import HOUR, Client, Gateway, connect_database, gid, user_error
from tests.api.people import PASSWORD, make_member, open_session, refresh
from tests.api.sockets import SocketServer, serve_sockets_unchecked
from tests.api.stored_rows import event_summaries
from tests.databases import ON_SQLITE
from tests.factories import make_user
from tests.repositories.support import open_snapshot

pytestmark = pytest.mark.usefixtures("cheap_passwords")

CREATE = 'mutation { createTask(input: {title: "x"}) { task { id } } }'
PARTNERS = "{ partners { totalCount } }"


class Processes:
    """Two gateways over one database, each with its own connections, feed and caches, as in two processes."""

    def __init__(self, first: Gateway, second: Gateway, site: SocketServer) -> None:
        self.first = first
        self.second = second
        self.site = site
        """The second gateway, with WebSockets."""

    def on_second(self, client: Client) -> Client:
        """The same client at the second gateway."""
        token = client.headers["Authorization"].removeprefix("Bearer ")
        return self.second.client_with_token(token)

    async def wait_until(self, client: Client, document: str, *codes: str) -> None:
        """Waits until the second gateway answers with these error codes."""
        while (await self.on_second(client).ask(document)).codes != list(codes):  # noqa: ASYNC110 (as in tests/waiting)
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def processes(options: DatabaseOptions) -> AsyncIterator[Processes]:
    async with connect_database(options) as one, connect_database(options) as two:
        first, second = Gateway(one), Gateway(two)
        async with serve_sockets_unchecked(first) as other, serve_sockets_unchecked(second) as site:
            for each in (other, site):
                async with each.initialised_peer():
                    pass  # the application has started
            async with asyncio.timeout(30):
                yield Processes(first, second, site)
        await first.http.aclose()
        await second.http.aclose()


@pytest_asyncio.fixture
async def root(processes: Processes) -> Client:
    """An administrator at the first gateway."""
    return processes.first.client(await make_user(processes.first.database, role="admin"))


async def status_of(database: Database, user: User) -> UserStatus:
    async with open_snapshot(database) as snapshot:
        return (await Users(snapshot).get(user.id)).status


async def test_suspension_takes_effect_in_all_processes(processes: Processes, root: Client) -> None:
    """The suspended user can neither write nor close the account, so that the suspension is not lost."""
    user = await make_member(processes.first.database)
    session, tokens = await open_session(processes.first)
    clients = [session, processes.first.client(user)]
    for client in clients:
        for each in (client, processes.on_second(client)):
            assert (await each.ask(CREATE)).codes == []
    payload = await root.do("suspendUser", "user { status }", id=gid("User", user))
    assert payload["user"] == {"status": "SUSPENDED"}
    for client in clients:
        assert (await client.ask(CREATE)).codes == ["UNAUTHENTICATED"]
        await processes.wait_until(client, CREATE, "UNAUTHENTICATED")
    for client in clients:
        for each in (client, processes.on_second(client)):
            close = f'mutation {{ deactivateAccount(input: {{password: "{PASSWORD}"}}) {{ user {{ id }} }} }}'
            answer = await each.ask(close)
            assert (answer.status, answer.codes) == (401, ["UNAUTHENTICATED"])
    assert await status_of(processes.first.database, user) is UserStatus.SUSPENDED
    assert (await refresh(processes.second.client(), tokens["refreshToken"]))["accessToken"] is None
    await root.do("reinstateUser", "user { status }", id=gid("User", user))
    without_session = clients[1]
    await processes.wait_until(without_session, CREATE)
    assert (await without_session.ask(CREATE)).codes == []
    assert (await session.ask(CREATE)).codes == ["UNAUTHENTICATED"]
    assert (await processes.on_second(session).ask(CREATE)).codes == ["UNAUTHENTICATED"]


async def _sign_out(client: Client, tokens: Any) -> None:
    await client.do("signOut", "sessions { id }", everywhere=False)


async def _deactivate(client: Client, tokens: Any) -> None:
    await client.do("deactivateAccount", "user { id }", password=PASSWORD)


async def _reuse(client: Client, tokens: Any) -> None:
    anonymous = Client(client.http, None)
    await refresh(anonymous, tokens["refreshToken"])
    await refresh(anonymous, tokens["refreshToken"])


@pytest.mark.parametrize("end", [_sign_out, _deactivate, _reuse])
async def test_ended_session_takes_effect_in_all_processes(
    processes: Processes, end: Callable[[Client, Any], Awaitable[None]]
) -> None:
    """Other sessions of the user go on, unless the account is closed."""
    await make_member(processes.first.database)
    await make_member(processes.first.database, "bob@example.com")
    ended, tokens = await open_session(processes.first)
    other, _ = await open_session(processes.first)
    bob, _ = await open_session(processes.first, "bob@example.com")
    for client in (ended, other, bob):
        assert (await processes.on_second(client).ask(CREATE)).codes == []
    await end(ended, tokens)
    assert (await ended.ask(CREATE)).codes == ["UNAUTHENTICATED"]
    await processes.wait_until(ended, CREATE, "UNAUTHENTICATED")
    codes = ["UNAUTHENTICATED"] if end is _deactivate else []
    for client in (other, processes.on_second(other)):
        assert (await client.ask(CREATE)).codes == codes
    for client in (bob, processes.on_second(bob)):
        assert (await client.ask(CREATE)).codes == []


async def test_new_password_ends_the_other_sessions_in_all_processes(processes: Processes) -> None:
    await make_member(processes.first.database)
    client, _ = await open_session(processes.first)
    other, _ = await open_session(processes.first)
    assert (await processes.on_second(other).ask(CREATE)).codes == []
    payload = await client.do("changePassword", "user { id }", currentPassword=PASSWORD, newPassword="another password")
    assert payload["userErrors"] == []
    assert (await other.ask(CREATE)).codes == ["UNAUTHENTICATED"]
    await processes.wait_until(other, CREATE, "UNAUTHENTICATED")
    for each in (client, processes.on_second(client)):
        assert (await each.ask(CREATE)).codes == []


async def test_roles_take_effect_in_all_processes(processes: Processes, root: Client) -> None:
    """Granted ones too; the token stays the same. Other rights of the user do not change."""
    user = await make_user(processes.first.database)
    async with open_snapshot(processes.first.database) as snapshot:
        (role,) = [each for each in await Roles(snapshot).find(limit=10) if each.name == "partnership_manager"]
    client = processes.first.client(user)
    assert (await client.ask(PARTNERS)).codes == ["FORBIDDEN"]
    assert (await processes.on_second(client).ask(PARTNERS)).codes == ["FORBIDDEN"]
    given = {"userId": gid("User", user), "roleId": gid("Role", role)}
    users = "{ users { totalCount } }"
    for document, change, codes in (
        (PARTNERS, root.do("grantRole", "roleGrant { id }", **given), []),
        (PARTNERS, root.do("revokeRole", "roleGrant { id }", **given), ["FORBIDDEN"]),
        (users, root.do("changeUserRole", "user { id }", id=gid("User", user), role="ADMIN"), []),
        (users, root.do("changeUserRole", "user { id }", id=gid("User", user), role="USER"), ["FORBIDDEN"]),
    ):
        assert (await change)["userErrors"] == []
        assert (await client.ask(document)).codes == codes
        await processes.wait_until(client, document, *codes)
        assert (await client.ask(CREATE)).codes == []


async def test_time_zone_takes_effect_in_all_processes(processes: Processes) -> None:
    """The token stays the same. Pago Pago is 25 hours behind Kiritimati, so the dates differ at any time."""
    user = await make_user(processes.first.database, time_zone="Pacific/Pago_Pago")
    client = processes.first.client(user)

    async def assert_today(zone: str) -> None:
        for each in (client, processes.on_second(client)):
            dates = [now().astimezone(ZoneInfo(zone)).date().isoformat()]
            days = (await each.data("{ lifeLockDashboard { weeklyProgress { date } } }"))["lifeLockDashboard"]
            dates.append(now().astimezone(ZoneInfo(zone)).date().isoformat())
            assert days["weeklyProgress"][-1]["date"] in dates

    async with processes.site.initialised_peer(processes.first.token(user)) as peer:
        await assert_today("Pacific/Pago_Pago")
        payload = await client.do("updateProfile", "user { timeZone }", version=1, timeZone="Pacific/Kiritimati")
        assert payload == {"user": {"timeZone": "Pacific/Kiritimati"}, "userErrors": []}
        reason = "Forbidden: Your roles or your time zone have changed: connect again."
        assert await peer.wait_closed() == (4403, reason)
        await assert_today("Pacific/Kiritimati")


async def test_sockets_and_streams_end_in_all_processes(processes: Processes, root: Client) -> None:
    """Of a suspended user, and of one who loses a role. A new socket of the same token has the current roles."""
    database = processes.first.database
    suspended, demoted, bob = (
        await make_user(database),
        await make_user(database, role="admin"),
        await make_user(database),
    )
    tokens = {user.id: processes.first.token(user) for user in (suspended, demoted, bob)}
    async with (
        processes.site.initialised_peer(tokens[suspended.id]) as first,
        processes.site.initialised_peer(tokens[demoted.id]) as second,
        processes.site.initialised_peer(tokens[bob.id]) as third,
    ):
        for peer in (first, second, third):
            await peer.subscribe("events", "subscription { myEvents { id } }")
            await peer.wait_until_started()
        await root.do("suspendUser", "user { id }", id=gid("User", suspended))
        assert await first.wait_closed() == (4403, "Forbidden: The session has ended: sign in again.")
        await root.do("changeUserRole", "user { id }", id=gid("User", demoted), role="USER")
        assert await second.wait_closed() == (
            4403,
            "Forbidden: Your roles or your time zone have changed: connect again.",
        )
        await third.wait_until_started()
        async with processes.site.initialised_peer(tokens[demoted.id]) as again:
            answer = await again.ask("{ users { totalCount } }")
            assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_operation_on_an_open_socket_has_the_current_rights(gateway: Gateway, admin: User) -> None:
    """Also before the event ends the socket: the feed waits for a lock here."""
    user = await make_user(gateway.database, role="admin")
    root, key = gateway.client(admin), gid("User", user)
    async with (
        serve_sockets_unchecked(gateway) as site,
        site.initialised_peer(gateway.token(user)) as peer,
        site.feed._lock,
    ):
        await root.do("changeUserRole", "user { id }", id=key, role="USER")
        answer = await peer.ask("{ users { totalCount } }")
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        await root.do("suspendUser", "user { id }", id=key)
        await peer.subscribe("last", "{ viewer { id } }")
        assert await peer.wait_closed() == (4403, "Forbidden: This session has ended. Sign in again.")


async def test_changes_before_the_start_take_effect(options: DatabaseOptions) -> None:
    """A process that starts later reads them: those of the time for which tokens are valid."""
    async with connect_database(options) as one, connect_database(options) as two:
        first = Gateway(one)
        suspended, other = await make_user(one), await make_user(one)
        clients = [first.client(suspended), first.client(other)]
        root = first.client(await make_user(one, role="admin"))
        await root.do("suspendUser", "user { id }", id=gid("User", suspended))
        second = Gateway(two)
        async with serve_sockets_unchecked(second) as site, httpx.AsyncClient(base_url=site.http) as http:
            codes = [(await Client(http, _token(client)).ask(CREATE)).codes for client in clients]
            assert codes == [["UNAUTHENTICATED"], []]
        await first.http.aclose()
        await second.http.aclose()


async def test_suspended_account_cannot_be_closed_before_the_event_arrives(gateway: Gateway) -> None:
    """The process does not know of the suspension yet, so the command and the database decide."""
    user = await make_user(gateway.database)
    await _suspend_without_event(gateway.database, user)
    payload = await gateway.client(user).do("deactivateAccount", "user { status }", password=None)
    assert payload == {"user": None, "userErrors": [user_error("CONFLICT", "Only an active account can be closed.")]}
    assert await status_of(gateway.database, user) is UserStatus.SUSPENDED
    assert await event_summaries(gateway.database) == []


def _token(client: Client) -> str:
    return client.headers["Authorization"].removeprefix("Bearer ")


async def test_tokens_older_than_the_known_changes_are_looked_up(gateway: Gateway, statements: list[str]) -> None:
    """Such as a token of `siso token --lifetime` that is older than GATEWAY_TOKEN_LIFETIME. Once per process."""
    user = await make_user(gateway.database)
    token = gateway.token(user)
    changed = await _suspend_without_event(gateway.database, user)
    assert changed.status is UserStatus.SUSPENDED
    authenticator = gateway.authenticator
    assert (await authenticator.verify(token))[1].id == user.id
    await authenticator.start(lifetime=0)
    statements.clear()
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await authenticator.verify(token)
    assert look_ups(statements) == 1


def look_ups(statements: list[str]) -> int:
    """How often an account was looked up."""
    return len([text for text in statements if text.startswith("SELECT") and "FROM" in text and "users_1.id," in text])


async def _suspend_without_event(database: Database, user: User) -> User:
    async with database.transaction(SERVICE) as write:
        return await Users(write).change(user, status=UserStatus.SUSPENDED)


async def test_a_request_takes_no_statement_for_the_check(gateway: Gateway, admin: User, statements: list[str]) -> None:
    """Whether the token is new or not, and after changes of other users. A change of the user takes one look-up."""
    ada, bob = await make_user(gateway.database), await make_user(gateway.database)
    authenticator = gateway.authenticator
    tokens = [gateway.token(ada), gateway.tokens.issue(ada, frozenset({RoleName.USER}), HOUR, new_id())]
    await authenticator.start(HOUR)
    for change in (None, "suspendUser", "reinstateUser"):
        if change is not None:
            await gateway.client(admin).do(change, "user { id }", id=gid("User", bob))
        statements.clear()
        for _ in range(2):
            for token in tokens:
                assert (await authenticator.verify(token))[1].id == ada.id
        assert statements == []
    await gateway.client(admin).do("changeUserRole", "user { id }", id=gid("User", ada), role="ADMIN")
    statements.clear()
    for _ in range(3):
        assert (await authenticator.verify(tokens[0]))[1].roles == {RoleName.USER, RoleName.ADMIN}
    assert look_ups(statements) == 1


async def test_rolled_back_change_has_no_effect(gateway: Gateway, statements: list[str]) -> None:
    user = await make_user(gateway.database)
    authenticator, token = gateway.authenticator, gateway.token(user)
    await authenticator.verify(token)
    with pytest.raises(RuntimeError):
        async with open_unit_of_work(gateway.database, SERVICE, ()) as work:
            await work.repository(Users).change(user, status=UserStatus.SUSPENDED)
            work.record(UserSuspended(user.id, user.id))
            raise RuntimeError
    statements.clear()
    assert (await authenticator.verify(token))[1].id == user.id
    assert statements == []


@ON_SQLITE
async def test_made_up_event_has_no_effect(gateway: Gateway) -> None:
    """It causes a look-up, and the account decides."""
    user = await make_user(gateway.database)
    authenticator, token = gateway.authenticator, gateway.token(user)
    async with open_unit_of_work(gateway.database, SERVICE, ()) as work:
        work.record(UserSuspended(user.id, user.id))
    assert (await authenticator.verify(token))[1].id == user.id


# late events


@ON_SQLITE
async def test_late_events_cause_a_look_up(
    gateway: Gateway, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the events of the last 30 seconds are not known, each token is looked up once in 30 seconds."""
    user = await make_user(gateway.database)
    feed = Feed(gateway.database)
    authenticator, token = Authenticator(gateway.tokens, gateway.database, feed), gateway.token(user)
    await authenticator.verify(token)
    feed.complete_at = time.monotonic() - 29
    statements.clear()
    await authenticator.verify(token)
    assert statements == []
    feed.complete_at = time.monotonic() - 31
    await authenticator.verify(token)
    assert look_ups(statements) == 1
    await _suspend_without_event(gateway.database, user)
    await authenticator.verify(token)
    assert look_ups(statements) == 1
    monkeypatch.setattr(authentication, "_MAX_FEED_DELAY", 0.0)
    with pytest.raises(Unauthenticated):
        await authenticator.verify(token)


async def test_feed_knows_until_when_it_is_complete(postgres_only: DatabaseOptions) -> None:
    """An open transaction that has drawn a sequence number holds the time back, others do not."""
    async with connect_database(postgres_only) as database, connect_database(postgres_only) as other:
        feed, user = Feed(database), await make_user(database)
        await feed.catch_up()
        assert feed.complete_at <= time.monotonic()
        async with open_unit_of_work(other, SERVICE, ()) as work:
            work.record(UserSuspended(user.id, user.id))
            await work.store_events_and_react(())
            await work.repository(Users).count()
            opened = time.monotonic()
            for _ in range(3):
                async with open_unit_of_work(database, SERVICE, ()) as meanwhile:
                    meanwhile.record(SessionRevoked(new_id(), user.id, "revoked"))
                await feed.catch_up()
            assert feed.complete_at < opened
        closed = time.monotonic()
        await feed.catch_up()
        assert feed.complete_at >= closed


# bounds


def _changes(*keys: Any) -> list[SessionRevoked]:
    return [SessionRevoked(key, key, "revoked") for key in keys]


async def test_number_of_known_changes_is_bounded() -> None:
    """The tokens from before a dropped change are treated as changed. Repeated changes of a user count once."""
    changes, start = AccountChanges(max_changes=3), time.time()
    old, new = start - 100, start + 100
    keys = [new_id() for _ in range(4)]
    viewers = [Viewer(key, frozenset()) for key in keys]
    stranger = Viewer(new_id(), frozenset(), session=new_id())
    await changes.on_commit(_changes(*keys[:3], *keys[:3]))
    assert [changes.latest(viewer, old) for viewer in (*viewers, stranger)] == [4, 5, 6, 0, 0]
    await changes.on_commit(_changes(keys[3]))
    latest = changes.count
    assert [changes.latest(viewer, old) for viewer in (*viewers, stranger)] == [latest] * 5
    assert [changes.latest(viewer, new) for viewer in (*viewers, stranger)] == [0, 5, 6, 7, 0]
    assert changes.latest(Viewer(new_id(), frozenset(), session=keys[3]), new) == 7
    assert len(changes._changes) == 3


async def test_start_reads_a_bounded_number_of_changes(gateway: Gateway, statements: list[str]) -> None:
    """The newest. If there are more, tokens from before them are looked up."""
    keys = [new_id() for _ in range(6)]
    moments = [now() - dt.timedelta(minutes=60 - index) for index in range(6)]
    for key, moment in zip(keys, moments, strict=True):
        async with open_unit_of_work(gateway.database, SERVICE, (), moment) as work:
            work.record(SessionRevoked(key, key, "revoked"))
    viewers = [Viewer(key, frozenset()) for key in keys]
    recent = time.time() - 60
    for limit, lifetime, expected in (
        (10, 2 * HOUR, [True] * 6),
        (3, 2 * HOUR, [False] * 3 + [True] * 3),
        (10, 58 * 60 - 30, [False] * 3 + [True] * 3),
    ):
        changes = AccountChanges(limit)
        statements.clear()
        await changes.load(gateway.database, lifetime)
        assert len([text for text in statements if "domain_events" in text]) == 1
        assert [changes.latest(viewer, recent) > 0 for viewer in viewers] == expected
        assert changes.latest(Viewer(new_id(), frozenset()), recent - 3 * HOUR) > 0
        assert (changes.latest(viewers[0], moments[0].timestamp() - 1) > 0) is True
        assert changes.latest(Viewer(new_id(), frozenset()), recent) == 0
