"""The cost of an operation: about the number of objects it requests, plus the declared cost of expensive fields.

    cost of a field = its @cost + its conditions + size × (1 + cost of the selection below it)

for fields with objects. ``size`` is the size of the list by its @listSize, 1 without a list. If the type has a @cost,
it takes the place of the 1. Leaf fields cost nothing. A condition of a filter costs its @cost, 1 without one. So page
sizes multiply down the tree, as in the limits of GitHub and Shopify. The cost is an upper bound: fields that are
selected twice or left out by a directive count.

Sizes may come from variables. Each document stores a :class:`CostFormula`, a list of terms: each term is a sum of
earlier terms multiplied by a size. Amounts that do not depend on variables are numbers from the start.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLType,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_named_type,
    is_leaf_type,
    value_from_ast_untyped,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter

from schema.types.costs import Cost, ListSize

FILTER = "filter"
"""The name of the argument with conditions."""

MAX_COUNT = 2**31 - 1
"""Costs and counts are capped at the greatest Int of GraphQL."""

_DEFAULT_SIZE = 10
"""The size of a list for which the schema declares none."""

Variables = Mapping[str, Any]
Defaults = Mapping[str, ValueNode]


class VariableSize(NamedTuple):
    """The size that a slicing argument takes from a variable, or from a value inside of it.

    ``path`` are the names of input fields inside the variable. ``if_missing`` is the size if the variable is not given,
    ``if_omitted`` if the variable is an object without the last field of the path.
    """

    variable: str
    path: tuple[str, ...]
    is_list: bool
    if_missing: int | None
    if_omitted: int | None

    def resolve(self, variables: Variables) -> int | None:
        """The size, None if there is none or if the value is invalid and will be rejected later."""
        if self.variable not in variables:
            return self.if_missing
        value = variables[self.variable]
        for name in self.path:
            if not isinstance(value, dict):
                return None
            if name not in value:
                return self.if_omitted
            value = value[name]
        return size_of(value, is_list=self.is_list)


class Size(NamedTuple):
    """The size of a list: the greatest of the slicing arguments, the assumed size without any."""

    literal: int | None
    from_variables: tuple[VariableSize, ...]
    assumed: int

    def resolve(self, variables: Variables) -> int:
        sizes = [self.literal, *(size.resolve(variables) for size in self.from_variables)]
        return max((size for size in sizes if size is not None), default=self.assumed)


def size_of(value: Any, *, is_list: bool) -> int | None:
    """The size that a value asks for: the length of a list, or a number. A single value is a list with one item."""
    if is_list:
        return None if value is None else len(value) if isinstance(value, list) else 1
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return max(0, int(min(value, MAX_COUNT)))


class TermIndex(NamedTuple):
    """An amount that depends on variables: the index (``number``) of its term in the formula."""

    number: int


Amount = int | TermIndex


class Conditions(NamedTuple):
    """The conditions of a filter argument: the cost of those that are literals, and the variables with the others."""

    literal: int
    from_variables: "tuple[ConditionVariable, ...]"

    def resolve(self, variables: Variables) -> int:
        """What the conditions cost together."""
        return min(self.literal + sum(each.resolve(variables) for each in self.from_variables), MAX_COUNT)


class ConditionVariable(NamedTuple):
    """A variable with a filter, a part of it or the value of a condition. ``weight`` is that of the condition."""

    name: str
    type: GraphQLNamedType
    weight: int
    default: Any

    def resolve(self, variables: Variables) -> int:
        value = variables.get(self.name, self.default)
        return 0 if value is Undefined else _conditions_cost(value, self.type, self.weight)


class Term(NamedTuple):
    """``size × (constant + sum of the terms with these indexes)``."""

    constant: int
    terms: tuple[int, ...]
    size: Size | Conditions | int


@dataclass(frozen=True, slots=True)
class CostFormula:
    """The terms of an operation's cost. There are no more of them than fields and fragments in the document."""

    terms: list[Term] = field(default_factory=list)

    def add(self, amounts: Iterable[Amount], size: Size | Conditions | int = 1) -> Amount:
        """``size`` times the sum of the amounts; a new term is added only if it depends on variables."""
        constant, terms = 0, []
        for amount in amounts:
            if isinstance(amount, TermIndex):
                terms.append(amount.number)
            else:
                constant += amount
        if isinstance(size, int) and not terms:
            return min(size * constant, MAX_COUNT)
        if size == 1 and constant == 0 and len(terms) == 1:
            return TermIndex(terms[0])
        self.terms.append(Term(min(constant, MAX_COUNT), tuple(terms), size))
        return TermIndex(len(self.terms) - 1)

    def evaluate(self, variables: Variables) -> list[int]:
        values: list[int] = []
        for constant, terms, size in self.terms:
            total = constant + sum(values[index] for index in terms)
            values.append(min(total * (size if isinstance(size, int) else size.resolve(variables)), MAX_COUNT))
        return values


def _find_directive(definition: GraphQLField | GraphQLInputField | GraphQLNamedType, kind: type[Any]) -> Any:
    """The directive of a field or type in the schema, None if it has none."""
    published = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return next((each for each in getattr(published, "directives", None) or () if isinstance(each, kind)), None)


def call_weight(definition: GraphQLField) -> int:
    """The cost of a call of a field in addition to its objects."""
    cost = _find_directive(definition, Cost)
    return int(cost.weight) if cost else 0


def object_weight(definition: GraphQLField) -> int:
    """The cost of each object of a field."""
    named = get_named_type(definition.type)
    if is_leaf_type(named):
        return 0
    cost = _find_directive(named, Cost) if isinstance(named, GraphQLObjectType) else None
    return int(cost.weight) if cost else 1


def find_list_size(definition: GraphQLField, node: FieldNode, defaults: Defaults) -> tuple[Size | int, frozenset[str]]:
    """The size of a field's list, and the fields of its object that hold the list if it is not the field itself."""
    directive: ListSize | None = _find_directive(definition, ListSize)
    if directive is None:
        return (_DEFAULT_SIZE if _is_list(definition.type) else 1), frozenset()
    sizes = [_argument_size(definition, node, path, defaults) for path in directive.slicing_arguments or ()]
    literals = [size for size in sizes if isinstance(size, int)]
    from_variables = tuple(size for size in sizes if isinstance(size, VariableSize))
    size = Size(max(literals, default=None), from_variables, directive.assumed_size or _DEFAULT_SIZE)
    return (size if from_variables else size.resolve({})), frozenset(directive.sized_fields or ())


def conditions_of(definition: GraphQLField, node: FieldNode, defaults: Defaults) -> Conditions | int:
    """The cost of the conditions in the argument ``filter`` of a field; 0 if it has none."""
    argument = next((each for each in node.arguments or () if each.name.value == FILTER), None)
    if argument is None:
        return 0
    variables: list[ConditionVariable] = []
    literal = _literal_conditions(argument.value, definition.args[FILTER].type, 1, defaults, variables)
    return Conditions(literal, tuple(variables)) if variables else literal


def _literal_conditions(
    node: ValueNode, kind: GraphQLInputType, weight: int, defaults: Defaults, variables: list[ConditionVariable]
) -> int:
    """The cost of the conditions that are literals. Those of variables are added to ``variables``."""
    named = get_named_type(kind)
    if isinstance(node, VariableNode):
        name = node.name.value
        default = value_from_ast_untyped(defaults[name]) if name in defaults else Undefined
        variables.append(ConditionVariable(name, named, weight, default))
        return 0
    if not isinstance(named, GraphQLInputObjectType):
        return weight * max(1, len(node.values) if isinstance(node, ListValueNode) else 1)
    if isinstance(node, ListValueNode):
        return sum(_literal_conditions(each, kind, weight, defaults, variables) for each in node.values)
    if not isinstance(node, ObjectValueNode):
        return 0
    return sum(
        _literal_conditions(each.value, inner.type, _condition_weight(inner), defaults, variables)
        for each in node.fields
        if (inner := named.fields.get(each.name.value)) is not None
    )


def _condition_weight(definition: GraphQLInputField) -> int:
    cost = _find_directive(definition, Cost)
    return int(cost.weight) if cost else 1


def _conditions_cost(value: Any, named: GraphQLNamedType, weight: int) -> int:
    """The sum of the weights of the conditions in a filter, or in a part of it. Each item of a list of values counts.

    A filter whose values have other types is rejected later.
    """
    values = value if isinstance(value, list) else [value]
    if not isinstance(named, GraphQLInputObjectType):
        return min(weight * max(1, len(values)), MAX_COUNT)
    total = 0
    for each in values:
        for name, inner in each.items() if isinstance(each, dict) else ():
            definition = named.fields.get(name)
            if definition is not None:
                total += _conditions_cost(inner, get_named_type(definition.type), _condition_weight(definition))
    return min(total, MAX_COUNT)


def _is_list(kind: GraphQLType) -> bool:
    return isinstance(kind.of_type if isinstance(kind, GraphQLNonNull) else kind, GraphQLList)


def _argument_size(
    definition: GraphQLField, node: FieldNode, path: str, defaults: Defaults
) -> int | VariableSize | None:
    """The size that a slicing argument gives; ``path`` leads into the argument, such as ``input.tasks``."""
    name, *inner = path.split(".")
    target: GraphQLArgument | GraphQLInputField = definition.args[name]
    for step in inner:
        target = cast("GraphQLInputObjectType", get_named_type(target.type)).fields[step]
    is_list = _is_list(target.type)
    default = None if target.default_value is Undefined else size_of(target.default_value, is_list=is_list)
    value, rest = _follow(next((each.value for each in node.arguments or () if each.name.value == name), None), inner)
    if not isinstance(value, VariableNode):
        return default if value is None else _literal_size(value, is_list=is_list)
    variable = value.name.value
    literal, _ = _follow(defaults.get(variable), rest)
    if_missing = default if literal is None else _literal_size(literal, is_list=is_list)
    return VariableSize(variable, tuple(rest), is_list, if_missing, default)


def _follow(value: ValueNode | None, path: list[str]) -> tuple[ValueNode | None, list[str]]:
    """The value at the end of a path of input fields, or the first variable on it and the rest of the path."""
    while path and isinstance(value, ObjectValueNode):
        value = next((each.value for each in value.fields if each.name.value == path[0]), None)
        path = path[1:]
    return value, path


def _literal_size(value: ValueNode, *, is_list: bool) -> int | None:
    match value:
        case NullValueNode():
            return None
        case ListValueNode() if is_list:
            return len(value.values)
        case IntValueNode() if not is_list:
            return size_of(int(value.value[: len(str(MAX_COUNT)) + 1]), is_list=False)
        case _:
            return 1 if is_list else None
