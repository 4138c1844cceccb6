"""The steps of an operation in all transports: prepare it, charge its cost, create its context, format its result."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphql import ExecutionResult
from starlette.types import Scope

from gateway.execution.cost_limiter import MIN_COST, Charge, CostLimiter
from gateway.execution.persisted import PersistedQueries
from gateway.execution.processor import OperationProcessor, PreparedOperation
from gateway.execution.request_errors import RequestError
from gateway.execution.timings import Timings
from gateway.transport.concurrency import ConcurrencyLimit
from gateway.transport.error_responses import RequestRejected, format_graphql_errors
from gateway.transport.held_bytes import HeldBytes
from gateway.transport.idempotency_header import IdempotencyOptions, open_idempotency, reject_reused, requested_key
from gateway.transport.requests import Headers, Parameters
from repositories.core.viewer import Viewer
from repositories.engines.database import Database
from resolvers.reactions import REACTIONS
from resolvers.request.context import Context, RequestOrigin, Services
from resolvers.request.key_claims import Idempotency

_MAX_ADDRESS_LENGTH = 45
"""The length of an IPv6 address that contains an IPv4 address; a zone id after it is cut off."""


@dataclass(frozen=True, slots=True)
class OperationService:
    """The parts of the process that operations use."""

    processor: OperationProcessor
    database: Database
    cost_limiter: CostLimiter
    concurrency_limit: ConcurrencyLimit
    parsing_limit: ConcurrencyLimit
    """Lets one document be parsed at a time, and the event loop run other tasks before the next one."""
    held_bytes: HeldBytes
    persisted_queries: PersistedQueries
    services: Services
    clock: Callable[[], dt.datetime]
    idempotency: IdempotencyOptions

    def open_idempotency(
        self, parameters: Parameters, prepared: PreparedOperation, viewer: Viewer, headers: Headers | None = None
    ) -> Idempotency | None:
        """The idempotency key of a mutation; None without one, and for queries, which have no effect."""
        if prepared.kind != "mutation":
            return None
        key = requested_key(parameters, headers)
        return None if key is None else open_idempotency(self.processor, prepared, viewer, key, self.idempotency)

    async def prepare(
        self, parameters: Parameters, viewer: Viewer, timings: Timings | None = None
    ) -> PreparedOperation:
        """The requested operation, parsed and validated; RequestError if it is invalid or exceeds a limit.

        A rejected operation costs 1, as the cheapest one that runs.
        """
        try:
            text = await self.persisted_queries.resolve(parameters.query, parameters.extensions, str(viewer.key))
            document = self.processor.find_document(text, viewer)
            if document is None:
                async with self.parsing_limit.turn(viewer):
                    document = self.processor.parse(text, viewer, timings)
            return self.processor.prepare(document, parameters.operation_name, viewer, parameters.variables)
        except RequestError:
            if self.cost_limiter.has_budgets:
                await self.cost_limiter.charge(MIN_COST, viewer, viewer.network)
            raise

    async def store_persisted_query(self, parameters: Parameters, viewer: Viewer) -> None:
        """Stores the text of an operation that was sent with its hash. Call it after the operation was prepared."""
        if parameters.query is not None and parameters.extensions:
            await self.persisted_queries.store(parameters.query, parameters.extensions, str(viewer.key))

    async def charge(self, parameters: Parameters, cost: int, viewer: Viewer, origin: RequestOrigin) -> Charge | None:
        """Charges the viewer's budget; RequestError if it is used up.

        None if there are no budgets and the client does not request the cost.
        """
        if not (self.cost_limiter.has_budgets or requests_cost(parameters)):
            return None
        return await self.cost_limiter.charge(cost, viewer, origin.network)

    async def run(  # noqa: PLR0913 (what a request says about how its operation runs)
        self,
        prepared: PreparedOperation,
        viewer: Viewer,
        origin: RequestOrigin,
        *,
        since: int | None = None,
        timings: Timings | None = None,
        max_bytes: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> ExecutionResult:
        """Runs a query or a mutation, and charges what it has cost more than was computed.

        The response has at most ``max_bytes``, by default those of the setting.

        A query runs again on the primary if its snapshot could not be read to the end: if the replica failed between
        two statements, or a table changed.
        """
        context = self.create_context(viewer, origin, since=since, idempotency=idempotency)
        try:
            result = await self.processor.run(prepared, context, timings, max_bytes=max_bytes)
            if context.needs_retry and prepared.kind == "query":
                context = self.create_context(viewer, origin)
                result = await self.processor.run(prepared, context, timings, max_bytes=max_bytes)
        finally:
            await self.charge_time(prepared, context, origin)
        reject_reused(idempotency)
        return result

    async def charge_time(self, prepared: PreparedOperation, context: Context, origin: RequestOrigin) -> None:
        """Charges what an operation, or a delivery of a subscription, has cost more than was computed."""
        if self.cost_limiter.has_budgets:
            seconds = context.connection_time
            await self.cost_limiter.charge_time(seconds, prepared.cost, context.viewer, origin.network)

    def create_context(
        self,
        viewer: Viewer,
        origin: RequestOrigin,
        after: str | None = None,
        since: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> Context:
        """The context of one operation, or of one delivery of a subscription."""
        return Context(
            self.database,
            viewer,
            REACTIONS,
            self.clock,
            services=self.services,
            origin=origin,
            resume_after=after,
            since=since,
            idempotency=idempotency,
        )


def request_origin(scope: Scope, headers: Headers) -> RequestOrigin:
    """The client's address and user agent."""
    peer, agent = scope.get("client"), headers.get(b"user-agent")
    address = peer[0][:_MAX_ADDRESS_LENGTH] if peer else None
    return RequestOrigin(address, agent.decode("latin-1") if agent is not None else None)


def requests_cost(parameters: Parameters) -> bool:
    """Whether the response must carry the cost of the operation in its ``extensions``."""
    return parameters.extensions.get("cost") is True


def format_result(result: ExecutionResult, charge: Charge | None = None) -> dict[str, Any]:
    """The GraphQL response of a result, with its cost if a charge is given."""
    response: dict[str, Any] = {"data": result.data}
    if result.errors:
        response["errors"] = format_graphql_errors(result.errors)
    if result.extensions:
        response["extensions"] = result.extensions
    if charge is not None:
        response.setdefault("extensions", {})["cost"] = charge.to_extension()
    return response


def format_errors(error: Exception) -> list[dict[str, Any]]:
    """The ``errors`` of an operation that has no result. An unexpected exception is masked."""
    if isinstance(error, RequestError):
        return format_graphql_errors(error.errors)
    rejected = error if isinstance(error, RequestRejected) else RequestRejected.from_exception(error)
    return [rejected.error]
