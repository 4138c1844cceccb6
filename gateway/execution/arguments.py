"""The arguments of a field in a document: those without variables are converted once, the others in every request."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from graphql import GraphQLField, VariableNode
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.values import VariableValues, coerce_argument
from graphql.language import Node, Visitor, visit

from schema.operations.converters import ArgumentConverter


class _ValueVisitor(Visitor):
    """Counts the nodes of a value, and finds out whether there are variables in it."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = 0
        self.has_variables = False

    def enter(self, node: Node, *_: Any) -> None:
        self.nodes += 1
        if isinstance(node, VariableNode):
            self.has_variables = True


_NO_VARIABLES = VariableValues({}, {})
_VALUE_SIZE = 100
"""Bytes of a value in Python, per node of the value in the document."""


class Arguments:
    """The arguments of a field in a document."""

    def __init__(self, definition: GraphQLField, details: FieldDetailsList) -> None:
        self._definition = definition
        self._node = details[0].node
        nodes = {argument.name.value: argument for argument in self._node.arguments or ()}
        self._variable_nodes = {}
        self.size = 0
        """Estimated bytes of the converted constants."""
        for name, node in nodes.items():
            visitor = _ValueVisitor()
            visit(node, visitor)
            self.size += _VALUE_SIZE * visitor.nodes
            if visitor.has_variables:
                self._variable_nodes[name] = node
        self._nodes = nodes
        self._converted: dict[str, Any] | None = None
        self._not_cacheable: dict[str, Any] = {}

    @cached_property
    def _constants(self) -> dict[str, Any]:
        """The GraphQL values of the arguments without variables; coerced when the field is used for the first time."""
        constants: dict[str, Any] = {}
        for name, argument in self._definition.args.items():
            if name not in self._variable_nodes:
                coerce_argument(constants, self._node, name, argument, self._nodes.get(name), _NO_VARIABLES, None)
        return constants

    def values(self, variables: VariableValues, *, hide_suggestions: bool) -> dict[str, Any]:
        """The GraphQL values of all arguments, as graphql-core hands them to a resolver."""
        if not self._variable_nodes:
            return dict(self._constants)
        values = self._constants | self._coerce(variables, hide_suggestions=hide_suggestions)
        names = [argument.out_name or name for name, argument in self._definition.args.items()]
        return {name: values[name] for name in names if name in values}

    def _coerce(self, variables: VariableValues, *, hide_suggestions: bool) -> dict[str, Any]:
        """The GraphQL values of the arguments with variables."""
        values: dict[str, Any] = {}
        for name, node in self._variable_nodes.items():
            argument = self._definition.args[name]
            coerce_argument(values, self._node, name, argument, node, variables, None, hide_suggestions)
        return values

    def convert(
        self,
        converters: Mapping[str, ArgumentConverter],
        finish: Callable[[Mapping[str, Any]], dict[str, Any]],
        info: Callable[[], Any],
        variables: VariableValues,
        *,
        hide_suggestions: bool,
    ) -> dict[str, Any]:
        """The Python values of all arguments, after ``finish``; the result must not be changed."""
        if self._converted is None:
            cacheable = {name for name, converter in converters.items() if converter.is_cacheable}
            constants = self._constants.items()
            self._not_cacheable = {name: value for name, value in constants if name not in cacheable}
            constant = {name: value for name, value in constants if name in cacheable}
            self._converted = finish(_convert(converters, constant, info))
        if not self._variable_nodes and not self._not_cacheable:
            return self._converted
        values = self._not_cacheable | self._coerce(variables, hide_suggestions=hide_suggestions)
        return self._converted | finish(_convert(converters, values, info))


def _convert(
    converters: Mapping[str, ArgumentConverter], values: Mapping[str, Any], info: Callable[[], Any]
) -> dict[str, Any]:
    converted = {}
    for name, value in values.items():
        converter = converters[name]
        converted[converter.python_name] = converter.convert(value, info)
    return converted
