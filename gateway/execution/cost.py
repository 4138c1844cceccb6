"""What an operation costs: about as many objects as it asks for, and more for what is dear.

    cost of a field = its @cost + size × (1 + cost of what is selected below it)

for objects, where ``size`` is that of the list, by its @listSize, and 1 without a list; the type's @cost, if it has
one, stands in place of the 1. Values cost nothing. So page sizes multiply down the tree, as GitHub and Shopify have it.
It is an upper bound: what is selected twice, or left out by a directive, counts.

Sizes may be variables, so what is kept of a document is a small program: a list of steps, each of them a sum of earlier
ones times a size. What no variable decides is summed beforehand.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_leaf_type,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter

from schema.types.costs import Cost, ListSize

MOST = 2**31 - 1
"""Numbers stop here, which is as far as GraphQL's Int goes."""

_ASSUMED = 10
"""The length of a list of which the contract says nothing."""

Variables = Mapping[str, Any]
Defaults = Mapping[str, ValueNode]


class Given(NamedTuple):
    """A slicing argument that comes from a variable: its name, the path inside it, its size if it is not given."""

    variable: str
    path: tuple[str, ...]
    default: int | None

    def size(self, variables: Variables) -> int | None:
        """How long a list it asks for; None if it does not say, or says what will be refused later."""
        if self.variable not in variables:
            return self.default
        value = variables[self.variable]
        for name in self.path:
            value = value.get(name) if isinstance(value, dict) else None
        return size_of(value)


class Size(NamedTuple):
    """The greatest size that is given, literally or by variables; otherwise the assumed one."""

    literal: int | None
    given: tuple[Given, ...]
    assumed: int

    def of(self, variables: Variables) -> int:
        """The size in one request."""
        sizes = [self.literal, *(given.size(variables) for given in self.given)]
        return max((size for size in sizes if size is not None), default=self.assumed)


def size_of(value: Any) -> int | None:
    """The size that a value asks for: a number, or a list's length. GraphQL takes one item for a list of it."""
    if isinstance(value, list):
        return len(value)
    if isinstance(value, str):
        return 1
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return max(0, int(min(value, MOST)))


class Later(NamedTuple):
    """An amount that is known when the variables are: the number of a step."""

    step: int


Amount = int | Later


class Step(NamedTuple):
    """``size × (constant + steps)``."""

    constant: int
    steps: tuple[int, ...]
    size: Size | int


@dataclass(frozen=True, slots=True)
class Program:
    """The steps. Every amount is one of them at most, so there are no more than fields and fragments."""

    steps: list[Step] = field(default_factory=list)

    def total(self, amounts: Iterable[Amount], size: Size | int = 1) -> Amount:
        """``size`` times the sum of the amounts."""
        constant, later = 0, []
        for amount in amounts:
            if isinstance(amount, Later):
                later.append(amount.step)
            else:
                constant += amount
        if isinstance(size, int) and not later:
            return min(size * constant, MOST)
        if size == 1 and constant == 0 and len(later) == 1:
            return Later(later[0])
        self.steps.append(Step(min(constant, MOST), tuple(later), size))
        return Later(len(self.steps) - 1)

    def run(self, variables: Variables) -> list[int]:
        """What each step comes to."""
        values: list[int] = []
        for constant, steps, size in self.steps:
            total = constant + sum(values[step] for step in steps)
            values.append(min(total * (size if isinstance(size, int) else size.of(variables)), MOST))
        return values


def declared(made: GraphQLField | GraphQLNamedType, kind: type[Any]) -> Any:
    """The directive of a field or type in the contract, None without one."""
    definition = made.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return next((each for each in getattr(definition, "directives", None) or () if isinstance(each, kind)), None)


def weight_of_call(made: GraphQLField) -> int:
    """What a field costs beyond the objects it answers with."""
    cost = declared(made, Cost)
    return int(cost.weight) if cost else 0


def weight_of_object(made: GraphQLField) -> int:
    """What each object that a field answers with costs."""
    named = get_named_type(made.type)
    if is_leaf_type(named):
        return 0
    cost = declared(named, Cost) if isinstance(named, GraphQLObjectType) else None
    return int(cost.weight) if cost else 1


def sizes(made: GraphQLField, node: FieldNode, defaults: Defaults) -> tuple[Size | int, frozenset[str]]:
    """How long a field's list is, and in which fields of its object it is if not in the field itself."""
    directive: ListSize | None = declared(made, ListSize)
    if directive is None:
        return (_ASSUMED if is_list(made) else 1), frozenset()
    found = [_argument(made, node, path, defaults) for path in directive.slicing_arguments or ()]
    literals = [each for each in found if isinstance(each, int)]
    given = tuple(each for each in found if isinstance(each, Given))
    size = Size(max(literals, default=None), given, directive.assumed_size or _ASSUMED)
    return (size if given else size.of({})), frozenset(directive.sized_fields or ())


def is_list(made: GraphQLField) -> bool:
    """Whether a field answers with a list."""
    kind = made.type.of_type if isinstance(made.type, GraphQLNonNull) else made.type
    return isinstance(kind, GraphQLList)


def _argument(made: GraphQLField, node: FieldNode, path: str, defaults: Defaults) -> int | Given | None:
    """The size that a slicing argument gives; ``path`` leads into it, such as ``input.tasks``."""
    name, *inner = path.split(".")
    value = next((each.value for each in node.arguments or () if each.name.value == name), None)
    value, inner = _inside(value, inner)
    default = None if "." in path else size_of(made.args[name].default_value)
    if isinstance(value, VariableNode):
        literal, _ = _inside(defaults.get(value.name.value), inner)
        return Given(value.name.value, tuple(inner), default if literal is None else _literal(literal))
    return default if value is None else _literal(value)


def _inside(value: ValueNode | None, path: list[str]) -> tuple[ValueNode | None, list[str]]:
    """The value at the end of a path of input fields, or the variable on the way with what is left of the path."""
    while path and isinstance(value, ObjectValueNode):
        value = next((each.value for each in value.fields if each.name.value == path[0]), None)
        path = path[1:]
    return value, path


def _literal(value: ValueNode) -> int | None:
    match value:
        case ListValueNode():
            return len(value.values)
        case IntValueNode():
            return size_of(int(value.value[: len(str(MOST)) + 1]))
        case NullValueNode():
            return None
        case _:
            return 1
