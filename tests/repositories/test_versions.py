"""Concurrent changes of the same row: optimistic locking by version, row locks and deadlocks."""

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
async def test_one_of_several_writers_with_the_same_version_succeeds(database: Database, writers: int) -> None:
    """Each of the others receives StaleVersion with the current row."""
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
    for error in stale:
        assert error.current == winner
        assert error.path == ("version",)
        assert error.message == (
            "This is at version 2 now, which is not the one that you read. Read it again and repeat your change."
        )
    async with open_snapshot(database) as snapshot:
        assert await Tasks(snapshot).get(task.id) == winner
    assert winner.version == 2


async def test_the_expected_version_is_that_of_the_caller(database: Database) -> None:
    """The version of the row that was read for the change does not matter."""
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


async def test_the_second_of_two_overlapping_transactions_waits_for_the_first(postgres_only: DatabaseOptions) -> None:
    """If the first one is committed, the second one's version is stale. If it is rolled back, the second succeeds."""
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


async def test_a_locked_row_makes_other_transactions_wait(postgres_only: DatabaseOptions) -> None:
    """They then read the committed row, so no update is lost."""
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


async def test_waiting_for_a_lock_counts_against_the_statement_timeout(postgres_only: DatabaseOptions) -> None:
    async with connect_database(postgres_only, statement_timeout=0.2) as database:
        ada = await make_user(database)
        task = await make_task(database, ada)
        async with database.transaction(viewer_of(ada)) as write:
            await Tasks(write).lock(task.id)
            with pytest.raises(Timeout):
                async with database.transaction(viewer_of(ada)) as other:
                    await Tasks(other).lock(task.id)


async def test_one_transaction_of_a_deadlock_succeeds(postgres_only: DatabaseOptions) -> None:
    """The other one receives a Conflict that asks the user to try again."""
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
        (error,) = [answer for answer in answers if answer != "done"]
        assert isinstance(error, Conflict)
        assert error.message == "Another request changed the same data at the same time. Try again."
        assert "done" in answers


async def _answer(work: object) -> object:
    """The result of a coroutine, or the exception that it raises."""
    (answer,) = await asyncio.gather(work, return_exceptions=True)  # type: ignore[call-overload]
    return answer
