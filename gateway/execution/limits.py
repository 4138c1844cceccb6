"""How much one operation may ask for, checked before it runs.

What it asks for without regard to variables was measured once (gateway/execution/measure.py); what it costs is computed
from that for each request, in microseconds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from graphql import (
    FieldNode,
    GraphQLError,
)

from gateway.execution.cost import MOST, Amount, Later, Variables
from gateway.execution.measurement import Measure
from gateway.settings import Settings
from repositories.core.errors import AccessDenied, Forbidden, QueryTooComplex, Unauthenticated
from repositories.core.viewer import Viewer


class Introspection(StrEnum):
    """Who may ask what the contract is."""

    ALWAYS = "always"
    SIGNED_IN = "signed_in"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one operation may have of each."""

    cost: int
    depth: int
    fields: int
    root_fields: int
    aliases: int
    directives: int
    introspection: Introspection = Introspection.ALWAYS

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """As they are set."""
        return cls(
            cost=settings.max_cost,
            depth=settings.max_depth,
            fields=settings.max_fields,
            root_fields=settings.max_root_fields,
            aliases=settings.max_aliases,
            directives=settings.max_directives,
            introspection=Introspection(settings.introspection_mode()),
        )

    def may_introspect(self, viewer: Viewer) -> bool:
        """Whether the viewer may ask what the contract is; if not, no error suggests names of it either."""
        return self.introspection is Introspection.ALWAYS or (
            self.introspection is Introspection.SIGNED_IN and viewer.is_authenticated
        )


_WORDS = {
    "root_fields": ("has {} fields at its root", "Ask in several operations."),
    "fields": ("selects {} fields", "Select fewer, or ask in several operations."),
    "depth": ("is {} levels deep", "Ask for what is deeper in an operation of its own."),
    "aliases": ("has {} aliases", "Ask in several operations."),
    "directives": ("has {} directives", "Leave out what is not needed."),
    "introspection": ("asks for {} values of the contract", "Ask for fewer types, or less of each."),
    "cost": ("costs {}", "Ask for smaller pages, or for less in them."),
}


def check(measured: Measure, variables: Variables, limits: Limits) -> int:
    """What the operation costs with these variables, or QueryTooComplex, which names the root field to blame."""
    for what in ("root_fields", "fields", "depth", "aliases", "directives", "introspection"):
        limit = measured.introspection_limit if what == "introspection" else getattr(limits, what)
        requested = getattr(measured.total, what)
        if requested > limit:
            raise _refusal(what, requested, limit, [(getattr(tally, what), node) for node, tally in measured.roots])
    values = measured.program.run(variables)
    requested = _value(measured.total.plain, values)
    if requested > limits.cost:
        shares = [(_value(tally.plain, values), node) for node, tally in measured.roots]
        raise _refusal("cost", requested, limits.cost, shares)
    return requested


def _value(amount: Amount, values: Sequence[int]) -> int:
    return values[amount.step] if isinstance(amount, Later) else amount


def _refusal(what: str, requested: int, limit: int, shares: Iterable[tuple[int, FieldNode]]) -> GraphQLError:
    words, hint = _WORDS[what]
    found = words.format(f"{requested:,}" + (" or more" if requested == MOST else ""))
    message = f"This operation {found}; the limit is {limit:,}. {hint}"
    node = max(shares, key=lambda share: share[0])[1]
    return GraphQLError(message, node, original_error=QueryTooComplex(message, requested, limit))


def check_introspection(measured: Measure, viewer: Viewer, limits: Limits) -> None:
    """Refuses to tell what the contract is to whom the setting does not allow it."""
    if measured.total.introspection and not limits.may_introspect(viewer):
        node = next(node for node, tally in measured.roots if tally.introspection)
        error = _closed(limits)
        raise GraphQLError(error.message, node, original_error=error)


def _closed(limits: Limits) -> AccessDenied:
    if limits.introspection is Introspection.NEVER:
        return Forbidden("Introspection is switched off here.")
    return Unauthenticated("Introspection is for those who are signed in: send an Authorization header.")
