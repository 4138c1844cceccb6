"""Measures the delay until subscribers receive an event: `python -m benchmarks.events`.

Two gateways use one PostgreSQL. 200 subscribers are connected over WebSocket, half of them to each gateway. Ten users
change tasks through both gateways in turns. Each event is delivered to the 20 subscribers of its user. There are two
measurements:

- sequential changes: the time from the request, and from the response, until each subscriber has received the event.
  It is negative if the event arrives before the response.
- concurrent changes: the time until all subscribers have received the events of 1,000 changes.

Client, gateways and database share the machine. With --redis the gateways announce events through Redis.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import psutil
from rich.progress import Progress

from gateway.auth.tokens import Tokens
from gateway.settings import Settings
from repositories.engines.database import DatabaseOptions
from repositories.engines.factory import open_database
from repositories.permissions import RoleName
from tests.api.sockets import Peer, connect_socket
from tests.cli.conftest import TOKEN_SECRET, create_siso
from tests.cli.siso import RunningGateway
from tests.databases import create_template, postgres_options, postgres_server, temporary_clone
from tests.factories import make_user
from tests.stores import redis_server

USERS = 10
SUBSCRIPTION = "subscription { taskChanged { id } }"
MUTATION = 'mutation { createTask(input: {title: "Something"}) { task { id } userErrors { message } } }'


class Subscriber:
    """A client that records the arrival times of its events."""

    def __init__(self, peer: Peer) -> None:
        self.arrivals: list[float] = []
        self._peer = peer
        self._arrived = asyncio.Event()

    async def receive(self) -> None:
        while True:
            message = await self._peer.connection.recv()
            assert '"next"' in str(message), message
            self.arrivals.append(time.perf_counter())
            self._arrived.set()

    async def wait_for(self, count: int) -> None:
        """Waits until ``count`` events have arrived."""
        while len(self.arrivals) < count:
            self._arrived.clear()
            await self._arrived.wait()


class Bench:
    """The gateways, the users and their subscribers. ``tokens`` are those of the users."""

    def __init__(self, gateways: Sequence[RunningGateway], tokens: Sequence[str], http: httpx.AsyncClient) -> None:
        self.gateways = gateways
        self.tokens = tokens
        self.http = http
        self.subscribers: list[list[Subscriber]] = [[] for _ in tokens]
        self.changes = [0] * len(tokens)

    async def change(self, user: int) -> None:
        """Creates a task of a user, through each gateway in turn."""
        gateway = self.gateways[self.changes[user] % len(self.gateways)]
        self.changes[user] += 1
        headers = {"Authorization": f"Bearer {self.tokens[user]}"}
        response = await self.http.post(f"{gateway.url}/graphql", json={"query": MUTATION}, headers=headers)
        assert response.json()["data"]["createTask"]["userErrors"] == [], response.text

    @asynccontextmanager
    async def subscribe(self, per_user: int) -> AsyncIterator[None]:
        """Connects ``per_user`` subscribers of each user for the block."""
        async with AsyncExitStack() as stack:
            tasks = []
            for user, token in enumerate(self.tokens):
                for index in range(per_user):
                    url = self.gateways[index % len(self.gateways)].url
                    peer = await stack.enter_async_context(connect_socket(url, token))
                    await peer.subscribe("changes", SUBSCRIPTION)
                    subscriber = Subscriber(peer)
                    self.subscribers[user].append(subscriber)
                    tasks.append(asyncio.ensure_future(subscriber.receive()))
            for user in range(len(self.tokens)):
                await self._wait_until_subscribed(user)
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait_until_subscribed(self, user: int) -> None:
        """Changes tasks until all subscribers of the user have received an event, then forgets these events."""
        while True:
            await self.change(user)
            await asyncio.sleep(0.2)
            if all(subscriber.arrivals for subscriber in self.subscribers[user]):
                break
        for subscriber in self.subscribers[user]:
            subscriber.arrivals.clear()

    def memory(self) -> list[float]:
        """Returns the resident memory of each gateway in megabytes."""
        return [psutil.Process(gateway.process.pid).memory_info().rss / 1e6 for gateway in self.gateways]


async def measure_sequential(bench: Bench, events: int, progress: Progress) -> tuple[list[float], list[float]]:
    """Returns the milliseconds from request to arrival and from response to arrival, for every delivery."""
    from_request, from_response = [], []
    for index in progress.track(range(events), description="sequential changes"):
        user, round_ = index % USERS, index // USERS
        requested = time.perf_counter()
        await bench.change(user)
        responded = time.perf_counter()
        for subscriber in bench.subscribers[user]:
            await subscriber.wait_for(round_ + 1)
            from_request.append((subscriber.arrivals[round_] - requested) * 1000)
            from_response.append((subscriber.arrivals[round_] - responded) * 1000)
    return from_request, from_response


async def measure_concurrent(bench: Bench, events: int) -> float:
    """Returns the seconds until all subscribers have received all events."""
    arrived_before = [len(subscribers[0].arrivals) for subscribers in bench.subscribers]

    async def change_all(user: int) -> None:
        for _ in range(events // USERS):
            await bench.change(user)

    begin = time.perf_counter()
    await asyncio.gather(*map(change_all, range(USERS)))
    for user, subscribers in enumerate(bench.subscribers):
        for subscriber in subscribers:
            await subscriber.wait_for(arrived_before[user] + events // USERS)
    return time.perf_counter() - begin


async def measure(gateways: Sequence[RunningGateway], tokens: Sequence[str], options: argparse.Namespace) -> None:
    """Runs both measurements and prints the results."""
    async with httpx.AsyncClient(timeout=60) as http:
        bench = Bench(gateways, tokens, http)
        for user in range(USERS):
            await bench.change(user)
        before = bench.memory()
        with Progress(transient=True) as progress:
            async with bench.subscribe(options.subscribers // USERS):
                during = bench.memory()
                from_request, from_response = await measure_sequential(bench, options.events, progress)
                seconds = await measure_concurrent(bench, options.events)
        await asyncio.sleep(1)
        after = bench.memory()
    channel = "Redis" if options.redis else "NOTIFY"
    print(f"\n{options.events} events to {options.subscribers} subscribers on two gateways, announced by {channel}")
    for name, delays in (("request", from_request), ("response", from_response)):
        quantiles = statistics.quantiles(delays, n=100)
        p50, p90, p99 = (f"{quantiles[percent - 1]:6.1f}" for percent in (50, 90, 99))
        print(f"  delay after the {name:9} p50 {p50} ms   p90 {p90} ms   p99 {p99} ms")
    deliveries = options.events * options.subscribers // USERS
    print(f"  concurrent changes: {seconds:.1f} s, {deliveries / seconds:,.0f} deliveries per second")
    for name, used in (("before", before), ("with subscribers", during), ("afterwards", after)):
        print(f"  memory {name:17} {' and '.join(f'{megabytes:.0f}' for megabytes in used)} MB")


async def _create_users(options: DatabaseOptions) -> list[str]:
    """Creates the users and returns their tokens."""
    database = open_database(options)
    await database.connect()
    users = [await make_user(database) for _ in range(USERS)]
    await database.close()
    issuer = Tokens(TOKEN_SECRET, Settings().jwt_audience)
    return [issuer.issue(user, frozenset({RoleName.USER}), 3600) for user in users]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--subscribers", type=int, default=200, help="the total number, a multiple of 10 (default: 200)"
    )
    parser.add_argument(
        "--events", type=int, default=1000, help="events of each measurement, a multiple of 10 (default: 1000)"
    )
    parser.add_argument("--redis", action="store_true", help="announce events through Redis instead of NOTIFY")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server())
        name = stack.enter_context(temporary_clone(server, create_template(server)))
        options = postgres_options(server, name)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = {"GATEWAY_COST_PER_MINUTE": "0", "GATEWAY_JOBS": "off"}
        if arguments.redis:
            settings["GATEWAY_REDIS_URL"] = f"unix://{stack.enter_context(redis_server(folder))}"
        siso = create_siso(options, folder, server)
        gateways = [stack.enter_context(siso.serving(**settings)) for _ in range(2)]
        tokens = asyncio.run(_create_users(options))
        asyncio.run(measure(gateways, tokens, arguments))


if __name__ == "__main__":
    main()
