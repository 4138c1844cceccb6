"""Ending background tasks."""

import asyncio
from collections.abc import Iterable
from typing import Any

_REPEAT = 2.0
"""Seconds after which a task that still runs is cancelled again. A rollback after a cancellation takes at most this
time."""


async def end_tasks(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancels tasks and waits until they have ended, whatever their results are.

    A library can lose a cancellation: it takes it for its own timeout, or raises another error instead. A task that
    retries after errors would then run for ever, and whoever waits for it too. So the cancellation is repeated.
    """
    ending = set(tasks)
    while running := {task for task in ending if not task.done()}:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_REPEAT)
    for task in ending:
        if not task.cancelled():
            task.exception()  # marks it as retrieved
