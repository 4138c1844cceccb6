"""The limits of one operation, checked before it runs.

The counts that do not depend on variables are measured once (gateway/execution/measurement.py). Its cost is
computed from that measurement for each request, which takes microseconds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from graphql import FieldNode, GraphQLError

from gateway.execution.cost import MAX_COUNT, Amount, TermIndex, Variables
from gateway.execution.measurement import Measurement
from gateway.settings import Settings
from repositories.core.errors import AccessDenied, Forbidden, QueryTooComplex, Unauthenticated
from repositories.core.viewer import Viewer


class Introspection(StrEnum):
    """Which viewers may introspect the schema."""

    ALWAYS = "always"
    SIGNED_IN = "signed_in"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Limits:
    """The maximum of each count in one operation, and which viewers may introspect the schema."""

    cost: int
    depth: int
    fields: int
    root_fields: int
    aliases: int
    directives: int
    variable_values: int
    introspection: Introspection = Introspection.ALWAYS

    @classmethod
    def from_settings(cls, settings: Settings) -> "Limits":
        return cls(
            cost=settings.max_cost,
            depth=settings.max_depth,
            fields=settings.max_fields,
            root_fields=settings.max_root_fields,
            aliases=settings.max_aliases,
            directives=settings.max_directives,
            variable_values=settings.max_variable_values,
            introspection=Introspection(settings.introspection_mode()),
        )

    def may_introspect(self, viewer: Viewer) -> bool:
        """Whether the viewer may introspect the schema. If not, error messages suggest no names of it either."""
        return self.introspection is Introspection.ALWAYS or (
            self.introspection is Introspection.SIGNED_IN and viewer.is_authenticated
        )


_MESSAGES = {
    "root_fields": ("has {} root fields", "Split it into several operations."),
    "fields": ("selects {} fields", "Select fewer, or split it into several operations."),
    "depth": ("is {} levels deep", "Select the deeper levels in another operation."),
    "aliases": ("has {} aliases", "Split it into several operations."),
    "directives": ("has {} directives", "Remove those that are not needed."),
    "introspection": ("introspects {} values of the schema", "Select fewer types, or less of each."),
    "cost": ("costs {}", "Request smaller pages, or select less in them."),
}


def check_variables(variables: Variables, limits: Limits) -> None:
    """Rejects variables with too many values, before the time is spent to convert them to their types.

    Items of lists and fields of objects count, and so do the lists and objects themselves. Counting stops at the limit.
    """
    count = 0
    containers: list[Any] = [variables]
    while containers:
        container = containers.pop()
        count += len(container)
        if count > limits.variable_values:
            message = (
                f"The variables have more than {limits.variable_values:,} values. Split them into several requests."
            )
            raise GraphQLError(message, original_error=QueryTooComplex(message, count, limits.variable_values))
        items = container if container.__class__ is list else container.values()
        containers += [item for item in items if item.__class__ is dict or item.__class__ is list]


def check_limits(measurement: Measurement, variables: Variables, limits: Limits) -> int:
    """The cost of an operation with these variables; a QUERY_TOO_COMPLEX error names its most expensive root field."""
    total = measurement.total
    if (
        total.root_fields > limits.root_fields
        or total.fields > limits.fields
        or total.depth > limits.depth
        or total.aliases > limits.aliases
        or total.directives > limits.directives
        or total.introspection > measurement.introspection_limit
    ):
        raise _too_many(measurement, limits)
    values = measurement.formula.evaluate(variables)
    inputs = 0 if measurement.inputs is None else measurement.inputs.evaluate(variables)
    requested = min(_value(total.cost, values) + inputs, MAX_COUNT)
    if requested > limits.cost:
        shares = [(_value(counts.cost, values), node) for node, counts in measurement.roots]
        raise _too_complex("cost", requested, limits.cost, shares)
    return requested


def _too_many(measurement: Measurement, limits: Limits) -> GraphQLError:
    """The error of the first count that exceeds its limit."""
    for name in ("root_fields", "fields", "depth", "aliases", "directives"):
        requested, limit = getattr(measurement.total, name), getattr(limits, name)
        if requested > limit:
            break
    else:
        name, requested, limit = "introspection", measurement.total.introspection, measurement.introspection_limit
    return _too_complex(name, requested, limit, [(getattr(counts, name), node) for node, counts in measurement.roots])


def _value(amount: Amount, values: Sequence[int]) -> int:
    return values[amount.number] if isinstance(amount, TermIndex) else amount


def _too_complex(name: str, requested: int, limit: int, shares: Iterable[tuple[int, FieldNode]]) -> GraphQLError:
    """The error; ``shares`` are the root fields with their parts of the requested number."""
    text, hint = _MESSAGES[name]
    number = f"{requested:,}" + (" or more" if requested == MAX_COUNT else "")
    message = f"This operation {text.format(number)}; the limit is {limit:,}. {hint}"
    node = max(shares, key=lambda share: share[0])[1]
    return GraphQLError(message, node, original_error=QueryTooComplex(message, requested, limit))


def check_introspection(measurement: Measurement, viewer: Viewer, limits: Limits) -> None:
    """Rejects introspection by a viewer who may not introspect the schema."""
    if measurement.total.introspection and not limits.may_introspect(viewer):
        node = next(node for node, counts in measurement.roots if counts.introspection)
        error = _introspection_error(limits)
        raise GraphQLError(error.message, node, original_error=error)


def _introspection_error(limits: Limits) -> AccessDenied:
    if limits.introspection is Introspection.NEVER:
        return Forbidden("Introspection is disabled.")
    return Unauthenticated("Introspection requires authentication: send an Authorization header.")
