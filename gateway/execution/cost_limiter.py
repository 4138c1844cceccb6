"""Checks operations against the limits and charges their costs to budgets. Each operation is measured once."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError, GraphQLSchema, OperationDefinitionNode

from gateway.execution.budget import Budget, BudgetExceeded, BudgetState
from gateway.execution.documents import Document
from gateway.execution.limits import Limits, check_introspection, check_limits, check_variables
from gateway.execution.measurement import Measurement, measure
from gateway.execution.request_errors import RequestError
from repositories.core.errors import GatewayError
from repositories.core.viewer import Viewer

COST_PER_SECOND = 10_000
"""What a second with a database connection costs, if more than the computed cost of the operation."""
MIN_COST = 1
"""What every operation costs at least, because it is read and its text may be stored."""


@dataclass(frozen=True, slots=True)
class Charge:
    """The cost of an operation, the limit for one operation, and the viewer's budget if there are budgets."""

    cost: int
    limit: int
    budget: BudgetState | None

    def to_extension(self) -> dict[str, Any]:
        """The ``extensions.cost`` of a response, for requests with ``extensions: {cost: true}``."""
        state = self.budget
        budget = {"limit": state.limit, "remaining": state.remaining, "reset": state.reset} if state else None
        return {"requested": self.cost, "limit": self.limit, "budget": budget}


class CostLimiter:
    """Computes what operations cost, and rejects those that exceed a limit or the viewer's budget."""

    def __init__(self, schema: GraphQLSchema, limits: Limits, budget: Budget | None = None) -> None:
        self._schema = schema
        self._limits = limits
        self._budget = budget

    def hides_suggestions(self, viewer: Viewer) -> bool:
        """Whether error messages must not suggest names of the schema, which the viewer may not introspect."""
        return not self._limits.may_introspect(viewer)

    def check(
        self, document: Document, operation: OperationDefinitionNode, variables: Mapping[str, Any], viewer: Viewer
    ) -> int:
        """The cost of an operation; RequestError if it exceeds a limit or introspects without permission."""
        try:
            check_variables(variables, self._limits)
            measurement = self._measure(document, operation)
            check_introspection(measurement, viewer, self._limits)
            return max(MIN_COST, check_limits(measurement, variables, self._limits))
        except GraphQLError as error:
            raise _request_error(error) from None

    async def charge(self, cost: int, viewer: Viewer, network: str | None) -> Charge:
        """Charges the viewer's budget, or raises RequestError if too little of it remains."""
        try:
            budget = await self._budget.spend(viewer, network, cost) if self._budget else None
        except GatewayError as error:
            raise _request_error(GraphQLError(error.message, original_error=error)) from None
        return Charge(cost, self._limits.cost, budget)

    async def charge_time(self, seconds: float, cost: int, viewer: Viewer, network: str | None) -> None:
        """Charges the time for which an operation held a connection, as far as its ``cost`` does not cover it.

        The operation has run, so a budget that is used up affects the next one.
        """
        missing = int(seconds * COST_PER_SECOND) - cost
        if self._budget is not None and missing > 0:
            with suppress(BudgetExceeded):
                await self._budget.spend(viewer, network, missing)

    async def close(self) -> None:
        if self._budget is not None:
            await self._budget.close()

    @property
    def has_budgets(self) -> bool:
        """Whether the costs of a viewer's operations are summed up."""
        return self._budget is not None

    def _measure(self, document: Document, operation: OperationDefinitionNode) -> Measurement:
        measurement: Measurement | None = document.measurements.get(id(operation))
        if measurement is None:
            measurement = document.measurements[id(operation)] = measure(self._schema, document.ast, operation)
            document.grow(measurement.size)
        return measurement


def _request_error(error: GraphQLError) -> RequestError:
    cause = error.original_error
    return RequestError([error], cause.status if isinstance(cause, GatewayError) else 400)
