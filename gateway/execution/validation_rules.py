"""The rules that documents are validated by: those of the specification, with messages that disclose nothing.

No message contains a literal, which may be a secret. For a viewer who may not introspect the schema, none contains a
name of the schema that the client did not write.
"""

from collections.abc import Callable, Sequence
from typing import Any

from graphql import DirectiveNode, FieldNode, GraphQLError, GraphQLInputType, ValueNode, specified_rules
from graphql.language import SKIP, Node, VisitorAction
from graphql.validation import (
    ASTValidationRule,
    FieldsOnCorrectTypeRule,
    KnownArgumentNamesRule,
    OverlappingFieldsCanBeMergedRule,
    PossibleFragmentSpreadsRule,
    ProvidedRequiredArgumentsRule,
    ScalarLeafsRule,
    ValuesOfCorrectTypeRule,
    VariablesInAllowedPositionRule,
)

from gateway.execution.coercion_errors import find_errors


class LiteralsOfCorrectType(ValuesOfCorrectTypeRule):
    """Checks literals as the specification says. Its messages do not repeat them."""

    def is_valid_value_node(self, node: ValueNode, input_type: GraphQLInputType | None) -> VisitorAction:
        if input_type:
            for error in find_errors(node, input_type, hide_names=self.context.hide_suggestions):
                self.report_error(GraphQLError(error.message, error.value))
        return SKIP


def _name(node: Any) -> str:
    name: str = (getattr(node, "alias", None) or node.name).value
    return name


def _describe_missing_argument(nodes: Sequence[Node]) -> str:
    kind = "directive" if isinstance(nodes[0], DirectiveNode) else "field"
    return f"A required argument of the {kind} '{_name(nodes[0])}' is missing."


def _describe_wrong_selection(nodes: Sequence[Node]) -> str:
    if isinstance(nodes[0], FieldNode):
        return f"Field '{_name(nodes[0])}' must have a selection of subfields."
    return "A field that has no subfields must not have a selection."


_WITHOUT_NAMES: dict[type[ASTValidationRule], Callable[[Sequence[Node]], str]] = {
    FieldsOnCorrectTypeRule: lambda nodes: f"Cannot query field '{_name(nodes[0])}' here.",
    KnownArgumentNamesRule: lambda nodes: f"Unknown argument '{_name(nodes[0])}'.",
    ProvidedRequiredArgumentsRule: _describe_missing_argument,
    ScalarLeafsRule: _describe_wrong_selection,
    PossibleFragmentSpreadsRule: lambda _: "This fragment cannot match any object here.",
    VariablesInAllowedPositionRule: lambda nodes: (
        f"Variable '${_name(nodes[1])}' does not have the type expected here."
    ),
    OverlappingFieldsCanBeMergedRule: lambda nodes: (
        f"Fields '{_name(nodes[0])}' conflict. Use different aliases on the fields to fetch both."
    ),
}
"""The rules whose messages name types, fields or arguments of the schema, and their messages without these names.

A message is made from the nodes of the error.
"""


class _RewordingContext:
    """A validation context in which a rule's errors have other messages."""

    def __init__(self, context: Any, describe: Callable[[Sequence[Node]], str]) -> None:
        self._context = context
        self._describe = describe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def report_error(self, error: GraphQLError) -> None:
        self._context.report_error(GraphQLError(self._describe(error.nodes or ()), error.nodes))


def _without_names(rule: Any) -> Any:
    """The rule with messages that name nothing of the schema."""
    describe = _WITHOUT_NAMES.get(rule)
    return rule if describe is None else lambda context: rule(_RewordingContext(context, describe))


RULES: tuple[Any, ...] = tuple(
    LiteralsOfCorrectType if rule is ValuesOfCorrectTypeRule else rule for rule in specified_rules
)
"""For viewers who may introspect the schema."""

RULES_WITHOUT_NAMES: tuple[Any, ...] = tuple(map(_without_names, RULES))
"""For all other viewers."""
