"""One operation, whatever carries it: its text, its cost, its context, and how what came of it is presented."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphql import ExecutionResult
from starlette.types import Scope

from gateway.execution.cost_limiter import Charge, CostLimiter
from gateway.execution.persisted import PersistedQueries
from gateway.execution.processor import OperationProcessor, Prepared
from gateway.execution.request_errors import RequestError
from gateway.execution.timings import Timings
from gateway.transport import error_responses
from gateway.transport.concurrency import ConcurrencyLimit
from gateway.transport.error_responses import RequestRejected
from gateway.transport.requests import Headers, Parameters
from repositories.core.viewer import Viewer
from repositories.engines.database import Database
from resolvers.reactions import REACTIONS
from resolvers.request.context import Context, RequestOrigin, Services

_LONGEST_ADDRESS = 45
"""Of IPv6 with an IPv4 address in it; a scope beyond it is cut off."""


@dataclass(frozen=True, slots=True)
class Operations:
    """What operations need of the process; ``gate`` says how many of them run at once."""

    pipeline: OperationProcessor
    database: Database
    gauge: CostLimiter
    gate: ConcurrencyLimit
    persisted: PersistedQueries
    services: Services
    clock: Callable[[], dt.datetime]

    async def prepared(self, parameters: Parameters, viewer: Viewer, timings: Timings | None = None) -> Prepared:
        """The operation that is asked for, or RequestError if it is none that its viewer may ask for."""
        text = await self.persisted.text(parameters.query, parameters.extensions)
        return self.pipeline.prepare(text, parameters.operation_name, viewer, parameters.variables, timings)

    async def keep(self, parameters: Parameters) -> None:
        """Keeps the text of an operation that could be prepared, if its client will ask for it by its hash."""
        if parameters.query is not None and parameters.extensions:
            await self.persisted.keep(parameters.query, parameters.extensions)

    async def billed(self, parameters: Parameters, cost: int, viewer: Viewer, client: RequestOrigin) -> Charge | None:
        """What an operation costs, if that is counted or asked for."""
        if not (self.gauge.has_budgets or asks_for_cost(parameters)):
            return None
        return await self.gauge.bill(cost, viewer, client.address)

    def context(
        self, viewer: Viewer, client: RequestOrigin, after: str | None = None, since: int | None = None
    ) -> Context:
        """A new one, for one operation or one delivery of a subscription."""
        return Context(
            self.database,
            viewer,
            REACTIONS,
            self.clock,
            services=self.services,
            client=client,
            after=after,
            since=since,
        )


def client_of(scope: Scope, given: Headers) -> RequestOrigin:
    """Where a request comes from."""
    peer, agent = scope.get("client"), given.get(b"user-agent")
    address = peer[0][:_LONGEST_ADDRESS] if peer else None
    return RequestOrigin(address, agent.decode("latin-1") if agent is not None else None)


def asks_for_cost(parameters: Parameters) -> bool:
    """Whether the answer is to say what the operation costs."""
    return parameters.extensions.get("cost") is True


def presented(result: ExecutionResult, bill: Charge | None = None) -> dict[str, Any]:
    """A result as clients see it, with what it cost if there is a bill."""
    response: dict[str, Any] = {"data": result.data}
    if result.errors:
        response["errors"] = error_responses.present(result.errors)
    if result.extensions:
        response["extensions"] = result.extensions
    if bill is not None:
        response.setdefault("extensions", {})["cost"] = bill.report()
    return response


def failures(error: Exception) -> list[dict[str, Any]]:
    """The errors of an operation without any result. What is nobody's mistake but ours is masked."""
    if isinstance(error, RequestError):
        return error_responses.present(error.errors)
    refused = error if isinstance(error, RequestRejected) else RequestRejected.of(error)
    return [refused.error]
