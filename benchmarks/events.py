"""How long a change takes until its subscribers have it: `python -m benchmarks.events`.

Two gateways on one PostgreSQL, 200 subscribers over WebSocket, half at each; ten people change tasks, through both
gateways by turns. Each event reaches the 20 subscribers of its person. Two things are timed:

- one change after the other: from the moment at which a mutation was asked for, and from the moment at which it was
  answered, until each of its subscribers has the event (less than nothing if it has it before);
- all at once: how long 1,000 changes take until everybody has everything.

Client, gateways and database share the machine. With --redis the gateways tell each other through Redis.
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
from repositories.engines.factory import open_database
from repositories.permissions import RoleName
from tests.api.sockets import Peer, connected_to
from tests.cli.conftest import TOKEN_SECRET, of
from tests.cli.siso import Served
from tests.databases import cloned, create_template, postgres_options, postgres_server
from tests.factories import make_user
from tests.stores import redis_server

PEOPLE = 10
CHANGED = "subscription { taskChanged { id } }"
CREATE = 'mutation { createTask(input: {title: "Something"}) { task { id } userErrors { message } } }'


class Subscriber:
    """A client that notes when events arrive."""

    def __init__(self, peer: Peer) -> None:
        self.arrivals: list[float] = []
        self._peer = peer
        self._is_new = asyncio.Event()

    async def listen(self) -> None:
        """Takes what comes."""
        while True:
            message = await self._peer.connection.recv()
            assert '"next"' in str(message), message
            self.arrivals.append(time.perf_counter())
            self._is_new.set()

    async def has(self, count: int) -> None:
        """Waits until so many have arrived."""
        while len(self.arrivals) < count:
            self._is_new.clear()
            await self._is_new.wait()


class Bench:
    """Gateways, people and their subscribers."""

    def __init__(self, served: Sequence[Served], tokens: Sequence[str], http: httpx.AsyncClient) -> None:
        self.served = served
        self.tokens = tokens
        self.http = http
        self.subscribers: list[list[Subscriber]] = [[] for _ in tokens]
        self.done = [0] * len(tokens)

    async def change(self, number: int) -> None:
        """One change of one person, through one gateway or another."""
        served = self.served[self.done[number] % len(self.served)]
        self.done[number] += 1
        headers = {"Authorization": f"Bearer {self.tokens[number]}"}
        answer = await self.http.post(f"{served.url}/graphql", json={"query": CREATE}, headers=headers)
        assert answer.json()["data"]["createTask"]["userErrors"] == [], answer.text

    @asynccontextmanager
    async def subscribed(self, each: int) -> AsyncIterator[None]:
        """So many subscribers for every person."""
        async with AsyncExitStack() as stack:
            tasks = []
            for number, token in enumerate(self.tokens):
                for index in range(each):
                    url = self.served[index % len(self.served)].url
                    peer = await stack.enter_async_context(connected_to(url, token))
                    await peer.subscribe("changes", CHANGED)
                    subscriber = Subscriber(peer)
                    self.subscribers[number].append(subscriber)
                    tasks.append(asyncio.ensure_future(subscriber.listen()))
            for number in range(len(self.tokens)):
                await self._has_begun(number)
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _has_begun(self, number: int) -> None:
        """Changes something until everybody has heard of something, and then forgets what was heard."""
        while True:
            await self.change(number)
            await asyncio.sleep(0.2)
            if all(subscriber.arrivals for subscriber in self.subscribers[number]):
                break
        for subscriber in self.subscribers[number]:
            subscriber.arrivals.clear()

    def memory(self) -> list[float]:
        """What each gateway uses, in megabytes."""
        return [psutil.Process(served.process.pid).memory_info().rss / 1e6 for served in self.served]


async def one_by_one(bench: Bench, events: int, progress: Progress) -> tuple[list[float], list[float]]:
    """Milliseconds from question and from answer to arrival, of every delivery."""
    asked, answered = [], []
    for index in progress.track(range(events), description="one after the other"):
        number, turn = index % PEOPLE, index // PEOPLE
        begin = time.perf_counter()
        await bench.change(number)
        end = time.perf_counter()
        for subscriber in bench.subscribers[number]:
            await subscriber.has(turn + 1)
            asked.append((subscriber.arrivals[turn] - begin) * 1000)
            answered.append((subscriber.arrivals[turn] - end) * 1000)
    return asked, answered


async def at_once(bench: Bench, events: int) -> float:
    """Seconds until everybody has everything."""
    had = [len(subscribers[0].arrivals) for subscribers in bench.subscribers]

    async def change_all(number: int) -> None:
        for _ in range(events // PEOPLE):
            await bench.change(number)

    begin = time.perf_counter()
    await asyncio.gather(*map(change_all, range(PEOPLE)))
    for number, subscribers in enumerate(bench.subscribers):
        for subscriber in subscribers:
            await subscriber.has(had[number] + events // PEOPLE)
    return time.perf_counter() - begin


async def measure(served: Sequence[Served], tokens: Sequence[str], given: argparse.Namespace) -> None:
    """Prints what was measured."""
    async with httpx.AsyncClient(timeout=60) as http:
        bench = Bench(served, tokens, http)
        for number in range(PEOPLE):
            await bench.change(number)
        before = bench.memory()
        with Progress(transient=True) as progress:
            async with bench.subscribed(given.subscribers // PEOPLE):
                during = bench.memory()
                asked, answered = await one_by_one(bench, given.events, progress)
                seconds = await at_once(bench, given.events)
        await asyncio.sleep(1)
        after = bench.memory()
    line = "Redis" if given.redis else "NOTIFY"
    print(f"\n{given.events} events to {given.subscribers} subscribers over two gateways, told by {line}")
    for name, found in (("asked for", asked), ("answered", answered)):
        quantiles = statistics.quantiles(found, n=100)
        middle, most, nearly_all = (f"{quantiles[percent - 1]:6.1f}" for percent in (50, 90, 99))
        print(f"  delay after it was {name:9} median {middle} ms   p90 {most}   p99 {nearly_all}")
    deliveries = given.events * given.subscribers // PEOPLE
    print(f"  all at once: {seconds:.1f} s, {deliveries / seconds:,.0f} deliveries a second")
    for name, used in (("before", before), ("with subscribers", during), ("after they left", after)):
        print(f"  memory {name:17} {' and '.join(f'{one:.0f}' for one in used)} MB")


async def _tokens(options: object) -> list[str]:
    database = open_database(options)  # type: ignore[arg-type]
    await database.connect()
    users = [await make_user(database) for _ in range(PEOPLE)]
    await database.close()
    issuer = Tokens(TOKEN_SECRET, Settings().jwt_audience)
    return [issuer.issue(user, frozenset({RoleName.USER}), 3600) for user in users]


def main() -> None:
    """Starts everything, measures, and ends everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=200, help="how many in all, a multiple of 10 (200)")
    parser.add_argument("--events", type=int, default=1000, help="how many in each part, a multiple of 10 (1000)")
    parser.add_argument("--redis", action="store_true", help="tell processes through Redis, not by NOTIFY")
    given = parser.parse_args()
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server())
        name = stack.enter_context(cloned(server, create_template(server)))
        options = postgres_options(server, name)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = {"GATEWAY_COST_PER_MINUTE": "0", "GATEWAY_JOBS": "off"}
        if given.redis:
            settings["GATEWAY_REDIS_URL"] = f"unix://{stack.enter_context(redis_server(folder))}"
        siso = of(options, folder, server)
        served = [stack.enter_context(siso.serving(**settings)) for _ in range(2)]
        tokens = asyncio.run(_tokens(options))
        asyncio.run(measure(served, tokens, given))


if __name__ == "__main__":
    main()
