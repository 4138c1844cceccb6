"""The cost of a mutation's input: what it gives the database to store, and the event loop to convert."""

from collections.abc import Iterable, Mapping
from typing import Any

from graphql import (
    FieldNode,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    OperationDefinitionNode,
    value_from_ast_untyped,
)

_COST_PER_ITEM = 10
_COST_PER_KILOBYTE = 10


def measure_inputs(
    kind: GraphQLObjectType,
    operation: OperationDefinitionNode,
    roots: Iterable[FieldNode],
    variables: Mapping[str, Any],
) -> int:
    """The cost of the arguments of a mutation's root fields: 10 for each item of a list, and 10 for each 1,000 bytes.

    The same value has the same cost as a literal, in a variable, as a default, and as a single value in the place of a
    list. A variable counts each time it is used, because each field stores it.
    """
    given: dict[str, Any] = {
        each.variable.name.value: value_from_ast_untyped(each.default_value)
        for each in operation.variable_definitions or ()
        if each.default_value is not None
    }
    given |= variables
    items = size = 0
    for node in roots:
        field = kind.fields.get(node.name.value)
        for argument in node.arguments or () if field else ():
            more = _measure(value_from_ast_untyped(argument.value, given), field.args[argument.name.value].type)
            items, size = items + more[0], size + more[1]
    return _COST_PER_ITEM * items + _COST_PER_KILOBYTE * (size // 1000)


def _measure(value: Any, kind: GraphQLInputType) -> tuple[int, int]:
    """The number of items in lists, and the bytes of texts."""
    if isinstance(kind, GraphQLNonNull):
        kind = kind.of_type
    if isinstance(value, str):
        size = len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
        return int(isinstance(kind, GraphQLList)), size
    if isinstance(kind, GraphQLList) and value is not None:
        values = value if isinstance(value, list) else [value]
        parts = [_measure(item, kind.of_type) for item in values]
        return len(values) + sum(part[0] for part in parts), sum(part[1] for part in parts)
    if isinstance(kind, GraphQLInputObjectType) and isinstance(value, dict):
        fields = kind.fields
        parts = [_measure(item, fields[name].type) for name, item in value.items() if name in fields]
        return sum(part[0] for part in parts), sum(part[1] for part in parts)
    return 0, 0
