"""How event streams end: with the client, the session, the token or the process, or if the client stops reading."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.server.process import http_protocol
from gateway.settings import Settings
from repositories.engines.database import Database
from repositories.life_lock.tasks import Tasks
from repositories.tables.identity import User
from tests.api.client import Gateway, serve
from tests.api.edges import edge_of
from tests.api.event_streams import (
    BEGINNING,
    CHANGES,
    codes,
    create,
    created,
    event_of,
    feed_of,
    open_event_stream,
    request_stream,
    run_gateway,
    without_retry_line,
)
from tests.api.people import make_member, open_session
from tests.databases import ON_SQLITE
from tests.factories import make_tasks
from tests.waiting import until

LARGE = "x" * 4000
SLOWLY = 65536
FIELDS = " ".join(f"f{number}: description" for number in range(50))
LARGE_CHANGES = f"subscription {{ taskChanged {{ task {{ title {FIELDS} }} }} }}"
"""Each answer has 200 kB."""


async def test_disconnect_ends_the_subscription(gateway: Gateway, ada: User) -> None:
    """It ends at once, although there is nothing to send. Other subscriptions go on."""
    feed = feed_of(gateway)
    async with run_gateway(gateway) as address, open_event_stream(gateway, address, CHANGES, ada) as other:
        before = feed.subscriber_count
        for _ in range(3):
            async with open_event_stream(gateway, address, CHANGES, ada) as stream:
                assert feed.subscriber_count == before + 2
                stream.leave()
                await until(lambda: feed.subscriber_count == before)
        await create(gateway, ada, "After")
        assert (await other.next())[1]["data"] == created("After")


async def test_disconnect_during_a_delivery_ends_the_subscription(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The subscription ends before the delivery is complete."""
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def slow(*_: Any) -> Any:
        has_begun.set()
        await may_end.wait()
        return {}

    monkeypatch.setattr(edge_of("TaskChange", "task").batch, "method", slow)
    async with run_gateway(gateway) as address, open_event_stream(gateway, address, CHANGES, ada) as stream:
        await create(gateway, ada, "Never told")
        await has_begun.wait()
        stream.leave()
        await until(lambda: feed_of(gateway).subscriber_count == 0)
        may_end.set()


@ON_SQLITE
async def test_idle_stream_sends_heartbeats(database: Database, ada: User) -> None:
    gateway = Gateway(database, settings=Settings(event_stream_heartbeat=0.02))
    async with run_gateway(gateway) as address, open_event_stream(gateway, address, CHANGES, ada) as stream:
        assert [await stream.chunk() for _ in range(3)] == [b":\n\n"] * 3
        await create(gateway, ada, "Among comments")
        while (chunk := await stream.chunk()) == b":\n\n":
            pass
        assert event_of(chunk)[1]["data"] == created("Among comments")


@pytest.mark.usefixtures("cheap_passwords")
async def test_stream_ends_with_the_session(gateway: Gateway) -> None:
    """The client gets the reason. The stream of another session of the same user goes on."""
    user = await make_member(gateway.database)
    async with run_gateway(gateway) as address:
        (one, tokens), (_, others) = await open_session(gateway), await open_session(gateway)
        async with (
            open_event_stream(gateway, address, CHANGES, tokens["accessToken"]) as stream,
            open_event_stream(gateway, address, CHANGES, others["accessToken"]) as other,
        ):
            await one.do("signOut", "sessions { id }")
            body = await stream.rest()
            assert codes(body) == ["UNAUTHENTICATED"]
            assert b"The session has ended: sign in again." in body
            await create(gateway, user, "For the other")
            assert (await other.next())[1]["data"] == created("For the other")
        async with request_stream(address, CHANGES, tokens["accessToken"]) as stream:
            assert (stream.status, stream.headers["content-type"]) == (401, "application/json; charset=utf-8")


@ON_SQLITE
async def test_stream_ends_with_the_token(gateway: Gateway, ada: User) -> None:
    token = gateway.tokens.issue(ada, frozenset(), 2)
    async with run_gateway(gateway) as address, request_stream(address, CHANGES, token) as stream:
        assert await stream.chunk() == BEGINNING
        body = await stream.rest()
        assert codes(body) == ["UNAUTHENTICATED"]
        assert b"The token has expired: connect again with a current token." in body


@ON_SQLITE
async def test_subscriptions_per_viewer_are_limited(database: Database, ada: User, bob: User) -> None:
    gateway = Gateway(database, settings=Settings(max_subscriptions=2))
    async with run_gateway(gateway) as address, open_event_stream(gateway, address, CHANGES, ada):
        async with open_event_stream(gateway, address, CHANGES, ada):
            async with request_stream(address, CHANGES, gateway.token(ada)) as stream:
                assert codes(without_retry_line(await stream.rest())) == ["RATE_LIMITED"]
            async with open_event_stream(gateway, address, CHANGES, bob) as stream:
                await create(gateway, bob, "Bob's")
                assert (await stream.next())[1]["data"] == created("Bob's")
        async with open_event_stream(gateway, address, CHANGES, ada) as stream:
            await create(gateway, ada, "Again")
            assert (await stream.next())[1]["data"] == created("Again")


@ON_SQLITE
async def test_unexpected_error_is_masked_and_ends_the_stream(
    gateway: Gateway, ada: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        message = "secret particulars"
        raise LookupError(message)

    monkeypatch.setattr(Tasks, "visible_ids", broken)
    async with run_gateway(gateway) as address, open_event_stream(gateway, address, CHANGES, ada) as stream:
        await create(gateway, ada, "Never told")
        body = await stream.rest()
    assert codes(body) == ["INTERNAL_SERVER_ERROR"]
    assert b"secret" not in body
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("gateway.transport.error_responses", "ERROR")
    ]


async def test_clients_reconnect_after_a_restart(gateway: Gateway, ada: User) -> None:
    """The response ends properly but without `complete`, so that clients reconnect."""
    async with AsyncExitStack() as server:
        serving = serve(gateway.app, lifespan="on", http=http_protocol(Settings()))
        address = await server.enter_async_context(serving)
        async with open_event_stream(gateway, address, CHANGES, ada) as stream:
            await create(gateway, ada, "Before")
            last, response = await stream.next()
            assert response["data"] == created("Before")
            stopped = asyncio.ensure_future(server.pop_all().aclose())
            assert await stream.rest() == b""
            assert await stream.reader.read() == b""
            await stopped
    await create(gateway, ada, "Meanwhile")
    again = Gateway(gateway.database)
    async with (
        run_gateway(again) as address,
        open_event_stream(again, address, CHANGES, ada, Last_Event_ID=last or "") as stream,
    ):
        assert (await stream.next())[1]["data"] == created("Meanwhile")


async def test_client_that_stops_reading_is_disconnected(
    gateway: Gateway, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    """Other clients are not slowed down. One log message reports the disconnect."""
    http = http_protocol(Settings(socket_send_timeout=0.5))
    feed, count = feed_of(gateway), 0
    async with (
        run_gateway(gateway, http=http) as address,
        open_event_stream(gateway, address, CHANGES, ada) as other,
        open_event_stream(gateway, address, LARGE_CHANGES, ada, takes_little=True),
    ):
        while feed.subscriber_count > 2:
            count += 1
            await gateway.client(ada).do("createTask", "task { id }", title=f"Large {count}", description=LARGE)
            assert (await other.next())[1]["data"] == created(f"Large {count}")
            assert count < 500
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["An HTTP client read none of its response for 0.5 seconds. Its connection was closed."]


async def test_slow_client_gets_an_error_and_can_resume(database: Database, ada: User) -> None:
    """More events wait than the queue holds. After resuming, the client has received each event once."""
    gateway, titles = Gateway(database, settings=Settings(subscription_queue=5)), [f"{count}" for count in range(60)]
    async with run_gateway(gateway) as address:
        async with open_event_stream(gateway, address, LARGE_CHANGES, ada, takes_little=True) as stream:
            for title in titles:
                await gateway.client(ada).do("createTask", "task { id }", title=title, description=LARGE)
            *chunks, end = [chunk async for chunk in stream]
        assert codes(end) == ["TOO_SLOW"]
        got = [event_of(chunk) for chunk in chunks]
        assert 0 < len(got) < 60
        given = {"Last_Event_ID": got[-1][0] or ""}
        async with open_event_stream(gateway, address, LARGE_CHANGES, ada, **given) as stream:
            got += [await stream.next() for _ in range(60 - len(got))]
    assert [response["data"]["taskChanged"]["task"]["title"] for _, response in got] == titles


@ON_SQLITE
async def test_slow_reader_gets_the_whole_response(gateway: Gateway, ada: User) -> None:
    """Reading takes longer than the send timeout, but never pauses for so long. The connection stays open."""
    await make_tasks(gateway.database, ada, 48, description=LARGE)
    document = f"{{ tasks {{ nodes {{ {FIELDS} }} }} }}"
    async with (
        run_gateway(gateway, http=http_protocol(Settings(socket_send_timeout=1))) as address,
        request_stream(address, document, gateway.token(ada), takes_little=True) as answer,
    ):
        began, got = time.monotonic(), 0
        while got < int(answer.headers["content-length"]):
            part = await answer.reader.read(SLOWLY)
            assert part
            got += len(part)
            await asyncio.sleep(0.01)
        assert time.monotonic() - began > 1.5
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await answer.reader.read(1)
