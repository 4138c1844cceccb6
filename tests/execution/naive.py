"""The cost of an operation the plain way: everything spelled out, with nothing but the printed contract to go by."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    Undefined,
    build_schema,
    get_directive_values,
    get_named_type,
    is_leaf_type,
    value_from_ast_untyped,
)

from schema import schema

CONTRACT: GraphQLSchema = build_schema(schema.as_str())


class Counts(NamedTuple):
    """What an operation asks for."""

    cost: int
    depth: int
    fields: int
    root_fields: int
    aliases: int
    directives: int


def expand(document: DocumentNode, variables: Mapping[str, Any]) -> Counts:
    """What the only operation of a document asks for."""
    operation = next(each for each in document.definitions if isinstance(each, OperationDefinitionNode))
    defaults = {
        each.variable.name.value: value_from_ast_untyped(each.default_value)
        for each in operation.variable_definitions or ()
        if each.default_value
    }
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    found = _Expansion(fragments, defaults | dict(variables)).of_set(operation.selection_set, "Query", 1, [])
    sums = Counts(*(sum(values) for values in zip(*found, strict=True)))
    return sums._replace(depth=max(each.depth for each in found))


def _directive(node: Any, name: str) -> Mapping[str, Any]:
    definition = CONTRACT.get_directive(name)
    assert definition is not None
    return get_directive_values(definition, node) or {} if node else {}


class _Expansion:
    """Everything, as often as it is asked for."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], given: Mapping[str, Any]) -> None:
        self.fragments = fragments
        self.given = dict(given)

    def of_set(self, selections: SelectionSetNode, parent: str, size: int, sized: list[str]) -> list[Counts]:
        """Of each selection, fragments replaced by what is in them."""
        return [found for each in selections.selections for found in self.of_selection(each, parent, size, sized)]

    def of_selection(self, node: Any, parent: str, size: int, sized: list[str]) -> list[Counts]:
        """Of a field, or of what is in a fragment."""
        if isinstance(node, FieldNode):
            return [self.of_field(node, parent, size, sized)]
        directives = Counts(0, 0, 0, 0, 0, len(node.directives or ()))
        if isinstance(node, FragmentSpreadNode):
            node = self.fragments[node.name.value]
        kind = node.type_condition.name.value if node.type_condition else parent
        return [directives, *self.of_set(node.selection_set, kind, size, sized)]

    def of_field(self, node: FieldNode, parent: str, size: int, sized: list[str]) -> Counts:
        """Of a field with all that is below it."""
        field = CONTRACT.get_field(CONTRACT.type_map[parent], node.name.value)  # type: ignore[arg-type]
        assert field is not None
        kind = get_named_type(field.type)
        own, wrapped = self.size_of(field, node), _directive(field.ast_node, "listSize").get("sizedFields", [])
        below = self.of_set(node.selection_set, kind.name, own, wrapped) if node.selection_set else []
        call = int(_directive(field.ast_node, "cost").get("weight", 0))
        row = 0 if is_leaf_type(kind) else int(_directive(kind.ast_node, "cost").get("weight", 1))
        times = size if node.name.value in sized else 1 if wrapped else own
        return Counts(
            call + times * (row + sum(each.cost for each in below)),
            1 + max((each.depth for each in below), default=0),
            1 + sum(each.fields for each in below),
            1,
            (node.alias is not None) + sum(each.aliases for each in below),
            len(node.directives or ()) + sum(each.directives for each in below),
        )

    def size_of(self, field: GraphQLField, node: FieldNode) -> int:
        """How long the field's list is."""
        sizing = _directive(field.ast_node, "listSize")
        if not sizing:
            return 10 if "[" in str(field.type) else 1
        arguments = {each.name.value: each.value for each in node.arguments or ()}
        found: list[int] = []
        for name in sizing.get("slicingArguments", []):
            default = field.args[name].default
            value: Any = default.value if default is not None else Undefined
            if default is not None and default.literal is not None:
                value = value_from_ast_untyped(default.literal)
            if name in arguments:
                asked = value_from_ast_untyped(arguments[name], self.given)
                value = value if asked is Undefined else asked
            if isinstance(value, int | list):
                found.append(len(value) if isinstance(value, list) else max(value, 0))
        return max(found) if found else int(sizing.get("assumedSize", 10))
