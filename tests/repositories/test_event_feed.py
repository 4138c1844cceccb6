"""The event feed skips no event of a transaction that commits late, and delivers each event once."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repositories.aggregates.event_store import EventStore, row_of_event
from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.clock import now
from repositories.core.errors import Forbidden
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE, Viewer
from repositories.engines.database import Database, DatabaseOptions, WriteConnection
from repositories.life_lock.events import CategoryCreated
from repositories.sql.statements import Engine
from repositories.tables.events import DomainEvent
from repositories.tables.identity import User
from resolvers.caching.cache import Cache
from resolvers.caching.store import memory_store
from resolvers.streaming.feed import ALL_EVENTS, Feed, aggregate_topic, owner_topic
from tests.factories import make_user, viewer_of
from tests.repositories.support import SharedDatabase, connect_database, examples, open_snapshot


class RolledBack(Exception):
    """Rolls a transaction back."""


class Writer:
    """A transaction that stays open between writes."""

    def __init__(self, database: Database, user: User) -> None:
        self._database = database
        self._user = user
        self._stack = AsyncExitStack()
        self._connection: WriteConnection | None = None
        self.written: list[Any] = []

    async def write(self) -> None:
        """Stores an event."""
        if self._connection is None:
            self._connection = await self._stack.enter_async_context(self._database.transaction(viewer_of(self._user)))
        event = CategoryCreated(new_id(), self._user.id)
        await EventStore(self._connection).load([row_of_event(event, actor=self._user.id, at=now())])
        self.written.append(event.id)

    async def end(self, *, commits: bool) -> list[Any]:
        """Commits or rolls back. Returns the ids of the events that it committed."""
        if self._connection is None:
            return []
        self._connection, written, self.written = None, self.written, []
        if commits:
            await self._stack.aclose()
            return written
        error = RolledBack()
        with pytest.raises(RolledBack):
            if not await self._stack.__aexit__(RolledBack, error, None):
                raise error
        return []


class Follower:
    """A feed and the events that its listener received."""

    def __init__(self, database: Database) -> None:
        self.feed = Feed(database)
        self.feed.listeners.append(self._receive)
        self.events: list[DomainEvent] = []

    async def _receive(self, events: Sequence[DomainEvent]) -> None:
        self.events += events

    @property
    def ids(self) -> list[Any]:
        return [event.id for event in self.events]


_STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "write", "commit", "roll back", "read"]), st.integers(0, 3)), max_size=30
)


@given(_STEPS)
@examples(40)
def test_interleaved_transactions_lose_no_event(shared_database: SharedDatabase, steps: list[tuple[str, int]]) -> None:
    """Each committed event is read once, in order, whatever the order of writes, commits, rollbacks and reads."""

    async def run() -> None:
        database = shared_database.database
        user = await make_user(database)
        follower = Follower(database)
        await follower.feed.catch_up()
        writers = [Writer(database, user) for _ in range(1 if database.engine is Engine.SQLITE else 4)]
        committed: list[Any] = []
        try:
            for step, number in steps:
                writer = writers[number % len(writers)]
                if step == "write":
                    await writer.write()
                elif step == "read":
                    await follower.feed.catch_up()
                    assert set(follower.ids) <= set(committed)
                else:
                    committed += await writer.end(commits=step == "commit")
        finally:
            for writer in writers:
                committed += await writer.end(commits=True)
        assert await follower.feed.catch_up()
        assert sorted(follower.ids) == sorted(committed)
        numbers = [event.sequence for event in follower.events]
        assert numbers == sorted(set(numbers))

    shared_database.run(run())


async def test_the_feed_waits_for_the_slower_transaction(postgres_only: DatabaseOptions) -> None:
    """If the second of two transactions commits first, its event is delivered after the first one's."""
    async with connect_database(postgres_only) as database:
        user = await make_user(database)
        follower, slow, fast = Follower(database), Writer(database, user), Writer(database, user)
        assert await follower.feed.catch_up()
        await slow.write()
        await fast.write()
        [later] = await fast.end(commits=True)
        assert not await follower.feed.catch_up()
        assert follower.ids == []
        [earlier] = await slow.end(commits=True)
        assert await follower.feed.catch_up()
        assert follower.ids == [earlier, later]


async def test_a_rolled_back_transaction_does_not_block_the_feed(postgres_only: DatabaseOptions) -> None:
    async with connect_database(postgres_only) as database:
        user = await make_user(database)
        follower, undone, fast = Follower(database), Writer(database, user), Writer(database, user)
        await follower.feed.catch_up()
        await undone.write()
        await fast.write()
        committed = await fast.end(commits=True)
        await undone.end(commits=False)
        assert await follower.feed.catch_up()
        assert follower.ids == committed


async def test_a_transaction_without_events_does_not_block_the_feed(postgres_only: DatabaseOptions) -> None:
    """The feed waits only for transactions that have drawn a sequence number."""
    async with connect_database(postgres_only) as database:
        user = await make_user(database)
        follower, fast = Follower(database), Writer(database, user)
        await follower.feed.catch_up()
        async with database.transaction(SERVICE) as idle:
            await EventStore(idle).of_type("CategoryCreated", limit=1)
            await fast.write()
            committed = await fast.end(commits=True)
            assert await follower.feed.catch_up()
        assert follower.ids == committed


async def test_only_the_service_may_read_the_horizon(postgres_only: DatabaseOptions) -> None:
    async with connect_database(postgres_only) as database:
        user = await make_user(database)
        async with open_snapshot(database, viewer_of(user)) as snapshot:
            with pytest.raises(Forbidden):
                await EventStore(snapshot).horizon()


async def test_more_events_than_one_batch(database: Database) -> None:
    """The feed reads in batches of 500."""
    user = await make_user(database)
    follower = Follower(database)
    await follower.feed.catch_up()
    events = [CategoryCreated(new_id(), user.id) for _ in range(1203)]
    async with database.transaction(viewer_of(user)) as write:
        await EventStore(write).load([row_of_event(event, actor=user.id, at=now()) for event in events])
    assert await follower.feed.catch_up()
    assert follower.ids == [event.id for event in events]


async def _record(database: Database, viewer: Viewer, owner: User, *, fails: bool = False) -> Any:
    async with open_unit_of_work(database, viewer, (), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)) as work:
        event = CategoryCreated(new_id(), owner.id)
        work.record(event)
        if fails:
            await work.store_events_and_react(())
            raise RolledBack
    return event.id


async def test_a_rolled_back_unit_of_work_announces_nothing(database: Database) -> None:
    """This process and, on PostgreSQL, others hear nothing. The next unit of work's event is announced."""
    user = await make_user(database)
    follower = Follower(database)
    announced: list[Any] = []

    async def receive(events: Sequence[Any]) -> None:
        announced.extend(event.id for event in events)

    database.commit_listeners.append(receive)
    await follower.feed.catch_up()
    with pytest.raises(RolledBack):
        await _record(database, viewer_of(user), user, fails=True)
    assert await follower.feed.catch_up()
    assert (follower.ids, announced) == ([], [])
    event = await _record(database, viewer_of(user), user)
    assert await follower.feed.catch_up()
    assert (follower.ids, announced) == ([event], [event])


@pytest.mark.parametrize("data", [{}, {"owner_id": None}, {"owner_id": [5]}, {"owner_id": 5}, {"owner_id": "no UUID"}])
async def test_a_malformed_event_does_not_block_the_feed(database: Database, data: Any) -> None:
    """Policies allow users to store their own events without the gateway. Later events are still delivered."""
    user = await make_user(database)
    follower = Follower(database)
    cache = Cache(memory_store(), b"secret", lifetime=60, entries=100)
    follower.feed.listeners.append(cache.invalidate_for_rows)
    mine = [aggregate_topic(user.id), owner_topic(user.id)]
    async with follower.feed.subscribe(mine, lambda _: True, queue_size=10) as subscriber:
        made = row_of_event(CategoryCreated(user.id, user.id), actor=user.id, at=now()) | {"event_data": data}
        async with database.transaction(viewer_of(user)) as write:
            await EventStore(write).load([made])
        assert await follower.feed.catch_up()
        event = await _record(database, viewer_of(user), user)
        assert await follower.feed.catch_up()
        assert follower.ids == [made["id"], event]
        assert [taken.id for taken in await subscriber.take_all()] == [made["id"], event]
    await cache.close()


@pytest.mark.parametrize("commits", [True, False])
async def test_postgresql_notifies_other_processes_after_the_commit(
    postgres_only: DatabaseOptions,
    commits: bool,  # noqa: FBT001 (a parameter of pytest's)
) -> None:
    """Another process, which polls only once an hour, learns of a commit by NOTIFY, and never of a rollback."""
    from gateway.server.event_announcements import open_announcements  # noqa: PLC0415 (as the process does)
    from gateway.settings import Settings  # noqa: PLC0415 (as above)
    from resolvers.streaming.feed import FeedOptions  # noqa: PLC0415 (as above)

    async with connect_database(postgres_only) as here, connect_database(postgres_only) as there:
        user = await make_user(here)
        announcements = open_announcements(Settings(), there)
        assert announcements is not None
        received = announcements.listen()
        assert await anext(received) == ""
        if commits:
            await _record(here, viewer_of(user), user)
        else:
            with pytest.raises(RolledBack):
                await _record(here, viewer_of(user), user, fails=True)
            await _record(there, viewer_of(user), user)
        assert await anext(received) == (here.process_id if commits else there.process_id)
        await received.aclose()  # type: ignore[attr-defined]

        follower = Follower(there)
        follower.feed = Feed(there, announcements, FeedOptions(poll_interval=3600))
        follower.feed.listeners.append(follower._receive)
        arrived = asyncio.Event()

        async def arrive(_: Sequence[DomainEvent]) -> None:
            arrived.set()

        follower.feed.listeners.append(arrive)
        await follower.feed.catch_up()
        async with follower.feed.run():
            await follower.feed.is_listening.wait()
            event = await _record(here, viewer_of(user), user)
            await arrived.wait()
        assert follower.ids == [event]


async def test_the_feed_continues_on_a_database_that_has_lost_events(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failover, new events have sequence numbers that the feed has already passed."""
    user = await make_user(database)
    follower = Follower(database)
    await _record(database, viewer_of(user), user)
    async with follower.feed.subscribe([ALL_EVENTS], lambda _: True, queue_size=10) as subscriber:
        follower.feed._position = subscriber.since = 1_000_000
        assert await follower.feed.catch_up()
        event = await _record(database, viewer_of(user), user)
        assert await follower.feed.catch_up()
        assert [one.id for one in await subscriber.take_all()] == [event]
    assert follower.ids == [event]
    assert [record.levelname for record in caplog.records if record.name == "resolvers.streaming.feed"] == ["WARNING"]
