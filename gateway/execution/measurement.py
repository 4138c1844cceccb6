"""Measures what an operation asks for: its depth, its cost, and the numbers of its fields, aliases and directives.

A validated document is visited once, and the counts of each fragment are remembered. So a short document whose
fragments expand to billions of fields is measured as fast as any other. What depends on variables becomes a formula
(gateway/execution/cost.py).
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
    OperationType,
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

from gateway.execution.cost import (
    MAX_COUNT,
    Amount,
    CostFormula,
    Size,
    call_weight,
    conditions_of,
    find_list_size,
    object_weight,
)
from gateway.execution.input_cost import InputCost
from repositories.core.errors import QueryTooComplex

_MAX_NESTING = 150
"""Levels of selections and fragments inside each other: far more than any allowed depth."""

_INTROSPECTION_COST = 100
"""The cost of an introspection field; the number of values that introspection returns has a limit of its own."""

_INTROSPECTION_FACTOR = 2
"""An operation may introspect this many times the values of the standard introspection query."""


class SelectionCounts(NamedTuple):
    """The counts of a selection, with its fragments expanded.

    ``cost_per_row`` is the part of the cost that counts for each row of the parent's list.
    """

    depth: int = 0
    fields: int = 0
    root_fields: int = 0
    aliases: int = 0
    directives: int = 0
    introspection: int = 0
    cost: Amount = 0
    cost_per_row: Amount = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """The counts of an operation, in total and by root field."""

    total: SelectionCounts
    roots: tuple[tuple[FieldNode, SelectionCounts], ...]
    formula: CostFormula
    introspection_limit: int
    inputs: InputCost | None
    """The cost of a mutation's inputs."""

    @property
    def size(self) -> int:
        """The estimated bytes of the measurement."""
        return 500 + 200 * len(self.roots) + 250 * len(self.formula.terms)


def measure(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Measurement:
    """Measures one operation of a validated document; GraphQLError if it is nested too deeply to measure."""
    counter = _Counter(schema, document, operation)
    total = counter.count(operation.selection_set, counter.root, frozenset(), 0)
    limit = _INTROSPECTION_FACTOR * _standard_introspection(schema)
    inputs = None
    if operation.operation is OperationType.MUTATION and schema.mutation_type is not None:
        inputs = InputCost(schema.mutation_type, operation, (node for node, _ in counter.roots))
    return Measurement(total, tuple(counter.roots), counter.formula, limit, inputs)


class _Counter:
    """Visits one operation.

    The counts of a fragment are the same wherever it is spread, except counts that depend on the size of the parent's
    list.

    ``per_row`` are the names of the fields that have the size of the parent's list, such as ``nodes`` of a connection.
    """

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self.formula = CostFormula()
        self.roots: list[tuple[FieldNode, SelectionCounts]] = []
        self._schema = schema
        self.root = cast("GraphQLNamedType", schema.get_root_type(operation.operation))
        self._counts: dict[tuple[str, frozenset[str]], SelectionCounts] = {}
        self._fragments = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._defaults = {
            each.variable.name.value: each.default_value
            for each in operation.variable_definitions or ()
            if each.default_value is not None
        }

    def count(
        self, selections: SelectionSetNode, parent: GraphQLNamedType, per_row: frozenset[str], nesting: int
    ) -> SelectionCounts:
        if nesting > _MAX_NESTING:
            message = (
                f"This operation is nested more than {_MAX_NESTING} levels deep. Split it into several operations."
            )
            raise GraphQLError(message, selections, original_error=QueryTooComplex(message, nesting, _MAX_NESTING))
        return self._sum([self._selection(each, parent, per_row, nesting + 1) for each in selections.selections])

    def _sum(self, counts: Sequence[SelectionCounts]) -> SelectionCounts:
        add = self.formula.add
        return SelectionCounts(
            depth=max(each.depth for each in counts),
            fields=_capped_sum(each.fields for each in counts),
            root_fields=_capped_sum(each.root_fields for each in counts),
            aliases=_capped_sum(each.aliases for each in counts),
            directives=_capped_sum(each.directives for each in counts),
            introspection=_capped_sum(each.introspection for each in counts),
            cost=add(each.cost for each in counts),
            cost_per_row=add(each.cost_per_row for each in counts),
        )

    def _selection(
        self, node: SelectionNode, parent: GraphQLNamedType, per_row: frozenset[str], nesting: int
    ) -> SelectionCounts:
        if isinstance(node, FieldNode):
            counts = self._field(node, parent, per_row, nesting)
            if parent is self.root:
                self.roots.append((node, counts))
            return counts
        if isinstance(node, FragmentSpreadNode):
            counts = self._fragment(node.name.value, per_row, nesting)
        elif isinstance(node, InlineFragmentNode):
            condition = node.type_condition
            parent = self._schema.type_map[condition.name.value] if condition else parent
            counts = self.count(node.selection_set, parent, per_row, nesting)
        return counts._replace(directives=_capped_sum([counts.directives, len(node.directives or ())]))

    def _fragment(self, name: str, per_row: frozenset[str], nesting: int) -> SelectionCounts:
        counts = self._counts.get((name, per_row))
        if counts is None:
            fragment = self._fragments[name]
            parent = self._schema.type_map[fragment.type_condition.name.value]
            counts = self._counts[name, per_row] = self.count(fragment.selection_set, parent, per_row, nesting)
        return counts

    def _field(
        self, node: FieldNode, parent: GraphQLNamedType, per_row: frozenset[str], nesting: int
    ) -> SelectionCounts:
        name = node.name.value
        field = cast("GraphQLField", self._schema.get_field(cast("GraphQLCompositeType", parent), name))
        size, sized_fields = find_list_size(field, node, self._defaults)
        kind = get_named_type(field.type)
        below = self.count(node.selection_set, kind, sized_fields, nesting) if node.selection_set else SelectionCounts()
        if is_introspection_type(parent):
            return SelectionCounts(introspection=_introspection_values(self._schema, name, below))
        if is_introspection_type(kind) and not is_leaf_type(kind):
            below = below._replace(cost=_INTROSPECTION_COST, introspection=1 + below.introspection)
        call = self.formula.add([call_weight(field), self.formula.add([1], conditions_of(field, node, self._defaults))])
        cost, cost_per_row = self._cost(
            field, call, below, size, is_wrapper=bool(sized_fields), is_per_row=name in per_row
        )
        return SelectionCounts(
            depth=1 + below.depth,
            fields=_capped_sum([1, below.fields]),
            root_fields=1,
            aliases=_capped_sum([node.alias is not None, below.aliases]),
            directives=_capped_sum([len(node.directives or ()), below.directives]),
            introspection=below.introspection,
            cost=cost,
            cost_per_row=cost_per_row,
        )

    def _cost(  # noqa: PLR0913 (what the cost depends on)
        self,
        field: GraphQLField,
        call: Amount,
        below: SelectionCounts,
        size: Size | int,
        *,
        is_wrapper: bool,
        is_per_row: bool,
    ) -> tuple[Amount, Amount]:
        """The cost of a field, and its cost for each row of the parent's list."""
        add = self.formula.add
        rows = add([below.cost_per_row], size)
        amounts = [object_weight(field), below.cost, rows]
        if is_per_row:
            return call, add(amounts)
        return add([call, add(amounts, 1 if is_wrapper else size)]), 0


def _capped_sum(counts: Iterable[int]) -> int:
    return min(sum(counts), MAX_COUNT)


def _introspection_values(schema: GraphQLSchema, name: str, below: SelectionCounts) -> int:
    """The number of values that an introspection field returns."""
    return min(_introspection_sizes(schema).get(name, 1) * (1 + below.introspection), MAX_COUNT)


@lru_cache(maxsize=4)
def _introspection_sizes(schema: GraphQLSchema) -> Mapping[str, int]:
    """The sizes of introspection's lists by field name; the mean for lists that belong to a type or a field."""
    kinds = list(schema.type_map.values())
    counts = {
        name: sum(len(getattr(kind, attribute, ())) for kind in kinds)
        for name, attribute in {"fields": "fields", "interfaces": "interfaces", "enumValues": "values"}.items()
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
def _standard_introspection(schema: GraphQLSchema) -> int:
    """The number of values that the standard introspection query returns, with all its options."""
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
    counter = _Counter(schema, document, operation)
    return counter.count(operation.selection_set, counter.root, frozenset(), 0).introspection
