"""Runs a mutation field once for each idempotency key of a viewer."""

from collections.abc import Awaitable, Callable
from typing import Any

from resolvers.request.context import Context
from resolvers.request.key_claims import Replay
from resolvers.request.outcomes import load_outcome


async def run_once(
    context: Context,
    run: Callable[[], Awaitable[Any]],
    *,
    prepares: bool = False,
    repeat: Callable[[Any], Awaitable[Any]] | None = None,
) -> Any:
    """The result of a mutation field: that of ``run``, or of the earlier request if the key has taken effect.

    ``prepares``: ``run`` does other work before its unit of work, so the record is looked up before it.
    ``repeat`` makes the result of a repeated request from the rows of the outcome, for mutations that return other
    values.
    """
    idempotency = context.idempotency
    if idempotency is None:
        return await run()
    try:
        if idempotency.reads_first(prepares=prepares):
            await idempotency.read(context.snapshot, context.now)
        outcome = idempotency.find()
        if outcome is None:
            idempotency.is_running = True
            return await run()
    except Replay as replay:
        outcome = replay.outcome
    finally:
        idempotency.is_running = False
    result = await load_outcome(context.snapshot, outcome)
    return result if repeat is None else await repeat(result)
