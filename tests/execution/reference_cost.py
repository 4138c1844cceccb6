"""A simple reference for the cost of an operation: expands every fragment, and reads only the printed SDL."""

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

PRINTED: GraphQLSchema = build_schema(schema.as_str())


class Counts(NamedTuple):
    cost: int
    depth: int
    fields: int
    root_fields: int
    aliases: int
    directives: int


def expand(document: DocumentNode, variables: Mapping[str, Any]) -> Counts:
    """The counts of the only operation of a document."""
    operation = next(each for each in document.definitions if isinstance(each, OperationDefinitionNode))
    defaults = {
        each.variable.name.value: value_from_ast_untyped(each.default_value)
        for each in operation.variable_definitions or ()
        if each.default_value
    }
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    counts = _Expansion(fragments, defaults | dict(variables)).count_set(operation.selection_set, "Query", 1, [])
    sums = Counts(*(sum(values) for values in zip(*counts, strict=True)))
    return sums._replace(depth=max(each.depth for each in counts))


def _directive(node: Any, name: str) -> Mapping[str, Any]:
    definition = PRINTED.get_directive(name)
    assert definition is not None
    return get_directive_values(definition, node) or {} if node else {}


class _Expansion:
    """Counts every selection as often as it is spread."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], variables: Mapping[str, Any]) -> None:
        self.fragments = fragments
        self.variables = dict(variables)

    def count_set(self, selections: SelectionSetNode, parent: str, size: int, sized: list[str]) -> list[Counts]:
        """The counts of each selection, with fragments expanded."""
        return [counts for each in selections.selections for counts in self.count_selection(each, parent, size, sized)]

    def count_selection(self, node: Any, parent: str, size: int, sized: list[str]) -> list[Counts]:
        if isinstance(node, FieldNode):
            return [self.count_field(node, parent, size, sized)]
        directives = Counts(0, 0, 0, 0, 0, len(node.directives or ()))
        if isinstance(node, FragmentSpreadNode):
            node = self.fragments[node.name.value]
        kind = node.type_condition.name.value if node.type_condition else parent
        return [directives, *self.count_set(node.selection_set, kind, size, sized)]

    def count_field(self, node: FieldNode, parent: str, size: int, sized: list[str]) -> Counts:
        """The counts of a field with everything below it."""
        field = PRINTED.get_field(PRINTED.type_map[parent], node.name.value)  # type: ignore[arg-type]
        assert field is not None
        kind = get_named_type(field.type)
        own, wrapped = self.size_of(field, node), _directive(field.ast_node, "listSize").get("sizedFields", [])
        below = self.count_set(node.selection_set, kind.name, own, wrapped) if node.selection_set else []
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
        """The size of the field's list."""
        sizing = _directive(field.ast_node, "listSize")
        if not sizing:
            return 10 if "[" in str(field.type) else 1
        arguments = {each.name.value: each.value for each in node.arguments or ()}
        sizes: list[int] = []
        for name in sizing.get("slicingArguments", []):
            default = field.args[name].default
            value: Any = default.value if default is not None else Undefined
            if default is not None and default.literal is not None:
                value = value_from_ast_untyped(default.literal)
            if name in arguments:
                argument = value_from_ast_untyped(arguments[name], self.variables)
                value = value if argument is Undefined else argument
            if "[" in str(field.args[name].type) and value is not None and value is not Undefined:
                sizes.append(len(value) if isinstance(value, list) else 1)
            elif isinstance(value, int):
                sizes.append(max(value, 0))
        return max(sizes) if sizes else int(sizing.get("assumedSize", 10))
