"""Waiting for a condition that no event announces."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool]) -> None:
    """Checks the condition every few milliseconds, for 60 seconds at most."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (no event announces it)
            await asyncio.sleep(0.005)
