"""Documents: parsed and validated once per text, and kept with the work that later steps do for them.

Whatever a client sends is refused after bounded work: tokens are counted before they are parsed, and what the rule for
overlapping fields compares (it compares all pairs) is counted before it is validated.
"""

from collections import OrderedDict
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    parse,
    validate,
)

from gateway.execution.document_size import check_overlaps, check_tokens
from gateway.execution.request_errors import RequestError, shortened
from gateway.execution.timings import Timings

_MOST_ERRORS = 5
_LONGEST_KEPT = 20_000
_KEPT = 500_000
"""Characters of all texts together; a parsed document takes about fifty bytes for each."""


class Document:
    """A valid document. ``cost`` and ``plans`` belong to later steps, which compute them once."""

    __slots__ = ("ast", "cost", "operations", "plans")

    def __init__(self, ast: DocumentNode) -> None:
        self.ast = ast
        self.operations = [node for node in ast.definitions if isinstance(node, OperationDefinitionNode)]
        self.cost: Any = None
        self.plans: dict[int, Any] = {}

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation of that name, or the only one; never a guess."""
        if name is None:
            if len(self.operations) == 1:
                return self.operations[0]
            message = "The document has several operations: say which one with operationName."
            raise RequestError.of(message, "OPERATION_RESOLUTION_FAILURE")
        for operation in self.operations:
            if operation.name is not None and operation.name.value == name:
                return operation
        message = f"The document has no operation named {name[:100]!r}."
        raise RequestError.of(message, "OPERATION_RESOLUTION_FAILURE")


class Documents:
    """The documents of one schema. Short texts are kept, also those that are refused; the least recently used go."""

    def __init__(self, schema: GraphQLSchema, *, max_tokens: int) -> None:
        self._schema = schema
        self._max_tokens = max_tokens
        self._kept: OrderedDict[tuple[str, bool], Document | RequestError] = OrderedDict()
        self._length = 0

    def get(self, text: str, *, hide_suggestions: bool = False, timings: Timings | None = None) -> Document:
        """The document of a text, or RequestError."""
        key = (text, hide_suggestions)
        found = self._kept.get(key)
        if found is None:
            found = self._read(text, timings, hide_suggestions=hide_suggestions)
            self._keep(key, found)
        else:
            self._kept.move_to_end(key)
        if isinstance(found, RequestError):
            raise RequestError(found.errors, found.status)
        return found

    def _keep(self, key: tuple[str, bool], found: Document | RequestError) -> None:
        if len(key[0]) > _LONGEST_KEPT:
            return
        self._kept[key] = found
        self._length += len(key[0])
        while self._length > _KEPT:
            (text, _), _ = self._kept.popitem(last=False)
            self._length -= len(text)

    def _read(self, text: str, timings: Timings | None, *, hide_suggestions: bool) -> Document | RequestError:
        try:
            check_tokens(text, self._max_tokens)
            ast = parse(text, max_lexical_tokens=self._max_tokens)
        except RequestError as error:
            return error
        except GraphQLSyntaxError as error:
            return RequestError([shortened(_untraced(error))])
        if timings is not None:
            timings.mark("parse")
        try:
            check_overlaps(ast)
        except RequestError as error:
            return error
        errors = validate(self._schema, ast, max_errors=_MOST_ERRORS, hide_suggestions=hide_suggestions)
        if timings is not None:
            timings.mark("validate")
        return RequestError([shortened(_untraced(error)) for error in errors]) if errors else Document(ast)


def _untraced(error: GraphQLError) -> GraphQLError:
    """Without the frames it was raised through, and all that they hold."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)
