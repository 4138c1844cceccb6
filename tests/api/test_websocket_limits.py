"""Limits of sockets and subscriptions, clients that stop reading, and cleanup after sockets end."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from gateway.server.websocket_protocol import SocketProtocol
from gateway.settings import Settings
from gateway.transport.held_bytes import HeldBytes
from repositories.life_lock.tasks import Tasks
from repositories.tables.identity import User
from tests.api.client import Gateway
from tests.api.sockets import MY_EVENTS, Peer, serve_sockets, serve_sockets_unchecked
from tests.databases import ON_SQLITE
from tests.factories import make_tasks
from tests.waiting import until

CREATED = {"data": {"myEvents": {"eventType": "TaskCreated"}}}
MUCH = "{ tasks(first: 50) { " + " ".join(f"a{number}: nodes {{ description }}" for number in range(80)) + " } }"
"""The result has 20 MB if descriptions have 5,000 characters: more than the buffers of two sockets hold."""
ALLOWING_MUCH = Settings(max_response_bytes=30_000_000, max_held_bytes=100_000_000)


@pytest.fixture
def without_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def request_large_results(stalled: Peer) -> None:
    """The client's queue holds one message, so it reads one whole message and then stops."""
    for number in range(4):
        await stalled.subscribe(f"much {number}", MUCH)


def rate_limited(message: str) -> list[dict[str, Any]]:
    return [{"message": message, "extensions": {"code": "RATE_LIMITED"}}]


@ON_SQLITE
async def test_operations_per_socket_are_limited(gateway: Gateway, ada: User) -> None:
    limited_gateway = Gateway(gateway.database, settings=Settings(max_socket_operations=2))
    full = rate_limited("This WebSocket has 2 open operations, which is the limit. Complete one of them first.")
    async with serve_sockets(limited_gateway) as site, site.initialised_peer(limited_gateway.token(ada)) as peer:
        for key in ("1", "2"):
            await peer.subscribe(key, MY_EVENTS)
        assert await peer.ask("{ __typename }") == full
        await peer.send("complete", id="2")
        await peer.wait_until_started()


@ON_SQLITE
async def test_subscriptions_per_viewer_are_limited_over_all_sockets(gateway: Gateway, ada: User, bob: User) -> None:
    limited_gateway = Gateway(gateway.database, settings=Settings(max_subscriptions=2))
    full = rate_limited(
        "You have 2 open subscriptions, which is the limit. "
        "End one of them, or subscribe to several ids in one subscription."
    )
    async with (
        serve_sockets(limited_gateway) as site,
        site.initialised_peer(limited_gateway.token(ada)) as one,
        site.initialised_peer(limited_gateway.token(ada)) as two,
        site.initialised_peer(limited_gateway.token(bob)) as other,
    ):
        for peer in (one, two):
            await peer.subscribe("1", MY_EVENTS)
        await site.wait_for_subscribers(3 + 2)
        assert await two.ask(MY_EVENTS) == full
        await two.wait_until_started()
        await other.subscribe("1", MY_EVENTS)
        await site.wait_for_subscribers(3 + 3)
        await one.send("complete", id="1")
        await site.wait_for_subscribers(3 + 2)
        await two.subscribe("2", MY_EVENTS)
        await site.wait_for_subscribers(3 + 3)


@ON_SQLITE
async def test_sockets_per_viewer_are_limited(gateway: Gateway, ada: User) -> None:
    limited_gateway = Gateway(gateway.database, settings=Settings(max_sockets=2))
    full = (
        4403,
        "Forbidden: You have 2 open WebSockets, which is the limit. Close one of them first.",
    )
    async with serve_sockets(limited_gateway) as site:
        for token in (limited_gateway.token(ada), None):
            async with site.initialised_peer(token):
                async with site.initialised_peer(token), site.peer() as third:
                    payload = {"Authorization": f"Bearer {token}"} if token else None
                    await third.send("connection_init", payload=payload)
                    assert await third.wait_closed() == full
                async with site.initialised_peer(token) as instead:
                    await instead.wait_until_started()


@ON_SQLITE
async def test_each_delivery_is_charged(gateway: Gateway, ada: User) -> None:
    """Subscribing is charged too. When the budget is used up, the subscription ends with an error."""
    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(ada)) as peer:
        await peer.subscribe("1", MY_EVENTS, extensions={"cost": True})
        await site.wait_for_subscribers(2)
        await gateway.client(ada).do("createTask", "task { id }", title="x")
        cost = (await peer.receive())["payload"]["extensions"]["cost"]["requested"]
    limited_gateway = Gateway(gateway.database, settings=Settings(cost_per_minute=2 * cost))
    async with serve_sockets(limited_gateway) as site, site.initialised_peer(limited_gateway.token(ada)) as peer:
        await peer.subscribe("1", MY_EVENTS)
        await site.wait_for_subscribers(2)
        for _ in range(2):
            await gateway.client(ada).do("createTask", "task { id }", title="x")
        first, second = await peer.receive(), await peer.receive()
        assert (first["type"], first["payload"]["data"]) == ("next", CREATED["data"])
        assert (second["type"], second["payload"][0]["extensions"]["code"]) == ("error", "RATE_LIMITED")
        assert 1 <= second["payload"][0]["extensions"]["retryAfter"] <= 60
        await site.wait_for_subscribers(1)


async def test_slow_subscription_ends_and_the_socket_stays_open(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More events arrive during a slow delivery than the queue holds. Another subscriber gets all of them."""
    limited_gateway = Gateway(gateway.database, settings=Settings(subscription_queue=2, max_operations=1))
    async with (
        serve_sockets(limited_gateway) as site,
        site.initialised_peer(limited_gateway.token(ada)) as slow,
        site.initialised_peer(limited_gateway.token(ada)) as other,
    ):
        await slow.subscribe("1", "subscription { taskChanged { task { title } } }")
        await other.subscribe("1", MY_EVENTS)
        await site.wait_for_subscribers(4)
        visible, reached, go_on = Tasks.visible_ids, asyncio.Event(), asyncio.Event()

        async def after_a_while(self: Any, *arguments: Any) -> Any:
            reached.set()
            await go_on.wait()
            return await visible(self, *arguments)

        monkeypatch.setattr(Tasks, "visible_ids", after_a_while)
        for number in range(4):
            await gateway.client(ada).do("createTask", "task { id }", title=f"{number}")
            assert (await other.receive())["payload"]["data"] == CREATED["data"]
            await reached.wait()
        go_on.set()
        messages = [await slow.receive() for _ in range(2)]
        assert [(message["id"], message["type"]) for message in messages] == [("1", "next"), ("1", "error")]
        assert messages[0]["payload"]["data"] == {"taskChanged": {"task": {"title": "0"}}}
        assert [error["extensions"]["code"] for error in messages[1]["payload"]] == ["TOO_SLOW"]
        await slow.wait_until_started()
        await site.wait_for_subscribers(3)


@ON_SQLITE
async def test_client_that_stops_reading_is_disconnected(
    gateway: Gateway, ada: User, bob: User, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that starts to read again gets the reason. Other clients are not slowed down."""
    await make_tasks(gateway.database, ada, 50, description="x" * 5000)
    gateway = Gateway(gateway.database, settings=ALLOWING_MUCH)
    caplog.set_level(logging.WARNING)
    token, settings = gateway.token(ada), Settings(socket_send_timeout=0.5)
    for reads_on in (True, False):
        caplog.clear()
        async with serve_sockets(gateway, settings) as site, site.initialised_peer(gateway.token(bob)) as other:
            await other.subscribe("1", MY_EVENTS)
            await site.wait_for_subscribers(2)
            async with site.peer(max_queue=1, max_size=None, close_timeout=0.1) as stalled:
                await stalled.initialise(token)
                await stalled.subscribe("events", MY_EVENTS)
                await site.wait_for_subscribers(4)
                await request_large_results(stalled)
                while not caplog.records:
                    await gateway.client(bob).do("createTask", "task { id }", title="Meanwhile")
                    assert (await other.receive())["payload"]["data"] == CREATED["data"]
                await site.wait_for_subscribers(2)
                if reads_on:
                    assert await stalled.wait_closed() == (
                        1013,
                        "The client read nothing for too long. Reconnect and resume after the last event received.",
                    )
            await other.wait_until_started()
        assert [(record.name, record.getMessage()) for record in caplog.records] == [
            (
                "gateway.server.websocket_protocol",
                "A WebSocket client read nothing for 0.5 seconds. Its connection was closed.",
            )
        ]


@ON_SQLITE
async def test_client_that_does_not_answer_pings_is_disconnected(gateway: Gateway, ada: User) -> None:
    """The client has stopped reading although there is little to read."""
    settings = Settings(socket_ping_interval=0.2)
    async with serve_sockets(gateway, settings) as site, site.initialised_peer(gateway.token(ada)) as other:
        async with site.peer(max_queue=1) as stalled:
            await stalled.initialise(gateway.token(ada))
            for _ in range(5):
                await stalled.send("ping")
            await site.wait_for_subscribers(2)
            await site.wait_for_subscribers(1)
            assert await stalled.wait_closed() == (1013, "The client did not answer pings in time.")
        await other.wait_until_started()


@ON_SQLITE
async def test_closed_socket_is_freed_with_its_last_message(
    gateway: Gateway, ada: User, without_garbage_collection: None
) -> None:
    """No timer and no reference cycle keeps it. The client resets the connection without a closing handshake."""
    async with serve_sockets(gateway) as site:
        async with site.initialised_peer(gateway.token(ada)) as peer:
            protocols = [each for each in gc.get_objects() if type(each) is SocketProtocol]
            [protocol] = [weakref.ref(each) for each in protocols if not each._is_lost]
            del protocols
            await peer.send("subscribe", id="x" * 200_000, payload={"query": "{ viewer { id } }"})
            assert (await peer.wait_closed())[0] == 4400
            peer.connection.transport.abort()
        async with asyncio.timeout(5):  # the timer of the closing handshake ends after 11 seconds
            await until(lambda: protocol() is None)


@ON_SQLITE
async def test_fragments_of_a_message_are_limited(gateway: Gateway, ada: User) -> None:
    """Tiny fragments cost a hundred times their size. A message of a thousand fragments is accepted."""
    text = '{"type": "ping"' + " " * 997 + "}"
    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(ada)) as peer:
        await peer.connection.send([text[:15], *text[15:]])
        assert await peer.receive() == {"type": "pong"}
        await peer.connection.send([text[:15], " ", *text[15:]])
        assert await peer.wait_closed() == (1009, "A message must not have more than 1000 fragments.")


@ON_SQLITE
async def test_pongs_do_not_fill_the_memory(gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway goes on reading from a client that sends pings and reads nothing, and discards its pongs."""
    protocols: list[SocketProtocol] = []
    handle, seen = SocketProtocol.handle_ping, [0]

    def handle_ping(self: SocketProtocol) -> None:
        handle(self)
        protocols[:] = [self]
        seen[0] += 1

    monkeypatch.setattr(SocketProtocol, "handle_ping", handle_ping)
    count = 50_000  # more than 6 MB
    ping = Frame(Opcode.PING, b"x" * 125).serialize(mask=True)
    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(ada)) as stalled:
        stalled.connection.transport.pause_reading()
        for _ in range(200):
            stalled.connection.transport.write(ping * (count // 200))
            while stalled.connection.transport.get_write_buffer_size():  # noqa: ASYNC110 (no event announces it)
                await asyncio.sleep(0)
        while seen[0] < count:  # noqa: ASYNC110 (no event announces it)
            await asyncio.sleep(0)
        assert protocols[0].transport.get_write_buffer_size() < 1_000_000
        stalled.connection.transport.abort()


@ON_SQLITE
async def test_shutdown_closes_all_sockets(
    gateway: Gateway, ada: User, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that do not read do not delay it."""
    await make_tasks(gateway.database, ada, 50, description="x" * 5000)
    gateway = Gateway(gateway.database, settings=ALLOWING_MUCH)
    caplog.set_level(logging.WARNING)
    is_full, pause = asyncio.Semaphore(0), SocketProtocol.pause_writing

    def pause_writing(self: SocketProtocol) -> None:
        is_full.release()
        pause(self)

    monkeypatch.setattr(SocketProtocol, "pause_writing", pause_writing)
    async with AsyncExitStack() as stack:
        async with serve_sockets_unchecked(gateway) as site:
            peer = await stack.enter_async_context(site.initialised_peer(gateway.token(ada)))
            await peer.subscribe("1", MY_EVENTS)
            fresh = await stack.enter_async_context(site.peer())
            stalled = await stack.enter_async_context(site.peer(max_queue=1, max_size=None, close_timeout=0.1))
            await stalled.initialise(gateway.token(ada))
            await request_large_results(stalled)
            for _ in range(2):
                await is_full.acquire()
            await site.wait_for_subscribers(3)
        assert site.feed.subscriber_count == 0
        assert [await one.wait_closed() for one in (peer, fresh)] == [(1012, ""), (1012, "")]
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine:pytest.PytestUnraisableExceptionWarning")
async def test_disconnected_sockets_leave_nothing_behind(gateway: Gateway, ada: User) -> None:
    """They disconnect during operations."""
    await make_tasks(gateway.database, ada, 5)
    async with serve_sockets(gateway) as site:
        for _ in range(10):
            async with site.peer() as peer:
                await peer.initialise(gateway.token(ada))
                await peer.subscribe("1", MY_EVENTS)
                await peer.subscribe("2", "subscription { lifeLockDashboard { totalTasks } }")
                for number in range(5):
                    await peer.subscribe(f"q{number}", "{ tasks { totalCount nodes { title category { name } } } }")
                await peer.receive()
                peer.connection.transport.abort()
        await site.wait_for_subscribers(0)
        async with site.initialised_peer(gateway.token(ada)) as peer:
            assert await peer.ask("{ tasks { totalCount } }") == {"data": {"tasks": {"totalCount": 5}}}
    assert gateway.database.pool_state().used == 0
    gc.collect()


@ON_SQLITE
async def test_unexpected_errors_are_masked(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """This applies to a query and to a delivery. The log names the request and the number of the operation."""

    async def broken(*_: Any, **__: Any) -> Any:
        message = "a secret"
        raise RuntimeError(message)

    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(ada)) as peer:
        await peer.subscribe("1", "subscription { taskChanged { task { title } } }")
        await site.wait_for_subscribers(2)
        monkeypatch.setattr(Tasks, "page", broken)
        monkeypatch.setattr(Tasks, "visible_ids", broken)
        (error,) = (await peer.ask("{ tasks { totalCount nodes { title } } }"))["errors"]
        await gateway.client(ada).do("createTask", "task { id }", title="x")
        (last,) = (await peer.receive())["payload"]
        for masked in (error, last):
            assert masked["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
            assert masked["message"].endswith(masked["extensions"]["errorId"])
        assert peer.connection.response is not None
        request_id = peer.connection.response.headers["X-Request-ID"]
        assert [
            record.getMessage() for record in caplog.records if record.name == "gateway.transport.error_responses"
        ] == [
            f"Internal error {error['extensions']['errorId']} in request {request_id}/2.",
            f"Internal error {last['extensions']['errorId']} in request {request_id}/1.",
        ]
        await peer.wait_until_started()


Step = tuple[str, str | None, str | None]
"""A message: its type, id and document."""
INIT: Step = ("connection_init", None, None)
_KEY = st.sampled_from(["a", "b"])
_DOCUMENTS = ["{ __typename }", MY_EVENTS, "{ nonsense }", "subscription { domainEvents { id } }"]
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("subscribe"), _KEY, st.sampled_from(_DOCUMENTS)),
        st.tuples(st.just("complete"), _KEY, st.none()),
        st.tuples(st.sampled_from(["ping", "pong"]), st.none(), st.none()),
        st.just(INIT),
        st.tuples(st.just("nonsense"), st.none(), st.none()),
    ),
    max_size=12,
)


@given(begins=st.sampled_from([[INIT], []]), steps=_STEPS)
@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@ON_SQLITE
async def test_any_sequence_of_messages_follows_the_protocol(
    gateway: Gateway, ada: User, begins: list[Step], steps: list[Step]
) -> None:
    """Only requested operations have responses, in a legal order, and the socket is closed only for protocol errors."""
    steps = [*begins, *steps]
    async with serve_sockets(gateway) as site, site.peer() as peer:
        may_close, must_close = _expected_close_codes(steps)
        for kind, key, document in steps:
            if kind == "subscribe":
                await peer.subscribe(str(key), str(document))
            elif kind == "connection_init":
                await peer.send(kind, payload={"Authorization": f"Bearer {gateway.token(ada)}"})
            else:
                await peer.send(kind, **({"id": key} if key else {}))
        await peer.send("ping", payload={"end": True})
        messages, code = await _receive_all(peer)
        assert code in may_close
        assert code == must_close or must_close is None
    _check_messages(steps, messages)


def _expected_close_codes(steps: list[Step]) -> tuple[set[int | None], int | None]:
    """The codes with which the socket may be closed, and the one with which it must be closed.

    An id that has been used may be free again, if its operation has ended.
    """
    may: set[int | None] = set()
    is_ready, taken = False, dict[str, str]()
    for kind, key, document in steps:
        if kind == "connection_init":
            if is_ready:
                return {*may, 4429}, None if may else 4429
            is_ready = True
        elif kind == "nonsense":
            return {*may, 4400}, None if may else 4400
        elif kind == "subscribe":
            if not is_ready:
                return {*may, 4401}, None if may else 4401
            if taken.get(str(key)) == MY_EVENTS:
                return {*may, 4409}, None if may else 4409
            if str(key) in taken:
                may.add(4409)
            taken[str(key)] = str(document)
        elif kind == "complete":
            taken.pop(str(key), None)
    return {*may, None}, None


async def _receive_all(peer: Peer) -> tuple[list[Any], int | None]:
    """Receives all messages up to the response to the last ping or up to the close; and the close code."""
    messages: list[Any] = []
    try:
        while not messages or messages[-1].get("payload") != {"end": True}:
            messages.append(await peer.receive())
    except ConnectionClosed:
        return messages, peer.connection.close_code
    return messages, None


def _check_messages(steps: list[Step], messages: list[Any]) -> None:
    begins = [kind for kind, *_ in steps].count("connection_init")
    assert [message["type"] for message in messages].count("connection_ack") <= min(begins, 1)
    assert [message["type"] for message in messages].count("pong") <= [kind for kind, *_ in steps].count("ping") + 1
    requested = [key for kind, key, _ in steps if kind == "subscribe"]
    for key in ("a", "b"):
        of_operation = [message for message in messages if message.get("id") == key]
        final = [message for message in of_operation if message["type"] in {"complete", "error"}]
        assert len(final) <= requested.count(key)
        results = [message["payload"] for message in of_operation if message["type"] == "next"]
        assert results == [{"data": {"__typename": "Query"}}] * len(results)
        assert {message["type"] for message in of_operation} <= {"next", "error", "complete"}
    for message in messages:
        assert set(message) <= {"id", "type", "payload"}


async def test_messages_are_counted_in_bytes(gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A character of UTF-8 has up to four."""
    sizes: list[int] = []
    hold = HeldBytes.hold

    def record(self: HeldBytes, viewer: Any, size: int) -> Any:
        sizes.append(size)
        return hold(self, viewer, size)

    monkeypatch.setattr(HeldBytes, "hold", record)
    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(ada)) as peer:
        largest = []
        for character in ("a", "\U0001f600"):
            sizes.clear()
            await peer.ask('mutation { createTask(input: {title: "%s"}) { task { title } } }' % (character * 100))
            largest.append(max(sizes))
    assert largest[1] - largest[0] == 300
