"""Several gateways on one database: what is done through one is seen through the others.

Each is a process of its own, started as people start it, and reached over its socket by real clients.
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

_CHANGED = "subscription($ids: [ID!]) { taskChanged(ids: $ids) { id eventType taskDatabaseId } }"
_DASHBOARD = "subscription { lifeLockDashboard { totalTasks } }"
_CREATE = "mutation($input: CreateTasksInput!) { createTasks(input: $input) { tasks { id } userErrors { message } } }"
_COMPLETE = "mutation($input: CompleteTaskInput!) { completeTask(input: $input) { userErrors { message } } }"
_PEOPLE = 10


@pytest.fixture(params=["NOTIFY", "Redis"])
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings for how processes hear of each other."""
    if request.param == "NOTIFY":
        yield {}
        return
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server(folder) as socket:
        yield {"GATEWAY_REDIS_URL": f"unix://{socket}"}


@contextmanager
def _gateways(siso: Siso, count: int, **settings: str) -> Iterator[list[RunningGateway]]:
    with ExitStack() as stack:
        yield [stack.enter_context(siso.serving(**settings)) for _ in range(count)]


class Person:
    """Somebody with a token, who does things through one gateway or another."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self.http = http
        self.token = token

    async def ask(self, served: RunningGateway, document: str, **given: Any) -> Any:
        """The data of an operation that has no error."""
        body = {"query": document, "variables": given}
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = (await self.http.post(f"{served.url}/graphql", json=body, headers=headers)).json()
        assert "errors" not in answer, answer
        return answer["data"]

    async def create(self, served: RunningGateway, titles: list[str]) -> list[str]:
        """New tasks, in one unit of work; their ids."""
        data = await self.ask(served, _CREATE, input={"tasks": [{"title": title} for title in titles]})
        return [task["id"] for task in data["createTasks"]["tasks"]]

    async def sees(self, served: RunningGateway, followers: int) -> None:
        """Waits until so many follow the events in a gateway; each subscription and each socket is one."""
        async with asyncio.timeout(60):
            asked, wanted = "{ systemHealth { followers } }", {"systemHealth": {"followers": followers}}
            while await self.ask(served, asked) != wanted:  # noqa: ASYNC110 (another process, which tells nobody)
                await asyncio.sleep(0.05)

    async def complete(self, served: RunningGateway, task: str) -> None:
        """Completes a task."""
        assert (await self.ask(served, _COMPLETE, input={"id": task}))["completeTask"] == {"userErrors": []}


@asynccontextmanager
async def _people(options: DatabaseOptions, count: int) -> AsyncIterator[list[Person]]:
    """So many people, and behind them an administrator."""
    issuer = Tokens(TOKEN_SECRET, Settings().jwt_audience)
    async with connect_database(options) as database:
        users = [await make_user(database) for _ in range(count)]
        admin = await make_user(database, role=UserRole.ADMIN)
    tokens = [issuer.issue(user, frozenset({RoleName.USER}), 3600) for user in users]
    tokens.append(issuer.issue(admin, frozenset({RoleName.USER, RoleName.ADMIN}), 3600))
    async with httpx.AsyncClient(timeout=60) as http:
        yield [Person(http, token) for token in tokens]


async def _heard(peer: Peer, count: int) -> list[Any]:
    """The next so many deliveries."""
    found: list[Any] = []
    while len(found) < count:
        message = await peer.receive()
        assert message["type"] == "next", message
        found.append(message["payload"]["data"]["taskChanged"])
    return found


def _memory(served: RunningGateway) -> float:
    """What a gateway uses by now, in megabytes."""
    return float(psutil.Process(served.process.pid).memory_info().rss) / 1e6


async def test_every_subscriber_gets_every_event_it_may_see_once(
    on_postgresql: Siso, postgres_only: DatabaseOptions, line: dict[str, str]
) -> None:
    """200 subscribers over two processes, 1,000 events; 10 who ask for another's tasks get nothing."""
    with _gateways(on_postgresql, 2, **line) as served:
        async with _people(postgres_only, _PEOPLE) as [*people, admin], AsyncExitStack() as stack:
            listening: list[tuple[int, Peer]] = []
            for number in range(200):
                peer = await stack.enter_async_context(
                    connect_socket(served[number % 2].url, people[number // 2 % _PEOPLE].token)
                )
                await peer.subscribe("changes", _CHANGED)
                listening.append((number // 2 % _PEOPLE, peer))
            for gateway in served:
                await admin.sees(gateway, 200)
            made = [
                await person.create(served[number % 2], [f"Task {index}" for index in range(50)])
                for number, person in enumerate(people)
            ]
            strangers = []
            for number in range(10):
                stranger = await stack.enter_async_context(connect_socket(served[number % 2].url, people[number].token))
                await stranger.subscribe("changes", _CHANGED, variables={"ids": made[number - 1]})
                strangers.append(stranger)
            for gateway in served:
                await admin.sees(gateway, 210)

            async def complete(number: int) -> None:
                for index, task in enumerate(made[number]):
                    await people[number].complete(served[index % 2], task)

            await asyncio.gather(*map(complete, range(_PEOPLE)))
            got = await asyncio.gather(*(_heard(peer, 100) for _, peer in listening))
            for peer in [*strangers, *(peer for _, peer in listening)]:
                await peer.wait_until_started()
    whose: dict[str, set[int]] = defaultdict(set)
    for (person, _), changes in zip(listening, got, strict=True):
        assert len({change["id"] for change in changes}) == 100
        by_task: dict[str, list[str]] = defaultdict(list)
        for change in changes:
            by_task[change["taskDatabaseId"]].append(change["eventType"])
            whose[change["taskDatabaseId"]].add(person)
        assert len(by_task) == 50
        assert all(types == ["TaskCreated", "TaskCompleted"] for types in by_task.values())
    assert all(len(persons) == 1 for persons in whose.values())


async def test_a_gateway_that_is_killed_loses_nobody_anything(
    on_postgresql: Siso, postgres_only: DatabaseOptions, line: dict[str, str]
) -> None:
    """While events flow one of two gateways is gone at once; its subscribers go on at the other after their last id."""
    with _gateways(on_postgresql, 2, **line) as served:
        async with _people(postgres_only, 1) as [ada, admin]:
            [first, second] = served

            async def follow() -> list[Any]:
                seen: list[Any] = []
                after: str | None = None
                for gateway in served:
                    async with connect_socket(gateway.url, ada.token) as peer:
                        resumed = {"extensions": {"lastEventId": after}} if after else {}
                        await peer.subscribe("changes", _CHANGED, **resumed)
                        try:
                            while len(seen) < 120:
                                seen += await _heard(peer, 1)
                                after = seen[-1]["id"]
                        except ConnectionClosed:
                            continue
                return seen

            following = [asyncio.ensure_future(follow()) for _ in range(5)]
            await admin.sees(first, 10)
            made: list[str] = []
            for index in range(120):
                made += await ada.create(second, [f"Task {index}"])
                if index == 60:
                    os.kill(first.process.pid, signal.SIGKILL)
            got = await asyncio.gather(*following)
            first.process.communicate()
    for seen in got:
        assert len({change["taskDatabaseId"] for change in seen}) == 120
        assert len({change["id"] for change in seen}) == 120


async def test_the_workers_of_one_gateway_tell_each_other(
    on_postgresql: Siso, postgres_only: DatabaseOptions, line: dict[str, str]
) -> None:
    """`siso serve --workers 2`: whichever of the two a socket or a request meets."""
    with on_postgresql.serving("--workers", "2", **line) as served:
        async with _people(postgres_only, 1) as [ada, _], AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(connect_socket(served.url, ada.token)) for _ in range(8)]
            for peer in peers:
                await peer.subscribe("dashboard", _DASHBOARD)
                assert (await peer.receive())["type"] == "next"
            made = [(await ada.create(served, [f"Task {index}"]))[0] for index in range(10)]
            for peer in peers:
                while (await peer.receive())["payload"]["data"]["lifeLockDashboard"]["totalTasks"] < len(made):
                    pass


@pytest.mark.parametrize("kind", ["redis", "memory"])
async def test_a_write_through_one_is_seen_through_the_other(
    on_postgresql: Siso, postgres_only: DatabaseOptions, tmp_path: Path, kind: str
) -> None:
    """A dashboard that a gateway keeps is stale once another has changed what it shows.

    With Redis that is so before the mutation is answered, in memory as soon as the other one is heard.
    """
    settings = {"GATEWAY_CACHE": kind, "GATEWAY_CACHE_LIFETIME": "3600"}
    asked, health = "{ lifeLockDashboard { totalTasks } }", "{ systemHealth { cache { backend hits stale } } }"
    with ExitStack() as stack:
        if kind == "redis":
            settings["GATEWAY_REDIS_URL"] = f"unix://{stack.enter_context(redis_server(tmp_path))}"
        served = stack.enter_context(_gateways(on_postgresql, 2, **settings))
        async with _people(postgres_only, 1) as [ada, admin]:
            for count in range(1, 11):
                for gateway in (*served, *served):
                    assert await ada.ask(gateway, asked) == {"lifeLockDashboard": {"totalTasks": count - 1}}
                await ada.create(served[count % 2], ["Something"])
                other = served[(count + 1) % 2]
                wanted = {"lifeLockDashboard": {"totalTasks": count}}
                if kind == "redis":
                    assert await ada.ask(other, asked) == wanted
                async with asyncio.timeout(30):
                    while await ada.ask(other, asked) != wanted:
                        pass
            for gateway in served:
                cache = (await admin.ask(gateway, health))["systemHealth"]["cache"]
                assert cache["backend"] == kind
                assert cache["hits"] >= 10
                assert cache["stale"] >= 5


async def test_memory_returns_when_subscribers_leave(on_postgresql: Siso, postgres_only: DatabaseOptions) -> None:
    """Rounds of 100 subscribers who hear 100 events each: later rounds take no more than the first ones."""
    with on_postgresql.serving() as served:
        async with _people(postgres_only, 1) as [ada, admin]:
            used = []
            for _ in range(6):
                async with AsyncExitStack() as stack:
                    peers = [await stack.enter_async_context(connect_socket(served.url, ada.token)) for _ in range(100)]
                    for peer in peers:
                        await peer.subscribe("changes", _CHANGED)
                    await admin.sees(served, 200)
                    for _ in range(2):
                        await ada.create(served, [f"Task {index}" for index in range(50)])
                    await asyncio.gather(*(_heard(peer, 100) for peer in peers))
                await admin.sees(served, 0)
                used.append(_memory(served))
    assert max(used[3:]) < used[1] + 10, used
