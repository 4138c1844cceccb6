"""Waiting for a condition that no event announces."""

import asyncio
from collections.abc import Callable
from typing import Any


async def until_ended(before: set[asyncio.Task[Any]]) -> None:
    """Waits until no task is left that is not in ``before``; the error names the tasks that are left."""
    try:
        await until(lambda: asyncio.all_tasks() <= before)
    except TimeoutError:
        left = asyncio.all_tasks() - before
        assert not left, left


async def until(condition: Callable[[], bool]) -> None:
    """Checks the condition every few milliseconds, for 60 seconds at most."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (no event announces it)
            await asyncio.sleep(0.005)
