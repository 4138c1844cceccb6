"""Nobody who reads the events in their order steps over one that is committed later."""

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


class Undone(Exception):
    """Rolls a transaction back."""


class Writer:
    """A transaction that takes its time."""

    def __init__(self, database: Database, user: User) -> None:
        self._database = database
        self._user = user
        self._stack = AsyncExitStack()
        self._connection: WriteConnection | None = None
        self.written: list[Any] = []

    async def write(self) -> None:
        """Stores an event, in a transaction that stays open."""
        if self._connection is None:
            self._connection = await self._stack.enter_async_context(self._database.transaction(viewer_of(self._user)))
        event = CategoryCreated(new_id(), self._user.id)
        await EventStore(self._connection).load([row_of_event(event, actor=self._user.id, at=now())])
        self.written.append(event.id)

    async def end(self, *, commits: bool) -> list[Any]:
        """Ends it; which events are there now."""
        if self._connection is None:
            return []
        self._connection, written, self.written = None, self.written, []
        if commits:
            await self._stack.aclose()
            return written
        error = Undone()
        with pytest.raises(Undone):
            if not await self._stack.__aexit__(Undone, error, None):
                raise error
        return []


class Follower:
    """A feed, and all that came through it."""

    def __init__(self, database: Database) -> None:
        self.feed = Feed(database)
        self.feed.listeners.append(self._hear)
        self.seen: list[DomainEvent] = []

    async def _hear(self, events: Sequence[DomainEvent]) -> None:
        self.seen += events

    @property
    def ids(self) -> list[Any]:
        """Which events."""
        return [event.id for event in self.seen]


_STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "write", "commit", "roll back", "read"]), st.integers(0, 3)), max_size=30
)


@given(_STEPS)
@examples(40)
def test_interleaved_transactions_lose_nothing(shared_database: SharedDatabase, steps: list[tuple[str, int]]) -> None:
    """Whatever the order of writes, commits, rollbacks and reads: each committed event once, by its number."""

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
        numbers = [event.sequence for event in follower.seen]
        assert numbers == sorted(set(numbers))

    shared_database.run(run())


async def test_who_reads_waits_for_the_slower_transaction(postgres_only: DatabaseOptions) -> None:
    """The second of two transactions commits first: its event comes after that of the first, not instead of it."""
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


async def test_a_transaction_that_is_undone_holds_nobody_up(postgres_only: DatabaseOptions) -> None:
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


async def test_a_transaction_that_writes_no_event_holds_nobody_up(postgres_only: DatabaseOptions) -> None:
    """Only who has drawn a number is waited for: a long transaction elsewhere does not stop the feed."""
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


async def test_only_the_service_reads_how_far_events_are_settled(postgres_only: DatabaseOptions) -> None:
    async with connect_database(postgres_only) as database:
        user = await make_user(database)
        async with open_snapshot(database, viewer_of(user)) as snapshot:
            with pytest.raises(Forbidden):
                await EventStore(snapshot).horizon()


async def test_more_events_than_one_statement_reads(database: Database) -> None:
    """The feed reads in portions of 500."""
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
            raise Undone
    return event.id


async def test_a_unit_that_is_rolled_back_announces_nothing(database: Database) -> None:
    """Neither to this process nor, on PostgreSQL, to others; the event of the next one is announced."""
    user = await make_user(database)
    follower = Follower(database)
    told: list[Any] = []

    async def hear(events: Sequence[Any]) -> None:
        told.extend(event.id for event in events)

    database.commit_listeners.append(hear)
    await follower.feed.catch_up()
    with pytest.raises(Undone):
        await _record(database, viewer_of(user), user, fails=True)
    assert await follower.feed.catch_up()
    assert (follower.ids, told) == ([], [])
    event = await _record(database, viewer_of(user), user)
    assert await follower.feed.catch_up()
    assert (follower.ids, told) == ([event], [event])


@pytest.mark.parametrize("data", [{}, {"owner_id": None}, {"owner_id": [5]}, {"owner_id": 5}, {"owner_id": "nobody"}])
async def test_an_event_that_somebody_made_up_holds_nobody_up(database: Database, data: Any) -> None:
    """Policies let people store events of their own without the gateway. Subscribers and caches get what follows."""
    user = await make_user(database)
    follower = Follower(database)
    cache = Cache(memory_store(100), b"secret", lifetime=60, entries=100)
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
async def test_postgresql_tells_other_processes_after_the_commit(
    postgres_only: DatabaseOptions,
    commits: bool,  # noqa: FBT001 (a parameter of pytest's)
) -> None:
    """A second process hears of a commit by NOTIFY: it looks by itself only once an hour. Of a rollback, never."""
    from gateway.server.redis_announcements import open_announcements  # noqa: PLC0415 (the process' own choice of the line)
    from gateway.settings import Settings  # noqa: PLC0415 (as above)
    from resolvers.streaming.feed import FeedOptions  # noqa: PLC0415 (as above)

    async with connect_database(postgres_only) as here, connect_database(postgres_only) as there:
        user = await make_user(here)
        line = open_announcements(Settings(), there)
        assert line is not None
        heard = line.listen()
        assert await anext(heard) == ""
        if commits:
            await _record(here, viewer_of(user), user)
        else:
            with pytest.raises(Undone):
                await _record(here, viewer_of(user), user, fails=True)
            await _record(there, viewer_of(user), user)
        assert await anext(heard) == (here.process_id if commits else there.process_id)
        await heard.aclose()  # type: ignore[attr-defined]

        follower = Follower(there)
        follower.feed = Feed(there, line, FeedOptions(poll_interval=3600))
        follower.feed.listeners.append(follower._hear)
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


async def test_a_database_that_has_lost_events_is_followed_on(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failover the next events have numbers that were seen before, and are new all the same."""
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
