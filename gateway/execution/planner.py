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
from schema.operations.converters import ConverterCompiler

_SELECTING_DIRECTIVES = (GraphQLSkipDirective.name, GraphQLIncludeDirective.name)

_MAX_PLANS = 32
"""Plans that are cached for one operation: one for each combination of the variables in ``@skip`` and ``@include``."""


class Planner:
    """Makes the plans of one schema's operations, and caches those of the latest ``size`` operations.

    ``native`` is for data that orjson writes (leaf_serializers.py).
    """

    def __init__(self, schema: GraphQLSchema, *, native: bool = False, size: int = 500) -> None:
        self.schema = schema
        self.native = native
        self.converters = ConverterCompiler(schema) if hasattr(schema, "_strawberry_schema") else None
        self._size = size
        self._cache: dict[int, tuple[OperationDefinitionNode, tuple[str, ...], dict[Any, Plan | None]]] = {}

    def plan(
        self,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDetails],
        variables: VariableValues,
        root_type: GraphQLObjectType,
    ) -> Plan | None:
        """The plan of an operation of a valid document, or None if graphql-core must run it."""
        entry = self._cache.get(id(operation))
        if entry is None or entry[0] is not operation:
            if len(self._cache) >= self._size:
                self._cache.pop(next(iter(self._cache)))
            entry = self._cache[id(operation)] = (operation, selecting_variables(operation, fragments), {})
        _, names, plans = entry
        values = tuple(variables.coerced.get(name, Undefined) for name in names)
        if values not in plans:
            if len(plans) >= _MAX_PLANS:
                plans.clear()
            try:
                selecting = VariableValues(
                    {name: variables.sources[name] for name in names if name in variables.sources},
                    {name: variables.coerced[name] for name in names if name in variables.coerced},
                )
                plans[values] = _PlanBuilder(self, operation, fragments, selecting).build(root_type)
            except Exception:  # noqa: BLE001 (graphql-core meets it again and reports it)
                plans[values] = None
        return plans[values]


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
    def __init__(
        self,
        planner: Planner,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDetails],
        variables: VariableValues,
    ) -> None:
        self._schema = planner.schema
        self._native = planner.native
        self._operation = operation
        self._fragments = fragments
        self._variables = variables

    def build(self, root_type: GraphQLObjectType) -> Plan:
        collected = collect_fields(self._schema, self._fragments, self._variables, root_type, self._operation)
        return Plan(self._selection(root_type, collected.grouped_field_set))

    def _selection(self, kind: GraphQLObjectType, grouped: GroupedFieldSet) -> Selection:
        fields: list[Field] = []
        for key, details in grouped.items():
            definition = self._schema.get_field(kind, details[0].node.name.value)
            if definition is None or any(_is_unsupported(detail) for detail in details):
                raise _CannotPlan
            fields.append(Field(key, len(fields), definition, details, self._subselection))
        return Selection(kind, fields, native=self._native)

    def _subselection(self, details: FieldDetailsList, kind: GraphQLObjectType) -> Selection:
        """The fields that are selected on those values of a field that have an object type."""
        collected = collect_subfields(self._schema, self._fragments, self._variables, self._operation, kind, details)
        return self._selection(kind, collected.grouped_field_set)
