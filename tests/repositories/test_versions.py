"""Two people change the same row at the same time."""

import asyncio

import pytest

from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.errors import Conflict, StaleVersion, Timeout
from repositories.engines.database import Database, DatabaseOptions
from repositories.life_lock.tasks import Tasks
from repositories.tables.life_lock import Task
from tests.factories import make_task, make_tasks, make_user, viewer_of
from tests.repositories.support import connect_database, open_snapshot, until_blocked


@pytest.mark.parametrize("writers", [2, 8])
async def test_one_wins(database: Database, writers: int) -> None:
    """Of many writers with the same version one wins; each other gets StaleVersion with the row as it is now."""
    ada = await make_user(database)
    task = await make_task(database, ada)
    ready = asyncio.Barrier(writers)

    async def write(title: str) -> Task:
        await ready.wait()
        async with open_unit_of_work(database, viewer_of(ada), ()) as work:
            return await work.repository(Tasks).change(task, title=title)

    answers = await asyncio.gather(*(write(f"By {index}") for index in range(writers)), return_exceptions=True)
    (winner,) = [answer for answer in answers if isinstance(answer, Task)]
    stale = [answer for answer in answers if isinstance(answer, StaleVersion)]
    assert len(stale) == writers - 1
    for refusal in stale:
        assert refusal.current == winner
        assert refusal.path == ("version",)
        assert refusal.message == (
            "This was changed after you read it; it is now at version 2. Read it again and repeat your change."
        )
    async with open_snapshot(database) as snapshot:
        assert await Tasks(snapshot).get(task.id) == winner
    assert winner.version == 2


async def test_an_expected_version(database: Database) -> None:
    """The version that the caller saw counts, not the one that was read for the change."""
    ada = await make_user(database)
    task = await make_task(database, ada)
    async with database.transaction(viewer_of(ada)) as write:
        current = await Tasks(write).change(task, title="Second")
        for expected in (1, 3, 0, -1):
            with pytest.raises(StaleVersion) as caught:
                await Tasks(write).change(current, expected=expected, title="Third")
            assert caught.value.current == current
        third = await Tasks(write).change(current, expected=2, title="Third")
    assert (third.version, third.title) == (3, "Third")


async def test_two_transactions_that_overlap(postgres_only: DatabaseOptions) -> None:
    """The second writer waits for the first one's commit and then finds its version stale; not for its rollback."""
    async with connect_database(postgres_only) as database:
        ada = await make_user(database)
        for commits in (True, False):
            task = await make_task(database, ada)
            second_asks = asyncio.Event()

            async def second(task: Task = task, asks: asyncio.Event = second_asks) -> Task:
                async with open_unit_of_work(database, viewer_of(ada), ()) as work:
                    asks.set()
                    return await work.repository(Tasks).change(task, title="Second")

            async with asyncio.TaskGroup() as group:
                first = database.transaction(viewer_of(ada))
                write = await first.__aenter__()
                await Tasks(write).change(task, title="First")
                waiting = group.create_task(_answer(second()))
                await second_asks.wait()
                await until_blocked(database, 1)
                assert not waiting.done()
                if commits:
                    await first.__aexit__(None, None, None)
                else:
                    assert not await first.__aexit__(LookupError, LookupError(), None)
            answer = waiting.result()
            if commits:
                assert isinstance(answer, StaleVersion)
                assert isinstance(answer.current, Task)
                assert answer.current.title == "First"
            else:
                assert isinstance(answer, Task)
                assert (answer.title, answer.version) == ("Second", 2)


async def test_locked_makes_others_wait(postgres_only: DatabaseOptions) -> None:
    """Who locks a row second sees what the first one left, and adds to it: no update is lost."""
    async with connect_database(postgres_only) as database:
        ada = await make_user(database)
        task = await make_task(database, ada, priority_level=1)

        async def raise_priority() -> None:
            async with database.transaction(viewer_of(ada)) as write:
                current = await Tasks(write).lock(task.id)
                await Tasks(write).change(current, priority_level=current.priority_level + 1)

        async with database.transaction(viewer_of(ada)) as write:
            current = await Tasks(write).lock(task.id)
            others = [asyncio.ensure_future(raise_priority()) for _ in range(3)]
            await until_blocked(database, 3)
            assert not any(other.done() for other in others)
            await Tasks(write).change(current, title="Locked")
        await asyncio.gather(*others)
        async with open_snapshot(database) as snapshot:
            left = await Tasks(snapshot).get(task.id)
    assert (left.title, left.priority_level, left.version) == ("Locked", 4, 5)


async def test_a_lock_that_takes_too_long(postgres_only: DatabaseOptions) -> None:
    """Waiting for a lock counts against the statement's limit."""
    async with connect_database(postgres_only, statement_timeout=0.2) as database:
        ada = await make_user(database)
        task = await make_task(database, ada)
        async with database.transaction(viewer_of(ada)) as write:
            await Tasks(write).lock(task.id)
            with pytest.raises(Timeout):
                async with database.transaction(viewer_of(ada)) as other:
                    await Tasks(other).lock(task.id)


async def test_a_deadlock(postgres_only: DatabaseOptions) -> None:
    """Two that wait for each other: one is refused and may try again, the other goes on."""
    async with connect_database(postgres_only) as database:
        ada = await make_user(database)
        one, two = await make_tasks(database, ada, 2)
        both = asyncio.Barrier(2)

        async def lock(first: Task, second: Task) -> str:
            async with database.transaction(viewer_of(ada)) as write:
                await Tasks(write).lock(first.id)
                await both.wait()
                await Tasks(write).lock(second.id)
                return "done"

        answers = await asyncio.gather(_answer(lock(one, two)), _answer(lock(two, one)))
        (refused,) = [answer for answer in answers if answer != "done"]
        assert isinstance(refused, Conflict)
        assert refused.message == "Another request changed the same data at the same time. Try again."
        assert "done" in answers


async def _answer(work: object) -> object:
    """What a coroutine returns or raises."""
    (answer,) = await asyncio.gather(work, return_exceptions=True)  # type: ignore[call-overload]
    return answer
