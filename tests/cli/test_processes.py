"""Several gateways on one database: the others show the changes that one of them has made.

Each gateway is a separate `siso serve` process, and real clients connect to its socket.
"""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from gateway.auth.tokens import Tokens
from gateway.settings import Settings
from repositories.engines.database import DatabaseOptions
from repositories.permissions import RoleName
from repositories.tables.identity import UserRole
from tests.api.client import connect_database
from tests.api.sockets import Peer, connect_socket
from tests.cli.conftest import TOKEN_SECRET
from tests.cli.siso import RunningGateway, Siso
from tests.factories import make_user
from tests.stores import redis_server

_TASK_CHANGED = "subscription($ids: [ID!]) { taskChanged(ids: $ids) { id eventType taskDatabaseId } }"
_DASHBOARD = "subscription { lifeLockDashboard { totalTasks } }"
_CREATE = "mutation($input: CreateTasksInput!) { createTasks(input: $input) { tasks { id } userErrors { message } } }"
_COMPLETE = "mutation($input: CompleteTaskInput!) { completeTask(input: $input) { userErrors { message } } }"
_USERS = 10


@pytest.fixture(params=["NOTIFY", "Redis"])
def channel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings for the announcements between processes. The test runs with NOTIFY and with Redis."""
    if request.param == "NOTIFY":
        yield {}
        return
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server(folder) as socket:
        yield {"GATEWAY_REDIS_URL": f"unix://{socket}"}


@contextmanager
def _gateways(siso: Siso, count: int, **settings: str) -> Iterator[list[RunningGateway]]:
    """Without pings, which hundreds of sockets in one process may answer too late on a busy machine."""
    settings = {"GATEWAY_SOCKET_PING_INTERVAL": "0"} | settings
    with ExitStack() as stack:
        yield [stack.enter_context(siso.serving(**settings)) for _ in range(count)]


class UserClient:
    """Sends requests of one user to any of the gateways."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self.http = http
        self.token = token

    async def ask(self, served: RunningGateway, document: str, **variables: Any) -> Any:
        """Returns the data of an operation, which must have no errors."""
        body = {"query": document, "variables": variables}
        headers = {"Authorization": f"Bearer {self.token}"}
        response = (await self.http.post(f"{served.url}/graphql", json=body, headers=headers)).json()
        assert "errors" not in response, response
        return response["data"]

    async def create(self, served: RunningGateway, titles: list[str]) -> list[str]:
        """Creates tasks in one unit of work and returns their ids."""
        data = await self.ask(served, _CREATE, input={"tasks": [{"title": title} for title in titles]})
        return [task["id"] for task in data["createTasks"]["tasks"]]

    async def wait_for_followers(self, served: RunningGateway, followers: int) -> None:
        """Waits until a gateway has this number of followers. Each subscription and each socket is one."""
        async with asyncio.timeout(60):
            query, expected = "{ systemHealth { followers } }", {"systemHealth": {"followers": followers}}
            while await self.ask(served, query) != expected:  # noqa: ASYNC110 (there is no event to wait for)
                await asyncio.sleep(0.05)

    async def complete(self, served: RunningGateway, task: str) -> None:
        assert (await self.ask(served, _COMPLETE, input={"id": task}))["completeTask"] == {"userErrors": []}


@asynccontextmanager
async def _create_users(options: DatabaseOptions, count: int) -> AsyncIterator[list[UserClient]]:
    """Creates users and, last, an admin. Yields their clients."""
    issuer = Tokens(TOKEN_SECRET, Settings().jwt_audience)
    async with connect_database(options) as database:
        users = [await make_user(database) for _ in range(count)]
        admin = await make_user(database, role=UserRole.ADMIN)
    tokens = [issuer.issue(user, frozenset({RoleName.USER}), 3600) for user in users]
    tokens.append(issuer.issue(admin, frozenset({RoleName.USER, RoleName.ADMIN}), 3600))
    async with httpx.AsyncClient(timeout=60) as http:
        yield [UserClient(http, token) for token in tokens]


async def _receive_changes(peer: Peer, count: int) -> list[Any]:
    """Returns the next ``count`` events."""
    changes: list[Any] = []
    while len(changes) < count:
        message = await peer.receive()
        assert message["type"] == "next", message
        changes.append(message["payload"]["data"]["taskChanged"])
    return changes


def _memory(served: RunningGateway) -> float:
    """Returns the resident memory of a gateway in megabytes."""
    return float(psutil.Process(served.process.pid).memory_info().rss) / 1e6


async def test_each_subscriber_receives_each_visible_event_once(
    on_postgresql: Siso, postgres_only: DatabaseOptions, channel: dict[str, str]
) -> None:
    """200 subscribers on two gateways, 1,000 events. 10 subscribers to another user's tasks receive no events."""
    with _gateways(on_postgresql, 2, **channel) as served:
        async with _create_users(postgres_only, _USERS) as [*users, admin], AsyncExitStack() as stack:
            listening: list[tuple[int, Peer]] = []
            for number in range(200):
                peer = await stack.enter_async_context(
                    connect_socket(served[number % 2].url, users[number // 2 % _USERS].token)
                )
                await peer.subscribe("changes", _TASK_CHANGED)
                listening.append((number // 2 % _USERS, peer))
            for gateway in served:
                await admin.wait_for_followers(gateway, 200)
            tasks = [
                await user.create(served[number % 2], [f"Task {index}" for index in range(50)])
                for number, user in enumerate(users)
            ]
            strangers = []
            for number in range(10):
                stranger = await stack.enter_async_context(connect_socket(served[number % 2].url, users[number].token))
                await stranger.subscribe("changes", _TASK_CHANGED, variables={"ids": tasks[number - 1]})
                strangers.append(stranger)
            for gateway in served:
                await admin.wait_for_followers(gateway, 210)

            async def complete(number: int) -> None:
                for index, task in enumerate(tasks[number]):
                    await users[number].complete(served[index % 2], task)

            await asyncio.gather(*map(complete, range(_USERS)))
            received = await asyncio.gather(*(_receive_changes(peer, 100) for _, peer in listening))
            for peer in [*strangers, *(peer for _, peer in listening)]:
                await peer.wait_until_started()
    receivers: dict[str, set[int]] = defaultdict(set)
    for (user, _), changes in zip(listening, received, strict=True):
        assert len({change["id"] for change in changes}) == 100
        by_task: dict[str, list[str]] = defaultdict(list)
        for change in changes:
            by_task[change["taskDatabaseId"]].append(change["eventType"])
            receivers[change["taskDatabaseId"]].add(user)
        assert len(by_task) == 50
        assert all(types == ["TaskCreated", "TaskCompleted"] for types in by_task.values())
    assert all(len(users) == 1 for users in receivers.values())


async def test_subscribers_of_a_killed_gateway_resume_at_another(
    on_postgresql: Siso, postgres_only: DatabaseOptions, channel: dict[str, str]
) -> None:
    """One of two gateways is killed while events arrive. Its subscribers resume after their last event id."""
    with _gateways(on_postgresql, 2, **channel) as served:
        async with _create_users(postgres_only, 1) as [ada, admin]:
            [first, second] = served

            async def follow() -> list[Any]:
                seen: list[Any] = []
                after: str | None = None
                for gateway in served:
                    async with connect_socket(gateway.url, ada.token) as peer:
                        resumed = {"extensions": {"lastEventId": after}} if after else {}
                        await peer.subscribe("changes", _TASK_CHANGED, **resumed)
                        try:
                            while len(seen) < 120:
                                seen += await _receive_changes(peer, 1)
                                after = seen[-1]["id"]
                        except ConnectionClosed:
                            continue
                return seen

            following = [asyncio.ensure_future(follow()) for _ in range(5)]
            await admin.wait_for_followers(first, 10)
            for index in range(120):
                await ada.create(second, [f"Task {index}"])
                if index == 60:
                    os.kill(first.process.pid, signal.SIGKILL)
            received = await asyncio.gather(*following)
            first.process.communicate()
    for seen in received:
        assert len({change["taskDatabaseId"] for change in seen}) == 120
        assert len({change["id"] for change in seen}) == 120


async def test_the_workers_of_one_gateway_announce_events_to_each_other(
    on_postgresql: Siso, postgres_only: DatabaseOptions, channel: dict[str, str]
) -> None:
    """`siso serve --workers 2`, whichever of the workers accepts a socket or a request."""
    with on_postgresql.serving("--workers", "2", **channel) as served:
        async with _create_users(postgres_only, 1) as [ada, _], AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(connect_socket(served.url, ada.token)) for _ in range(8)]
            for peer in peers:
                await peer.subscribe("dashboard", _DASHBOARD)
                assert (await peer.receive())["type"] == "next"
            for index in range(10):
                await ada.create(served, [f"Task {index}"])
            for peer in peers:
                while (await peer.receive())["payload"]["data"]["lifeLockDashboard"]["totalTasks"] < 10:
                    pass


@pytest.mark.parametrize("kind", ["redis", "memory"])
async def test_a_write_makes_the_cache_of_another_gateway_stale(
    on_postgresql: Siso, postgres_only: DatabaseOptions, tmp_path: Path, kind: str
) -> None:
    """A cached dashboard becomes stale when another gateway changes its data.

    With Redis this happens before the mutation's response, with the memory cache when the announcement arrives.
    """
    settings = {"GATEWAY_CACHE": kind, "GATEWAY_CACHE_LIFETIME": "3600"}
    query, health = "{ lifeLockDashboard { totalTasks } }", "{ systemHealth { cache { backend hits stale } } }"
    with ExitStack() as stack:
        if kind == "redis":
            settings["GATEWAY_REDIS_URL"] = f"unix://{stack.enter_context(redis_server(tmp_path))}"
        served = stack.enter_context(_gateways(on_postgresql, 2, **settings))
        async with _create_users(postgres_only, 1) as [ada, admin]:
            for count in range(1, 11):
                for gateway in (*served, *served):
                    assert await ada.ask(gateway, query) == {"lifeLockDashboard": {"totalTasks": count - 1}}
                await ada.create(served[count % 2], ["Something"])
                other = served[(count + 1) % 2]
                expected = {"lifeLockDashboard": {"totalTasks": count}}
                if kind == "redis":
                    assert await ada.ask(other, query) == expected
                async with asyncio.timeout(30):
                    while await ada.ask(other, query) != expected:
                        pass
            for gateway in served:
                cache = (await admin.ask(gateway, health))["systemHealth"]["cache"]
                assert cache["backend"] == kind
                assert cache["hits"] >= 10
                assert cache["stale"] >= 5


async def test_memory_of_disconnected_subscribers_is_released(
    on_postgresql: Siso, postgres_only: DatabaseOptions
) -> None:
    """In each round 100 subscribers receive 100 events. Later rounds use no more memory than the first ones.

    They belong to one viewer, so on a busy machine they wait long for their share of the connections.
    """
    with on_postgresql.serving(GATEWAY_DATABASE_POOL_TIMEOUT="120") as served:
        async with _create_users(postgres_only, 1) as [ada, admin]:
            used = []
            for _ in range(6):
                async with AsyncExitStack() as stack:
                    peers = [await stack.enter_async_context(connect_socket(served.url, ada.token)) for _ in range(100)]
                    for peer in peers:
                        await peer.subscribe("changes", _TASK_CHANGED)
                    await admin.wait_for_followers(served, 200)
                    for _ in range(2):
                        await ada.create(served, [f"Task {index}" for index in range(50)])
                    await asyncio.gather(*(_receive_changes(peer, 100) for peer in peers))
                await admin.wait_for_followers(served, 0)
                used.append(_memory(served))
    assert max(used[3:]) < used[1] + 10, used
