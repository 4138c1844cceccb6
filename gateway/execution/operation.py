"""The parts of an operation that the executor needs, computed once.

These are its fragments, the types of its variables, and the permissions that its root fields require.
"""

from collections.abc import Collection, Mapping
from functools import cached_property, partial
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableDefinitionNode,
    default_field_resolver,
    default_type_resolver,
    is_non_null_type,
)
from graphql.execution import Executor
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource
from graphql.pyutils import Undefined
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_value
from strawberry.execution import optimized_is_awaitable

from gateway.execution.coercion_errors import MAX_ERRORS, variable_errors
from gateway.execution.documents import Document
from gateway.execution.executor import CompiledExecutor
from gateway.execution.planner import OperationPlans
from gateway.execution.request_errors import RequestError
from gateway.execution.root_permissions import root_fields_by_permission
from repositories.core.errors import AccessDenied
from repositories.core.viewer import Viewer
from repositories.permissions import Requirement
from resolvers.request.context import Context

_OPERATION_SIZE = 1500
_VARIABLE_SIZE = 100


class Operation:
    """An operation of a valid document, ready to be executed with any variables."""

    def __init__(self, schema: GraphQLSchema, document: Document, node: OperationDefinitionNode) -> None:
        self._schema = schema
        self._node = node
        self._definitions = document.definitions
        self._fragments = document.fragments
        self._plans = OperationPlans(node, document.fragments)
        self._signatures: dict[str, tuple[GraphQLVariableSignature, VariableDefinitionNode]] = {}
        for definition in node.variable_definitions or ():
            signature = get_variable_signature(schema, definition)
            assert not isinstance(signature, GraphQLError)  # noqa: S101 (the document is valid)
            self._signatures[signature.name] = (signature, definition)
        self._root_fields = root_fields_by_permission(schema, node, self._definitions)
        document.grow(_OPERATION_SIZE + _VARIABLE_SIZE * len(self._signatures))

    @cached_property
    def field_names(self) -> Mapping[str, str]:
        """The names of the root fields by their response keys."""
        return {key: name for fields in self._root_fields.values() for key, name in fields.names.items()}

    def authorise(self, context: Context) -> None:
        """Raises RequestError if the viewer lacks a permission that a root field requires."""
        for permission, fields in self._root_fields.items():
            if permission is not None and fields.node is not None:
                try:
                    context.authorise(permission)
                except AccessDenied as error:
                    path = [(fields.node.alias or fields.node.name).value]
                    located = GraphQLError(error.message, fields.node, path=path, original_error=error)
                    raise RequestError([located], error.status) from None

    def create_executor(
        self,
        kind: Any,
        variables: Mapping[str, Any],
        context: Context,
        root_value: Any = None,
        *,
        hide_suggestions: bool,
    ) -> Executor[Any] | list[GraphQLError]:
        """An executor of class ``kind``, or the errors of the variables.

        Variables that only fields use which the viewer may not use are not coerced. If the viewer signs in with an
        earlier field, the executor coerces them later.
        """
        denied = self._denied(context.viewer) if issubclass(kind, CompiledExecutor) else []
        allowed = self._variables_without(denied)
        values = VariableValues({}, {})
        errors = self._coerce(values, variables, allowed, hide_names=hide_suggestions)
        if errors:
            return errors
        executor: Any = kind(
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
        if isinstance(executor, CompiledExecutor):
            executor.operation_plans = self._plans
        if len(allowed) < len(self._signatures):
            rest = [name for name in self._signatures if name not in allowed]
            executor.denied = denied
            executor.coerce_remaining = partial(self._coerce, values, variables, rest, hide_names=hide_suggestions)
        return executor  # type: ignore[no-any-return]

    def _denied(self, viewer: Viewer) -> list[Requirement]:
        """The permissions that root fields require and the viewer lacks."""
        return [permission for permission in self._root_fields if permission and not viewer.may(permission)]

    def _variables_without(self, denied: Collection[Requirement]) -> Collection[str]:
        """The names of the variables that fields use which do not require one of these permissions."""
        if not denied:
            return self._signatures
        allowed = [fields for permission, fields in self._root_fields.items() if permission not in denied]
        used: set[str] = set().union(*(fields.variables for fields in allowed))
        return [name for name in self._signatures if name in used]

    def _coerce(
        self, values: VariableValues, variables: Mapping[str, Any], names: Collection[str], *, hide_names: bool
    ) -> list[GraphQLError]:
        """Adds some of the variables to ``values``, coerced to their types; returns the errors of the invalid ones."""
        errors: list[GraphQLError] = []
        for name in names:
            signature, node = self._signatures[name]
            kind = signature.type
            value = variables.get(name, Undefined)
            values.sources[name] = VariableValueSource(signature, value)
            if value is Undefined and signature.default is not None:
                values.coerced[name] = coerce_default_value(signature)
            elif value is not Undefined or is_non_null_type(kind):
                coerced = coerce_input_value(value, kind)
                if coerced is Undefined:
                    errors += variable_errors(name, value, kind, node, hide_names=hide_names)
                else:
                    values.coerced[name] = coerced
        return errors[:MAX_ERRORS]
