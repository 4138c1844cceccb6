"""The limits as operations meet them: each is measured once and that is kept with its document; then it is billed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError, GraphQLSchema, OperationDefinitionNode

from gateway.execution.budget import Budget, Spent
from gateway.execution.documents import Document
from gateway.execution.limits import Limits, check, check_introspection
from gateway.execution.measurement import Measure, measure
from gateway.execution.request_errors import RequestError
from repositories.core.errors import GatewayError
from repositories.core.viewer import Viewer


@dataclass(frozen=True, slots=True)
class Charge:
    """What an operation costs, and what is left of its viewer's budget if there are budgets."""

    requested: int
    limit: int
    spent: Spent | None

    def report(self) -> dict[str, Any]:
        """`extensions.cost` of the answer, for those who ask for it with `extensions: {cost: true}`."""
        budget = self.spent
        told = {"limit": budget.limit, "remaining": budget.remaining, "reset": budget.reset} if budget else None
        return {"requested": self.requested, "limit": self.limit, "budget": told}


class CostLimiter:
    """What operations cost, and whether they may be run."""

    def __init__(self, schema: GraphQLSchema, limits: Limits, budget: Budget | None = None) -> None:
        self._schema = schema
        self._limits = limits
        self._budget = budget

    def hides_suggestions(self, viewer: Viewer) -> bool:
        """Whether errors must not name what the viewer may not ask for."""
        return not self._limits.may_introspect(viewer)

    def cost(
        self, document: Document, operation: OperationDefinitionNode, variables: Mapping[str, Any], viewer: Viewer
    ) -> int:
        """What an operation costs, or RequestError if it asks for too much or for what the viewer may not know."""
        try:
            measured = self._measured(document, operation)
            check_introspection(measured, viewer, self._limits)
            return check(measured, variables, self._limits)
        except GraphQLError as error:
            raise _request_error(error) from None

    async def bill(self, cost: int, viewer: Viewer, address: str | None) -> Charge:
        """Takes what an operation costs from its viewer's budget, or RequestError if there is not enough left."""
        try:
            spent = await self._budget.spend(viewer, address, cost) if self._budget else None
        except GatewayError as error:
            raise _request_error(GraphQLError(error.message, original_error=error)) from None
        return Charge(cost, self._limits.cost, spent)

    async def close(self) -> None:
        if self._budget is not None:
            await self._budget.close()

    @property
    def has_budgets(self) -> bool:
        """Whether anything is counted from one operation to the next."""
        return self._budget is not None

    def _measured(self, document: Document, operation: OperationDefinitionNode) -> Measure:
        key = id(operation)
        if document.cost is None:
            document.cost = {}
        measured: Measure | None = document.cost.get(key)
        if measured is None:
            measured = document.cost[key] = measure(self._schema, document.ast, operation)
        return measured


def _request_error(error: GraphQLError) -> RequestError:
    cause = error.original_error
    return RequestError([error], cause.status if isinstance(cause, GatewayError) else 400)
