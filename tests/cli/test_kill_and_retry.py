"""Clients repeat their requests with the same idempotency key while gateways are killed: each takes effect once."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from gateway.auth.tokens import Tokens
from gateway.settings import Settings
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.gamification.points import Points
from repositories.permissions import RoleName
from repositories.sql.filters import Compare, Op
from repositories.sql.statements import Statement, scalar
from repositories.tables.gamification import Reward, RewardRedemption
from repositories.tables.identity import User
from repositories.tables.life_lock import Task
from tests.api.client import connect_database, gid
from tests.cli.conftest import TOKEN_SECRET
from tests.cli.siso import RunningGateway, Siso
from tests.factories import make_points, make_reward, make_user

CALLS = 100
KILLS = 6
CLIENTS = 6
"""Requests that run at the same time."""

_RETRY_DELAY = 0.02
"""Seconds until a client repeats a request that got no answer."""

_CREATE = "mutation($i: CreateTaskInput!) { createTask(input: $i) { task { id title } userErrors { message } } }"
_REDEEM = (
    "mutation($i: RedeemRewardInput!) { redeemReward(input: $i) { rewardRedemption { id } userErrors { message } } }"
)


class Fleet:
    """Gateways on one database, some of which are killed after random answers and started again."""

    def __init__(self, siso: Siso, count: int, seed: int, stack: ExitStack) -> None:
        self._siso = siso
        self._stack = stack
        self._random = random.Random(seed)  # noqa: S311 (chooses the moments of the kills)
        self.gateways: list[RunningGateway] = [stack.enter_context(siso.serving()) for _ in range(count)]
        self._kill_after = set(self._random.sample(range(5, CALLS - 5), KILLS))
        self._answers = 0
        self.replays = 0

    async def count_answer(self, response: httpx.Response) -> None:
        self._answers += 1
        self.replays += response.headers.get("Idempotency-Replayed") == "true"
        if self._answers in self._kill_after:
            await self._kill(self._random.randrange(len(self.gateways)))

    async def _kill(self, index: int) -> None:
        process = self.gateways[index].process
        process.kill()
        await asyncio.to_thread(process.communicate)
        start = self._siso.serving
        self.gateways[index] = await asyncio.to_thread(lambda: self._stack.enter_context(start()))


Send = Callable[[str, dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]


@asynccontextmanager
async def _sender(fleet: Fleet, token: str) -> AsyncIterator[Send]:
    """Sends a mutation with a key until it is answered, each time to the next gateway."""
    async with httpx.AsyncClient(timeout=30) as http:

        async def send(document: str, body: dict[str, Any]) -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": body["key"]}
            for attempt in range(10_000):
                gateway = fleet.gateways[attempt % len(fleet.gateways)]
                try:
                    response = await http.post(
                        f"{gateway.url}/graphql",
                        json={"query": document, "variables": {"i": body["input"]}},
                        headers=headers,
                    )
                except httpx.TransportError:
                    await asyncio.sleep(_RETRY_DELAY)
                    continue
                answer: dict[str, Any] = response.json()
                codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
                if codes & {"SERVICE_UNAVAILABLE", "TIMEOUT"}:
                    await asyncio.sleep(_RETRY_DELAY)
                    continue
                assert codes == set(), answer
                await fleet.count_answer(response)
                return answer
            message = "the request was never answered"
            raise AssertionError(message)

        yield send


async def _send_all(send: Send, document: str, inputs: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Sends requests, some at the same time. Returns the payloads."""
    waiting = list(enumerate(inputs))
    payloads: list[dict[str, Any]] = []

    async def work() -> None:
        while waiting:
            index, values = waiting.pop()
            answer = await send(document, {"key": f"{name} {index}", "input": values})
            payloads.append(answer["data"][name])

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(work())
    assert [payload["userErrors"] for payload in payloads] == [[]] * len(inputs)
    return payloads


async def _count(database: Database, table: sa.Table) -> int:
    async with database.transaction(SERVICE) as write:
        return await write.one(Statement(sa.select(sa.func.count()).select_from(table), scalar(int)))


@pytest.mark.parametrize("gateways", [1, 2])
async def test_each_request_takes_effect_once(
    siso: Siso, options: DatabaseOptions, gateways: int, record_property: Callable[[str, object], None]
) -> None:
    siso.settings["GATEWAY_JWT_SECRET"] = TOKEN_SECRET
    async with connect_database(options) as database:
        ada = await make_user(database)
        await make_points(database, ada, 1000)
        reward = await make_reward(database, cost=3, stock=CALLS)
        with ExitStack() as stack:
            for seed, check in enumerate((_check_tasks, _check_redemptions)):
                fleet = Fleet(siso, gateways, seed, stack)
                async with _sender(fleet, _token(ada)) as send:
                    await check(send, database, ada, reward)
                record_property(f"{check.__name__} with {KILLS} kills", f"{fleet.replays} responses were repeated")


def _token(user: User) -> str:
    return Tokens(TOKEN_SECRET, Settings().jwt_audience).issue(user, frozenset({RoleName.USER}), 3600)


async def _check_tasks(send: Send, database: Database, ada: User, reward: Reward) -> None:
    del ada, reward
    titles = [f"Task {index}" for index in range(CALLS)]
    payloads = await _send_all(send, _CREATE, [{"title": title} for title in titles], "createTask")
    assert sorted(payload["task"]["title"] for payload in payloads) == sorted(titles)
    assert len({payload["task"]["id"] for payload in payloads}) == CALLS
    assert await _count(database, Task.__table__) == CALLS


async def _check_redemptions(send: Send, database: Database, ada: User, reward: Reward) -> None:
    """The stock and the points suffice for exactly these redemptions."""
    payloads = await _send_all(send, _REDEEM, [{"rewardId": gid("Reward", reward)}] * CALLS, "redeemReward")
    assert len({payload["rewardRedemption"]["id"] for payload in payloads}) == CALLS
    assert await _count(database, RewardRedemption.__table__) == CALLS
    async with database.transaction(SERVICE) as write:
        entries = await Points(write).find(Compare("user_id", Op.EQ, ada.id), limit=1000)
        stock = Statement(sa.select(Reward.__table__.c.stock), scalar(int))
        assert await write.rows(stock) == [0]
    assert sum(entry.points for entry in entries) == 1000 - 3 * CALLS
