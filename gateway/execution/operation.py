"""The parts of an operation that the executor needs, computed once: its fragments and the types of its variables."""

from collections.abc import Mapping
from typing import Any

from graphql import (
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLInputType,
    GraphQLSchema,
    OperationDefinitionNode,
    default_field_resolver,
    default_type_resolver,
    is_leaf_type,
    is_non_null_type,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import (
    VariableValues,
    VariableValueSource,
    input_is_nested_too_deeply,
)
from graphql.pyutils import Undefined
from graphql.type import get_nullable_type
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_value
from strawberry.execution import optimized_is_awaitable

from gateway.execution.coercion_errors import MAX_ERRORS, variable_errors
from gateway.execution.documents import Document


class Operation:
    """An operation of a valid document, ready to be executed with any variables."""

    def __init__(self, schema: GraphQLSchema, document: Document, node: OperationDefinitionNode) -> None:
        self._schema = schema
        self._node = node
        self._definitions = {
            fragment.name.value: fragment
            for fragment in document.ast.definitions
            if isinstance(fragment, FragmentDefinitionNode)
        }
        self._fragments = {name: FragmentDetails(fragment) for name, fragment in self._definitions.items()}
        self._signatures: list[GraphQLVariableSignature] = []
        for definition in node.variable_definitions or ():
            signature = get_variable_signature(schema, definition)
            assert not isinstance(signature, GraphQLError)  # noqa: S101 (the document is valid)
            self._signatures.append(signature)

    def create_executor(
        self, kind: Any, variables: Mapping[str, Any], context: Any, root_value: Any = None, *, hide_suggestions: bool
    ) -> Executor[Any] | list[GraphQLError]:
        """An executor of class ``kind``, or the errors of the variables."""
        values = self._coerce(variables, hide_names=hide_suggestions)
        if isinstance(values, list):
            return values
        executor: Executor[Any] = kind(
            self._schema,
            self._definitions,
            self._fragments,
            root_value,
            context,
            self._node,
            values,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            is_awaitable=optimized_is_awaitable,
            hide_suggestions=hide_suggestions,
        )
        return executor

    def _coerce(self, variables: Mapping[str, Any], *, hide_names: bool) -> VariableValues | list[GraphQLError]:
        """The variables coerced to their types, or the errors of the invalid ones."""
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        errors: list[GraphQLError] = []
        for signature, node in zip(self._signatures, self._node.variable_definitions or (), strict=True):
            name, kind = signature.name, signature.type
            value = variables.get(name, Undefined)
            sources[name] = VariableValueSource(signature, value)
            if value is Undefined and signature.default is not None:
                coerced[name] = coerce_default_value(signature)
            elif value is not Undefined or is_non_null_type(kind):
                coerced_value = _coerce_value(value, kind)
                if coerced_value is Undefined:
                    errors += variable_errors(name, value, kind, node, hide_names=hide_names)
                else:
                    coerced[name] = coerced_value
        return errors[:MAX_ERRORS] or VariableValues(sources, coerced)


def _coerce_value(value: Any, kind: GraphQLInputType) -> Any:
    """The coerced value, Undefined if it is invalid."""
    if not is_leaf_type(get_nullable_type(kind)) and input_is_nested_too_deeply(value, kind):
        return Undefined
    return coerce_input_value(value, kind)
