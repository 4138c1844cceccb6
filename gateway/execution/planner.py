"""Makes the plans of operations (plan.py) and caches them."""

from collections.abc import Mapping
from typing import Any

from graphql import (
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    OperationDefinitionNode,
    VariableNode,
)
from graphql.execution.collect_fields import (
    FieldDetails,
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues
from graphql.language import Visitor, visit
from graphql.pyutils import Undefined

from gateway.execution.plan import Field, Plan, Selection
from repositories.core.byte_budget import BoundedCache
from schema.operations.converters import ConverterCompiler

_SELECTING_DIRECTIVES = (GraphQLSkipDirective.name, GraphQLIncludeDirective.name)

_SELECTION_SIZE = 2000
_FIELD_SIZE = 2300
_DETAIL_SIZE = 90
"""Estimated bytes of the parts of a plan. A field has details for each place where the document selects it."""

_NO_PLAN = Plan(Selection(GraphQLObjectType("None", {}), (), native=False))
"""Stands for an operation that graphql-core must run."""


class OperationPlans:
    """The plans of one operation: one for each combination of the variables in ``@skip`` and ``@include`` in use.

    Its document owns it. So when the document is evicted, the plans are freed with it.
    """

    def __init__(self, operation: OperationDefinitionNode, fragments: dict[str, FragmentDetails]) -> None:
        self.operation = operation
        self.fragments = fragments
        self.variables = selecting_variables(operation, fragments)
        self.cache: BoundedCache[tuple[Any, ...], Plan] = BoundedCache()


class Planner:
    """Makes the plans of one schema's operations. ``native`` is for data that orjson writes (leaf_serializers.py)."""

    def __init__(self, schema: GraphQLSchema, *, native: bool = False) -> None:
        self.schema = schema
        self.native = native
        self.converters = ConverterCompiler(schema) if hasattr(schema, "_strawberry_schema") else None

    def plan(self, plans: OperationPlans, variables: VariableValues, root_type: GraphQLObjectType) -> Plan | None:
        """The plan of an operation of a valid document, or None if graphql-core must run it."""
        values = tuple([variables.coerced.get(name, Undefined) for name in plans.variables])
        plan = plans.cache.get(values)
        if plan is None:
            builder = _PlanBuilder(self, plans, values, variables)
            plan = plans.cache.put(values, builder.build(root_type), builder.size)
        return None if plan is _NO_PLAN else plan


class _VariableCollector(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, None] = {}

    def enter_directive(self, node: Any, *_: Any) -> None:
        for argument in node.arguments or () if node.name.value in _SELECTING_DIRECTIVES else ():
            if isinstance(argument.value, VariableNode):
                self.names[argument.value.name.value] = None


def selecting_variables(
    operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDetails]
) -> tuple[str, ...]:
    """The variables in ``@skip`` and ``@include``, which decide what is selected."""
    collector = _VariableCollector()
    for node in (operation, *(fragment.definition for fragment in fragments.values())):
        visit(node, collector)
    return tuple(collector.names)


class _CannotPlan(Exception):
    pass


def _is_unsupported(detail: FieldDetails) -> bool:
    """Whether a field uses ``@stream``, ``@defer`` or variables of a fragment, which plans do not cover."""
    is_streamed = any(directive.name.value == "stream" for directive in detail.node.directives or ())
    return is_streamed or detail.defer_usage is not None or detail.fragment_variable_values is not None


class _PlanBuilder:
    """Makes one plan. ``size`` is its estimated bytes. Selections that are planned later add to the cached size."""

    def __init__(
        self, planner: Planner, plans: OperationPlans, values: tuple[Any, ...], variables: VariableValues
    ) -> None:
        self.size = 0
        self._schema = planner.schema
        self._native = planner.native
        self._operation = plans.operation
        self._fragments = plans.fragments
        self._variables = VariableValues(
            {name: variables.sources[name] for name in plans.variables if name in variables.sources},
            {name: variables.coerced[name] for name in plans.variables if name in variables.coerced},
        )
        self._grow = plans.cache.growth_of(values)

    def build(self, root_type: GraphQLObjectType) -> Plan:
        """The plan, _NO_PLAN if the operation cannot be planned."""
        try:
            collected = collect_fields(self._schema, self._fragments, self._variables, root_type, self._operation)
            return Plan(self._selection(root_type, collected.grouped_field_set))
        except Exception:  # noqa: BLE001 (graphql-core meets it again and reports it)
            return _NO_PLAN

    def _selection(self, kind: GraphQLObjectType, grouped: GroupedFieldSet) -> Selection:
        fields: list[Field] = []
        for key, details in grouped.items():
            definition = self._schema.get_field(kind, details[0].node.name.value)
            if definition is None or any(_is_unsupported(detail) for detail in details):
                raise _CannotPlan
            fields.append(Field(key, len(fields), definition, details, self._subselection))
        sizes = (_FIELD_SIZE + _DETAIL_SIZE * len(field.details) + field.arguments.size for field in fields)
        size = _SELECTION_SIZE + sum(sizes)
        self.size += size
        self._grow(size)
        return Selection(kind, fields, native=self._native)

    def _subselection(self, details: FieldDetailsList, kind: GraphQLObjectType) -> Selection:
        """The fields that are selected on those values of a field that have an object type."""
        collected = collect_subfields(self._schema, self._fragments, self._variables, self._operation, kind, details)
        return self._selection(kind, collected.grouped_field_set)
