"""Concurrent computations of password hashes are bounded, because each takes 64 MiB."""

import asyncio
import os
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest
from argon2 import PasswordHasher

from repositories.engines.database import Database
from resolvers.identity.accounts import PASSWORD_THREADS, Passwords
from tests.api.client import Gateway, serve
from tests.api.people import PASSWORD, make_member
from tests.waiting import until

SLOTS = PASSWORD_THREADS


class HeldHasher(PasswordHasher):
    """Counts the computations that run at the same time. Each of them lasts until the test ends the hold."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.running = self.most = self.started = 0
        self.released = threading.Event()
        self._lock = threading.Lock()

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        del salt
        self._hold()
        return f"hash of {password!r}"

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override] # noqa: A002 (argon2's name)
        del hash, password
        self._hold()
        return True

    def _hold(self) -> None:
        with self._lock:
            self.running += 1
            self.started += 1
            self.most = max(self.most, self.running)
        self.released.wait()
        with self._lock:
            self.running -= 1


@pytest.fixture
def hasher() -> Iterator[HeldHasher]:
    made = HeldHasher()
    yield made
    made.released.set()


async def test_cancelled_requests_occupy_their_threads_until_the_computation_ends(hasher: HeldHasher) -> None:
    """Others wait meanwhile. A computation that is cancelled before it starts does not run."""
    passwords = Passwords(hasher)
    for _ in range(3):
        computations = [passwords.hash("x"), *(passwords.matches("y", "x") for _ in range(3 * SLOTS))]
        tasks = [asyncio.ensure_future(computation) for computation in computations]
        await until(lambda: hasher.running == SLOTS)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {asyncio.CancelledError}
    waiting = asyncio.ensure_future(passwords.matches("y", "x"))
    hasher.released.set()
    assert await waiting
    assert (hasher.most, hasher.started) == (SLOTS, SLOTS + 1)


async def test_a_failed_computation_frees_its_thread() -> None:
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    for _ in range(3 * SLOTS):
        assert not await passwords.matches("no hash", "x")
        with pytest.raises(UnicodeEncodeError):
            await passwords.hash("\ud800")
    assert await passwords.matches(await passwords.hash("x"), "x")


@pytest.mark.parametrize("options", ["sqlite"], indirect=True)
async def test_sign_ins_of_disconnected_clients_do_not_add_up(
    database: Database, monkeypatch: pytest.MonkeyPatch, hasher: HeldHasher
) -> None:
    """40 clients of a real server disconnect while their passwords are verified."""
    monkeypatch.setattr(PasswordHasher, "verify", hasher.verify)
    document = "mutation($input: SignInInput!) { signIn(input: $input) { accessToken userErrors { code } } }"
    gateway = Gateway(database)

    async def sign_in_briefly(url: str, number: int) -> None:
        given = {"email": f"{number}@example.com", "password": PASSWORD}
        async with httpx.AsyncClient(timeout=httpx.Timeout(60, read=0.15)) as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.post(f"{url}/graphql", json={"query": document, "variables": {"input": given}})

    async with serve(gateway.app) as url:
        for start in range(0, 40, 10):
            await asyncio.gather(*(sign_in_briefly(url, number) for number in range(start, start + 10)))
        await until(lambda: hasher.running == SLOTS)
        hasher.released.set()
        await make_member(database)
        async with gateway.http as http:
            given = {"email": "ada@example.com", "password": PASSWORD}
            answer = (await http.post("/graphql", json={"query": document, "variables": {"input": given}})).json()
        assert answer["data"]["signIn"]["accessToken"]
    assert hasher.most == SLOTS


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_threads_run_after_the_event_loop() -> None:
    threads = Passwords()._threads
    assert threads.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result() == 10
    assert os.getpriority(os.PRIO_PROCESS, 0) < 10
    threads.shutdown()
