"""What subscriptions deliver, to whom, and how often, without a transport."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis import asyncio as redis

from gateway.execution.request_errors import RequestError
from gateway.server.event_announcements import RedisAnnouncements
from repositories.aggregates.event_store import CHANNEL, EventStore, row_of_event
from repositories.core.clock import now
from repositories.core.errors import CannotResume, Forbidden, TooSlow, Unauthenticated, ValidationError
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.life_lock.events import CategoryCreated
from repositories.tables.identity import User, UserRole
from resolvers.services import circuit_breaker
from resolvers.streaming import feed
from resolvers.streaming.feed import Feed, FeedOptions
from tests.api.client import Gateway, connect_database, gid
from tests.api.subscribing import SubscribingProcess, take
from tests.api.test_statements import summarize_statements
from tests.databases import ON_SQLITE
from tests.factories import make_session, make_task, make_tasks, make_user
from tests.stores import redis_process, redis_server
from tests.waiting import until

_CHANGES = "subscription($ids: [ID!]) { taskChanged(ids: $ids) { eventType taskId taskDatabaseId task { title } } }"
_DASHBOARD = "subscription { lifeLockDashboard { totalTasks completedTasks } }"


@pytest_asyncio.fixture
async def process(database: Database) -> Any:
    """At the end no subscriber may be left, and no connection in use."""
    made = SubscribingProcess(database)
    async with made.feed.run():
        yield made
        assert made.feed.subscriber_count == 0
    assert database.pool_state().used == 0


async def _create(gateway: Gateway, user: User, title: str = "Something") -> Any:
    return (await gateway.client(user).do("createTask", "task { id databaseId version }", title=title))["task"]


def _cause(caught: pytest.ExceptionInfo[RequestError]) -> Any:
    return caught.value.errors[0].original_error


async def test_every_change_of_a_task_is_delivered(gateway: Gateway, process: SubscribingProcess, ada: User) -> None:
    """Each change is delivered once, in order, with the state of the task at delivery, null if it is deleted."""
    client = gateway.client(ada)
    async with process.subscribe(ada, _CHANGES) as deliveries:
        changes = []
        task = await _create(gateway, ada, "First")
        changes += await take(deliveries, 1)
        task = (
            await client.do("updateTask", "task { id databaseId version }", id=task["id"], version=1, title="Second")
        )["task"]
        changes += await take(deliveries, 1)
        task = (await client.do("completeTask", "task { id databaseId version }", id=task["id"]))["task"]
        changes += await take(deliveries, 1)
        await client.do("deleteTask", "task { id }", id=task["id"], version=task["version"])
        changes += await take(deliveries, 1)
        await client.do("restoreTask", "task { id }", id=task["id"], version=task["version"] + 1)
        changes += await take(deliveries, 1)
    assert [
        (change["taskChanged"]["eventType"], change["taskChanged"]["task"] and change["taskChanged"]["task"]["title"])
        for change in changes
    ] == [
        ("TaskCreated", "First"),
        ("TaskUpdated", "Second"),
        ("TaskCompleted", "Second"),
        ("TaskDeleted", None),
        ("TaskRestored", "Second"),
    ]
    assert {change["taskChanged"]["taskDatabaseId"] for change in changes} == {task["databaseId"]}
    assert {change["taskChanged"]["taskId"] for change in changes} == {task["id"]}


_ACCOUNT_CHANGES: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "userChanged": ("User", "firstName", "ProfileUpdated", {"firstName": "Augusta"}),
    "userPreferencesChanged": ("UserPreferences", "theme", "PreferencesUpdated", {"theme": "DARK"}),
    "sessionChanged": ("Session", "ip", "SessionRevoked", {"ip": "10.0.0.1"}),
}
"""Type, field, event, and the row after the event."""


@pytest.mark.parametrize("name", _ACCOUNT_CHANGES)
async def test_changes_of_accounts_are_delivered(
    gateway: Gateway, process: SubscribingProcess, ada: User, bob: User, name: str
) -> None:
    """To their owners, and to administrators who name their ids."""
    sessions = {user.id: await make_session(gateway.database, user, ip="10.0.0.1") for user in (ada, bob)}
    admin = await make_user(gateway.database, role=UserRole.ADMIN)
    kind, selection, event, row = _ACCOUNT_CHANGES[name]
    field = kind[0].lower() + kind[1:]
    ids = [gid(kind, sessions[user.id] if name == "sessionChanged" else user.id) for user in (ada, bob)]
    document = f"subscription($ids: [ID!]) {{ {name}(ids: $ids) {{ eventType {field}Id {field} {{ {selection} }} }} }}"
    admins, bobs = SubscribingProcess(gateway.database), SubscribingProcess(gateway.database)
    async with (
        process.subscribe(ada, document) as to_ada,
        admins.feed.run(),
        admins.subscribe(admin, document, ids=ids) as to_admin,
        bobs.feed.run(),
        bobs.subscribe(bob, document, ids=ids) as to_bob,
    ):
        for user in (ada, bob):
            client = gateway.client(user)
            if name == "userChanged":
                payload = await client.do("updateProfile", "user { id }", version=1, firstName="Augusta")
            elif name == "userPreferencesChanged":
                payload = await client.do("updatePreferences", "userPreferences { id }", version=1, theme="DARK")
            else:
                key = gid("Session", sessions[user.id])
                payload = await gateway.client(admin).do("revokeSession", "session { id }", id=key)
            assert payload["userErrors"] == []
        first, second = ({name: {"eventType": event, f"{field}Id": key, field: row}} for key in ids)
        assert await take(to_ada, 1) == [first]
        assert await take(to_admin, 2) == [first, second]
        assert await take(to_bob, 1) == [second]


async def test_events_of_other_users_tasks_are_not_delivered(
    gateway: Gateway, process: SubscribingProcess, ada: User, bob: User, admin: User
) -> None:
    """This holds even for a user who names their ids. An admin may read the tasks and receives the events."""
    [mine, theirs] = [await make_task(gateway.database, user) for user in (ada, bob)]
    ids = [gid("Task", mine), gid("Task", theirs)]
    admins = SubscribingProcess(gateway.database)
    async with (
        process.subscribe(ada, _CHANGES, ids=ids) as to_ada,
        admins.feed.run(),
        admins.subscribe(admin, _CHANGES, ids=ids) as to_admin,
    ):
        await gateway.client(bob).do("completeTask", "task { id }", id=ids[1])
        await gateway.client(ada).do("completeTask", "task { id }", id=ids[0])
        [change] = await take(to_ada, 1)
        everything = await take(to_admin, 2)
    assert change["taskChanged"]["taskDatabaseId"] == str(mine.id)
    assert [change["taskChanged"]["taskDatabaseId"] for change in everything] == [str(theirs.id), str(mine.id)]


async def test_events_are_filtered_by_the_arguments(gateway: Gateway, process: SubscribingProcess, ada: User) -> None:
    """The arguments are ids of tasks and types of events."""
    [one, other] = await make_tasks(gateway.database, ada, 2)
    events = 'subscription { myEvents(types: ["TaskReopened"]) { eventType aggregateId } }'
    another = SubscribingProcess(gateway.database)
    async with (
        process.subscribe(ada, _CHANGES, ids=[gid("Task", other)]) as changes,
        another.feed.run(),
        another.subscribe(ada, events) as reopened,
    ):
        for task in (one, other):
            await gateway.client(ada).do("completeTask", "task { id }", id=gid("Task", task))
        await gateway.client(ada).do("reopenTask", "task { id }", id=gid("Task", one))
        [change] = await take(changes, 1)
        [event] = await take(reopened, 1)
    assert change["taskChanged"]["taskDatabaseId"] == str(other.id)
    assert event == {"myEvents": {"eventType": "TaskReopened", "aggregateId": str(one.id)}}


async def test_my_events_are_the_viewers_and_domain_events_are_all(
    gateway: Gateway, process: SubscribingProcess, ada: User, bob: User, admin: User
) -> None:
    document = 'subscription { domainEvents(aggregateTypes: ["category"]) { eventType userId } }'
    admins = SubscribingProcess(gateway.database)
    async with (
        process.subscribe(ada, "subscription { myEvents { eventType userId } }") as mine,
        admins.feed.run(),
        admins.subscribe(admin, document) as everything,
    ):
        for user in (bob, ada):
            await gateway.client(user).do("createCategory", "category { id }", name="Home", color="#000000")
        await _create(gateway, ada)
        changes, both = await take(mine, 2), await take(everything, 2)
    assert [(one["myEvents"]["eventType"], one["myEvents"]["userId"]) for one in changes] == [
        ("CategoryCreated", str(ada.id)),
        ("TaskCreated", str(ada.id)),
    ]
    assert [one["domainEvents"]["userId"] for one in both] == [str(bob.id), str(ada.id)]


@ON_SQLITE
@pytest.mark.parametrize(
    ("document", "signed_in", "cause"),
    [
        (_CHANGES, False, Unauthenticated),
        (_DASHBOARD, False, Unauthenticated),
        ("subscription { myEvents { id } }", False, Unauthenticated),
        ("subscription { domainEvents { id } }", True, Forbidden),
        ("subscription { taskChanged(ids: []) { id } }", True, ValidationError),
        ('subscription { myEvents(types: ["TaskComplete"]) { id } }', True, ValidationError),
        ('subscription { taskChanged(ids: ["nonsense"]) { id } }', True, ValidationError),
    ],
)
async def test_forbidden_and_invalid_subscriptions_are_rejected(
    process: SubscribingProcess, ada: User, document: str, cause: type[Exception], *, signed_in: bool
) -> None:
    with pytest.raises(RequestError) as caught:
        async with process.subscribe(ada if signed_in else None, document) as deliveries:
            await anext(deliveries)
    assert isinstance(_cause(caught), cause)
    if "TaskComplete" in document:
        assert caught.value.errors[0].message == "There is no `TaskComplete`. Did you mean `TaskCompleted`?"


async def test_a_live_dashboard_is_delivered_at_once_and_after_every_change(
    gateway: Gateway, process: SubscribingProcess, ada: User, bob: User
) -> None:
    """Events of other users cause no new result."""
    async with process.subscribe(ada, _DASHBOARD) as deliveries:
        assert await take(deliveries, 1) == [{"lifeLockDashboard": {"totalTasks": 0, "completedTasks": 0}}]
        await _create(gateway, bob)
        task = await _create(gateway, ada)
        assert await take(deliveries, 1) == [{"lifeLockDashboard": {"totalTasks": 1, "completedTasks": 0}}]
        await gateway.client(ada).do("completeTask", "task { id }", id=task["id"])
        assert await take(deliveries, 1) == [{"lifeLockDashboard": {"totalTasks": 1, "completedTasks": 1}}]


async def test_changes_within_an_interval_cause_one_result(gateway: Gateway, ada: User) -> None:
    """The interval starts with a result. All changes within it cause one result at its end."""
    process = SubscribingProcess(gateway.database, FeedOptions(poll_interval=0.01, live_interval=0.4))
    async with process.feed.run(), process.subscribe(ada, _DASHBOARD) as deliveries:
        await take(deliveries, 1)
        for index in range(5):
            await _create(gateway, ada, f"Task {index}")
        assert await take(deliveries, 1) == [{"lifeLockDashboard": {"totalTasks": 5, "completedTasks": 0}}]
        nothing = asyncio.ensure_future(anext(deliveries))
        await process.feed.catch_up()
        done, _ = await asyncio.wait([nothing], timeout=0.8)
        assert not done
        nothing.cancel()
        await asyncio.gather(nothing, return_exceptions=True)


async def test_a_subscription_resumes_after_an_interruption(
    gateway: Gateway, process: SubscribingProcess, ada: User
) -> None:
    """It resumes after the last received event: missed events come first, then new ones, and none twice."""
    document = "subscription { taskChanged { id eventType } }"
    async with process.subscribe(ada, document) as deliveries:
        await _create(gateway, ada)
        last = (await anext(deliveries)).id
    tasks = [await _create(gateway, ada) for _ in range(3)]
    async with process.subscribe(ada, document, after=last) as deliveries:
        await gateway.client(ada).do("completeTask", "task { id }", id=tasks[0]["id"])
        changes = await take(deliveries, 4)
    assert [one["taskChanged"]["eventType"] for one in changes] == ["TaskCreated"] * 3 + ["TaskCompleted"]
    async with process.subscribe(ada, document, after=changes[-1]["taskChanged"]["id"]) as deliveries:
        await _create(gateway, ada)
        assert [one["taskChanged"]["eventType"] for one in await take(deliveries, 1)] == ["TaskCreated"]


async def test_a_resumed_subscription_delivers_only_visible_events(
    gateway: Gateway, process: SubscribingProcess, ada: User, bob: User
) -> None:
    """The id of another user's event sets the start position, and reveals no event before or after it."""
    await _create(gateway, bob)
    async with process.feed.open_event_store() as events:
        [event] = await events.of_user(bob.id, limit=1)
    await _create(gateway, bob)
    mine = await _create(gateway, ada)
    async with process.subscribe(ada, _CHANGES, after=str(event.id)) as deliveries:
        [change] = await take(deliveries, 1)
    assert change["taskChanged"]["taskDatabaseId"] == mine["databaseId"]


@pytest.mark.parametrize("after", ["nonsense", "01890000-0000-7000-8000-000000000000"])
async def test_resuming_after_an_unknown_event_is_rejected(process: SubscribingProcess, ada: User, after: str) -> None:
    with pytest.raises(RequestError) as caught:
        async with process.subscribe(ada, _CHANGES, after=after) as deliveries:
            await anext(deliveries)
    assert isinstance(_cause(caught), CannotResume)
    assert "Subscribe again" in caught.value.errors[0].message


async def test_resuming_after_too_many_events_is_rejected(gateway: Gateway, ada: User) -> None:
    """Events up to the replay limit are delivered. With one more, the subscription fails instead of skipping it."""
    process = SubscribingProcess(gateway.database, FeedOptions(poll_interval=0.01, replay_limit=3))
    await _create(gateway, ada)
    async with process.feed.open_event_store() as events:
        [first] = await events.of_user(ada.id, limit=1)
    for _ in range(3):
        await _create(gateway, ada)
    async with process.subscribe(ada, _CHANGES, after=str(first.id)) as deliveries:
        assert len(await take(deliveries, 3)) == 3
    await _create(gateway, ada)
    with pytest.raises(RequestError) as caught:
        async with process.subscribe(ada, _CHANGES, after=str(first.id)) as deliveries:
            await take(deliveries, 4)
    assert isinstance(_cause(caught), CannotResume)


async def test_a_slow_subscriber_fails_and_others_do_not(gateway: Gateway, ada: User) -> None:
    """A subscriber with a full queue fails with an error. A subscriber that keeps up receives all events."""
    process = SubscribingProcess(gateway.database, FeedOptions(poll_interval=0.01, queue_size=4))
    document = "subscription { taskChanged { eventType } }"
    async with (
        process.feed.run(),
        process.subscribe(ada, document) as slow,
        process.subscribe(ada, document) as quick,
    ):
        for _ in range(2):
            await _create(gateway, ada)
            assert len(await take(quick, 1)) == 1
        for _ in range(2):
            tasks = [{"title": f"Task {index}"} for index in range(3)]
            await gateway.client(ada).do("createTasks", "tasks { id }", tasks=tasks)
            assert len(await take(quick, 3)) == 3
        with pytest.raises(RequestError) as caught:
            await take(slow, 8)
    assert isinstance(_cause(caught), TooSlow)
    assert "resume after the last event" in caught.value.errors[0].message


async def test_the_statements_of_a_delivery(
    gateway: Gateway, process: SubscribingProcess, ada: User, statements: list[str]
) -> None:
    """The statements for any number of events: one statement to check which are visible, then those of each result."""
    async with process.subscribe(ada, "subscription { taskChanged { task { category { name } } } }") as deliveries:
        await _create(gateway, ada)
        await take(deliveries, 1)
        statements.clear()
        await gateway.client(ada).do("createTasks", "tasks { id }", tasks=[{"title": "One"}, {"title": "Two"}])
        while not _is_waiting(process):  # noqa: ASYNC110 (the feed has no hook for it)
            await asyncio.sleep(0)
        statements.clear()
        await take(deliveries, 2)
        kinds = [
            kind
            for kind in summarize_statements([text for text in statements if "horizon" not in text])
            if "events" not in kind
        ]
    assert kinds == ["SELECT tasks", "SELECT tasks", "SELECT tasks"]


def _is_waiting(process: SubscribingProcess) -> bool:
    return any(one._queue for followers in process.feed._subscribers.values() for one in followers)


async def test_processes_announce_events_through_redis(
    gateway: Gateway, options: DatabaseOptions, ada: User, tmp_path: Path
) -> None:
    """A process that polls only once an hour receives the event of another process at once."""
    with redis_server(tmp_path) as socket:
        async with connect_database(options) as there:
            process = SubscribingProcess(there)
            process.feed = Feed(there, RedisAnnouncements(f"unix://{socket}"), FeedOptions(poll_interval=3600))
            sender = Feed(gateway.database, RedisAnnouncements(f"unix://{socket}"))
            running = sender.run(), process.feed.run()
            async with running[0], running[1], process.subscribe(ada, _CHANGES) as deliveries:
                await process.feed.is_listening.wait()
                await _create(gateway, ada)
                assert len(await take(deliveries, 1)) == 1


async def test_messages_that_are_no_announcements_are_ignored(
    gateway: Gateway, options: DatabaseOptions, ada: User, tmp_path: Path
) -> None:
    """Messages of other programs on the channel do not end the subscription."""
    with redis_server(tmp_path) as socket:
        url = f"unix://{socket}"
        async with connect_database(options) as there, redis.from_url(url) as other:
            process = SubscribingProcess(there)
            process.feed = Feed(there, RedisAnnouncements(url), FeedOptions(poll_interval=3600))
            sender = Feed(gateway.database, RedisAnnouncements(url))
            running = sender.run(), process.feed.run()
            async with running[0], running[1], process.subscribe(ada, _CHANGES) as deliveries:
                await process.feed.is_listening.wait()
                assert await other.publish(CHANNEL, b"\xff\xfe") == 2
                await _create(gateway, ada)
                assert len(await take(deliveries, 1)) == 1


class CountingAnnouncements(RedisAnnouncements):
    """Counts the attempts to subscribe."""

    attempts = 0

    def listen(self) -> AsyncIterator[str]:
        self.attempts += 1
        return super().listen()


@ON_SQLITE
async def test_an_outage_of_announcements_is_logged_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of the outage is logged once, too. Without the log, polling would hide the outage."""
    monkeypatch.setattr(feed, "RETRY_INTERVAL", 0.01)
    socket = tmp_path / "redis"
    announcements = CountingAnnouncements(f"unix://{socket}")
    listening = Feed(database, announcements)
    with ExitStack() as servers:
        async with listening.run():
            await until(lambda: announcements.attempts > 2)
            servers.enter_context(redis_process(socket))
            await listening.is_listening.wait()
    assert caplog.messages == [
        (
            "The subscription to announcements of events is unavailable (ConnectionError): "
            "events of other processes are found by polling."
        ),
        "The subscription to announcements of events is available again.",
    ]


async def test_announcements_are_published_again_after_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(circuit_breaker, "RETRY_INTERVAL", 0.01)
    socket = tmp_path / "redis"
    announcements = RedisAnnouncements(f"unix://{socket}")
    for _ in range(3):
        await announcements.publish("here")
    with redis_process(socket):
        received = announcements.listen()
        assert await anext(received) == ""
        await until(lambda: len(caplog.messages) > 1)
        await announcements.publish("here")
        assert await anext(received) == "here"
        await received.aclose()  # type: ignore[attr-defined]
        await announcements.close()
    assert caplog.messages == [
        (
            "Redis (announcements of events) is unavailable (ConnectionError): "
            "other processes find the events of this process by polling."
        ),
        "Redis (announcements of events) is available again.",
    ]


async def test_events_without_an_announcement_are_found_by_polling(
    gateway: Gateway, process: SubscribingProcess, ada: User
) -> None:
    """Bulk imports and other programs announce nothing. The feed finds their events by polling."""
    async with process.subscribe(ada, "subscription { myEvents { eventType } }") as deliveries:
        async with gateway.database.transaction(SERVICE) as write:
            await EventStore(write).load([row_of_event(CategoryCreated(new_id(), ada.id), actor=ada.id, at=now())])
        assert await take(deliveries, 1) == [{"myEvents": {"eventType": "CategoryCreated"}}]
