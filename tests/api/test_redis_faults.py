"""Whatever is wrong with Redis, no request fails that can do without it. Others get SERVICE_UNAVAILABLE."""

import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from gateway.settings import Settings
from repositories.engines.database import Database
from repositories.tables.identity import User
from resolvers.services import circuit_breaker
from tests.api.client import Gateway
from tests.api.people import PASSWORD, TOKENS, make_member
from tests.databases import ON_SQLITE
from tests.execution.test_persisted import by_hash, run_lifespan
from tests.stores import redis_process

pytestmark = [pytest.mark.usefixtures("cheap_passwords"), ON_SQLITE]

Break = Callable[[Any, "subprocess.Popen[str]"], Awaitable[object]]
DASHBOARD = "{ lifeLockDashboard { totalTasks } }"


async def _fill(redis: Any, process: Any) -> None:
    """Reads and PING succeed, writes do not."""
    await redis.config_set("maxmemory", "1")


async def _make_read_only(redis: Any, process: Any) -> None:
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")


async def _require_password(redis: Any, process: Any) -> None:
    await redis.config_set("requirepass", "secret")
    await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")


async def _rename_types(redis: Any, process: Any) -> None:
    """Every key has a value of a type that no command of the gateway expects, and garbage in it."""
    for key in await redis.keys("*"):
        await redis.delete(key)
        await redis.execute_command("XADD", key, "*", b"\xff", b"\xfe")


async def _stop(redis: Any, process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)


async def _kill(redis: Any, process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


@pytest.fixture
def redis_and_process(tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    with redis_process(tmp_path / "redis") as process:
        yield f"unix://{tmp_path / 'redis'}", process
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("fault", [_fill, _make_read_only, _require_password, _rename_types, _stop, _kill])
async def test_requests_during_a_fault_of_redis(
    database: Database,
    ada: User,
    redis_and_process: tuple[str, "subprocess.Popen[str]"],
    monkeypatch: pytest.MonkeyPatch,
    fault: Break,
) -> None:
    """Cached values, persisted queries, budgets and announcements are not needed. Sign-in attempts must be counted."""
    monkeypatch.setattr(circuit_breaker, "RETRY_INTERVAL", 0.01)
    url, process = redis_and_process
    await make_member(database, "member@example.com")
    store = SecretStr(url.replace("unix://", "async+redis+unix://"))
    gateway = Gateway(database, settings=Settings(redis_url=SecretStr(url), cache="redis", rate_limit_store=store))
    client = gateway.client(ada)

    async def send_all() -> None:
        for number in range(5):
            assert (await client.data(DASHBOARD))["lifeLockDashboard"] == {"totalTasks": 0}
            text = f"{{ viewer {{ id }} }} # {number}"
            for given in ({"query": text}, {}):
                body = {"extensions": by_hash(text), **given}
                answer = (await client.http.post("/graphql", json=body, headers=client.headers)).json()
                assert answer["data"]["viewer"] is not None
            assert await client.data('mutation { createCategory(input: {name: ""}) { userErrors { code } } }')

    document = f"mutation($input: SignInInput!) {{ signIn(input: $input) {{ {TOKENS} userErrors {{ code }} }} }}"
    given = {"email": "member@example.com", "password": PASSWORD}
    async with run_lifespan(gateway.app):
        await send_all()
        assert (await gateway.client().data(document, input=given))["signIn"]["accessToken"]
        redis: Any = Redis.from_url(url)
        await fault(redis, process)
        for _ in range(3):
            await send_all()
            answer = await gateway.client().ask(document, input=given)
            assert (answer.codes, answer.data) in (
                (["SERVICE_UNAVAILABLE"], {"signIn": None}),
                # other keys than those with garbage are counted
                *([] if fault is not _rename_types else [([], answer.data)]),
            )
        await redis.aclose()
