"""Which permissions the root fields of an operation require, and which variables are used by fields of each of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
)
from graphql.language import Node, Visitor, visit

from repositories.permissions import Requirement
from schema.types.view import Resolution


@dataclass(slots=True)
class RootFields:
    """The root fields that require one permission, or none: the first of them, and the variables that they use.

    ``names`` are the names of the fields by their response keys.
    """

    node: FieldNode | None = None
    variables: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)


def required_permission(definition: GraphQLField) -> Requirement | None:
    """The permission that a root field requires, None if every caller may use it."""
    field = definition.extensions.get("strawberry-definition")
    resolver = getattr(field, "base_resolver", None)
    resolution: Resolution | None = getattr(getattr(resolver, "wrapped_func", None), "resolution", None)
    return resolution.requires if resolution is not None else None


def root_fields_by_permission(
    schema: GraphQLSchema, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Mapping[Requirement | None, RootFields]:
    """The root fields of an operation of a valid document."""
    collector = _Collector(schema, operation, fragments)
    collector.collect(operation.selection_set, set())
    return collector.found


class _References(Visitor):
    """Finds the variables and the fragment spreads in a node."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.variables: set[str] = set()
        self.spreads: set[str] = set()
        visit(node, self)

    def enter_variable(self, node: object, *_: object) -> None:
        self.variables.add(node.name.value)  # type: ignore[attr-defined]

    def enter_fragment_spread(self, node: object, *_: object) -> None:
        self.spreads.add(node.name.value)  # type: ignore[attr-defined]


class _Collector:
    def __init__(
        self, schema: GraphQLSchema, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
    ) -> None:
        self._root = schema.get_root_type(operation.operation)
        self._fragments = fragments
        self._of_fragments: dict[str, _References] = {}
        self.found: dict[Requirement | None, RootFields] = {}

    def collect(self, selections: SelectionSetNode, spread: set[str]) -> None:
        for node in selections.selections:
            for directive in node.directives or ():  # decides whether the field is selected at all
                self.found.setdefault(None, RootFields()).variables.update(_References(directive).variables)
            if isinstance(node, FieldNode):
                definition = self._root.fields.get(node.name.value) if self._root else None
                permission = required_permission(definition) if definition else None
                group = self.found.setdefault(permission, RootFields())
                group.node = group.node or node
                group.names[(node.alias or node.name).value] = node.name.value
                group.variables |= self._used_below(node)
            elif isinstance(node, FragmentSpreadNode):
                if node.name.value not in spread:
                    spread.add(node.name.value)
                    self.collect(self._fragments[node.name.value].selection_set, spread)
            else:
                self.collect(node.selection_set, spread)  # type: ignore[attr-defined]

    def _used_below(self, node: FieldNode) -> set[str]:
        """The variables in a field, its selection and the fragments that are spread there."""
        references = _References(node)
        names, pending, seen = set(references.variables), list(references.spreads), set(references.spreads)
        while pending:
            name = pending.pop()
            if name not in self._of_fragments:
                self._of_fragments[name] = _References(self._fragments[name])
            inner = self._of_fragments[name]
            names |= inner.variables
            pending += inner.spreads - seen
            seen |= inner.spreads
        return names
