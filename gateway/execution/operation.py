"""The parts of an operation that the executor needs, computed once: its fragments and the types of its variables."""

from collections.abc import Mapping
from typing import Any

from graphql import (
    FragmentDefinitionNode,
    GraphQLError,
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
    get_variable_values,
    input_is_nested_too_deeply,
)
from graphql.pyutils import Undefined
from graphql.type import get_nullable_type
from graphql.utilities import coerce_input_value
from strawberry.execution import optimized_is_awaitable

from gateway.execution.documents import Document

_MAX_ERRORS = 5


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
        values = self._coerce(variables)
        if values is None:
            nodes = self._node.variable_definitions or ()
            result = get_variable_values(self._schema, nodes, dict(variables), _MAX_ERRORS, hide_suggestions)
            if isinstance(result, list):
                return result
            values = result
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

    def _coerce(self, variables: Mapping[str, Any]) -> VariableValues | None:
        """The variables coerced to their types, None if graphql-core must do it because of a default or an error."""
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for signature in self._signatures:
            name, kind = signature.name, signature.type
            value = variables.get(name, Undefined)
            if value is Undefined:
                if signature.default is not None or is_non_null_type(kind):
                    return None
                sources[name] = VariableValueSource(signature)
                continue
            if not is_leaf_type(get_nullable_type(kind)) and input_is_nested_too_deeply(value, kind):
                return None
            coerced_value = coerce_input_value(value, kind)
            if coerced_value is Undefined:
                return None
            sources[name] = VariableValueSource(signature, value)
            coerced[name] = coerced_value
        return VariableValues(sources, coerced)
