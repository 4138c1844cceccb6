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
    ValueNode,
    VariableNode,
    value_from_ast_untyped,
)

_COST_PER_ITEM = 10
_COST_PER_KILOBYTE = 10


class InputCost:
    """The cost of the arguments of a mutation's root fields: 10 for each item of a list, and 10 for each 1,000 bytes.

    The same value has the same cost as a literal, in a variable, as a default, and as a single value in the place of a
    list. A variable counts each time it is used, because each field stores it.
    """

    __slots__ = ("_defaults", "_literals", "_variables")

    def __init__(self, kind: GraphQLObjectType, operation: OperationDefinitionNode, roots: Iterable[FieldNode]) -> None:
        self._defaults: dict[str, Any] = {
            each.variable.name.value: value_from_ast_untyped(each.default_value)
            for each in operation.variable_definitions or ()
            if each.default_value is not None
        }
        self._variables: list[tuple[str, GraphQLInputType]] = []
        self._literals: list[tuple[ValueNode, GraphQLInputType]] = []
        for node in roots:
            field = kind.fields.get(node.name.value)
            for argument in node.arguments or () if field else ():
                value, type_ = argument.value, field.args[argument.name.value].type
                if isinstance(value, VariableNode):
                    self._variables.append((value.name.value, type_))
                else:
                    self._literals.append((value, type_))

    def evaluate(self, variables: Mapping[str, Any]) -> int:
        """The cost with these variables."""
        given = {**self._defaults, **variables} if self._defaults else variables
        values = [(given.get(name), kind) for name, kind in self._variables]
        values += [(value_from_ast_untyped(node, given), kind) for node, kind in self._literals]  # type: ignore[arg-type]
        items, size = _measure(values)
        return _COST_PER_ITEM * items + _COST_PER_KILOBYTE * (size // 1000)


def _measure(values: list[tuple[Any, GraphQLInputType]]) -> tuple[int, int]:
    """The number of items in lists, and the bytes of texts."""
    items = size = 0
    while values:
        value, kind = values.pop()
        if isinstance(kind, GraphQLNonNull):
            kind = kind.of_type
        if isinstance(kind, GraphQLList) and value is not None:
            inner = value if isinstance(value, list) else [value]
            items += len(inner)
            values += [(item, kind.of_type) for item in inner]
        elif isinstance(value, str):
            size += len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
        elif isinstance(value, dict) and isinstance(kind, GraphQLInputObjectType):
            fields = kind.fields
            values += [(item, fields[name].type) for name, item in value.items() if name in fields]
    return items, size
