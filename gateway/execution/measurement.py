"""What one operation asks for, found out in one pass.

A validated document is gone over once, and what was found of each fragment is remembered, so that a document of a few
lines that spells out billions of fields is measured as fast as any other. What depends on variables is kept as a
program (gateway/execution/cost.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import NamedTuple, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLError,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    get_introspection_query,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_introspection_type,
    is_leaf_type,
    parse,
)

from gateway.execution import cost
from gateway.execution.cost import MOST, Amount, Program, Size
from repositories.core.errors import QueryTooComplex

_NESTED = 150
"""How far selections and fragments may be nested within each other: far more than any depth that is allowed."""

_INTROSPECTION = 100
"""What introspection costs; how much of it may be asked for has a limit of its own."""

_TIMES_STANDARD = 2
"""How much more than the standard introspection query asks for may be asked for."""


class Tally(NamedTuple):
    """What a selection asks for, fragments spelled out. ``sized`` is what the size of the parent's list multiplies."""

    depth: int = 0
    fields: int = 0
    root_fields: int = 0
    aliases: int = 0
    directives: int = 0
    introspection: int = 0
    plain: Amount = 0
    sized: Amount = 0


@dataclass(frozen=True, slots=True)
class Measure:
    """What an operation asks for, kept with its document."""

    total: Tally
    roots: tuple[tuple[FieldNode, Tally], ...]
    program: Program
    introspection_limit: int


def measure(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Measure:
    """What one operation of a validated document asks for; QueryTooComplex if it is nested beyond all reason."""
    walk = _Walk(schema, document, operation)
    total = walk.selected(operation.selection_set, walk.root, frozenset(), 0)
    return Measure(total, tuple(walk.roots), walk.program, _TIMES_STANDARD * _standard(schema))


class _Walk:
    """The pass over one operation. A fragment means the same wherever it is spread, but for the sizes of its parent."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self.program = Program()
        self.roots: list[tuple[FieldNode, Tally]] = []
        self._schema = schema
        self.root = cast("GraphQLNamedType", schema.get_root_type(operation.operation))
        self._known: dict[tuple[str, frozenset[str]], Tally] = {}
        self._fragments = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._defaults = {
            each.variable.name.value: each.default_value
            for each in operation.variable_definitions or ()
            if each.default_value is not None
        }

    def selected(
        self, selections: SelectionSetNode, parent: GraphQLNamedType, sized: frozenset[str], nested: int
    ) -> Tally:
        """What a selection set asks for; ``sized`` are the fields that have the size of the parent's list."""
        if nested > _NESTED:
            message = f"This operation is nested more than {_NESTED} levels deep. Ask in several operations."
            raise GraphQLError(message, selections, original_error=QueryTooComplex(message, nested, _NESTED))
        tallies = [self._selection(each, parent, sized, nested + 1) for each in selections.selections]
        return self._sum(tallies)

    def _sum(self, tallies: Sequence[Tally]) -> Tally:
        total = self.program.total
        return Tally(
            depth=max(each.depth for each in tallies),
            fields=_capped(each.fields for each in tallies),
            root_fields=_capped(each.root_fields for each in tallies),
            aliases=_capped(each.aliases for each in tallies),
            directives=_capped(each.directives for each in tallies),
            introspection=_capped(each.introspection for each in tallies),
            plain=total(each.plain for each in tallies),
            sized=total(each.sized for each in tallies),
        )

    def _selection(self, node: SelectionNode, parent: GraphQLNamedType, sized: frozenset[str], nested: int) -> Tally:
        if isinstance(node, FieldNode):
            tally = self._field(node, parent, sized, nested)
            if parent is self.root:
                self.roots.append((node, tally))
            return tally
        if isinstance(node, FragmentSpreadNode):
            tally = self._fragment(node.name.value, sized, nested)
        elif isinstance(node, InlineFragmentNode):
            condition = node.type_condition
            parent = self._schema.type_map[condition.name.value] if condition else parent
            tally = self.selected(node.selection_set, parent, sized, nested)
        return tally._replace(directives=_capped([tally.directives, len(node.directives or ())]))

    def _fragment(self, name: str, sized: frozenset[str], nested: int) -> Tally:
        known = self._known.get((name, sized))
        if known is None:
            fragment = self._fragments[name]
            parent = self._schema.type_map[fragment.type_condition.name.value]
            known = self.selected(fragment.selection_set, parent, sized, nested)
            self._known[name, sized] = known
        return known

    def _field(self, node: FieldNode, parent: GraphQLNamedType, sized: frozenset[str], nested: int) -> Tally:
        name = node.name.value
        field = cast("GraphQLField", self._schema.get_field(cast("GraphQLCompositeType", parent), name))
        size, below_sized = cost.sizes(field, node, self._defaults)
        kind = get_named_type(field.type)
        below = self.selected(node.selection_set, kind, below_sized, nested) if node.selection_set else Tally()
        if is_introspection_type(parent):
            return Tally(introspection=_values(self._schema, name, below))
        if is_introspection_type(kind) and not is_leaf_type(kind):
            below = below._replace(plain=_INTROSPECTION, introspection=1 + below.introspection)
        plain, own = self._cost(field, below, size, is_wrapper=bool(below_sized), is_sized=name in sized)
        return Tally(
            depth=1 + below.depth,
            fields=_capped([1, below.fields]),
            root_fields=1,
            aliases=_capped([node.alias is not None, below.aliases]),
            directives=_capped([len(node.directives or ()), below.directives]),
            introspection=below.introspection,
            plain=plain,
            sized=own,
        )

    def _cost(
        self, field: GraphQLField, below: Tally, size: Size | int, *, is_wrapper: bool, is_sized: bool
    ) -> tuple[Amount, Amount]:
        """What a field costs, and what it costs for each row of the parent's list."""
        total, call = self.program.total, cost.weight_of_call(field)
        rows = total([below.sized], size)
        each = [cost.weight_of_object(field), below.plain, rows]
        if is_sized:
            return call, total(each)
        return total([call, total(each, 1 if is_wrapper else size)]), 0


def _capped(counts: Iterable[int]) -> int:
    return min(sum(counts), MOST)


def _values(schema: GraphQLSchema, name: str, below: Tally) -> int:
    """How many values a field of introspection answers with."""
    return min(_means(schema).get(name, 1) * (1 + below.introspection), MOST)


@lru_cache(maxsize=4)
def _means(schema: GraphQLSchema) -> Mapping[str, int]:
    """How long the lists of introspection are, of a type or field about the mean."""
    kinds = list(schema.type_map.values())
    counts = {
        name: sum(len(getattr(kind, held, ())) for kind in kinds)
        for name, held in {"fields": "fields", "interfaces": "interfaces", "enumValues": "values"}.items()
    }
    arguments = sum(
        len(field.args) for kind in kinds if is_composite_type(kind) for field in getattr(kind, "fields", {}).values()
    )
    abstract = sum(len(schema.get_possible_types(kind)) for kind in kinds if is_abstract_type(kind))
    means = {name: ceil(count / len(kinds)) for name, count in (counts | {"possibleTypes": abstract}).items()}
    return means | {
        "types": len(kinds),
        "directives": len(schema.directives),
        "inputFields": means["fields"],
        "args": ceil(arguments / max(counts["fields"], 1)),
    }


@lru_cache(maxsize=4)
def _standard(schema: GraphQLSchema) -> int:
    """How many values the standard introspection query is answered with, with all that it can ask for."""
    document = parse(
        get_introspection_query(
            specified_by_url=True,
            directive_is_repeatable=True,
            schema_description=True,
            input_value_deprecation=True,
            one_of=True,
        )
    )
    operation = cast("OperationDefinitionNode", document.definitions[0])
    walk = _Walk(schema, document, operation)
    return walk.selected(operation.selection_set, walk.root, frozenset(), 0).introspection
