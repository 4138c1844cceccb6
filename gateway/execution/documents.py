"""Parses and validates documents, and caches them with what later steps compute for them.

The work for any text is bounded: its tokens are counted before it is parsed, and the pairs of fields that the
validation rule for overlapping fields compares are counted before it is validated.
"""

import hashlib
import re
from collections.abc import Callable
from functools import cached_property
from sys import getsizeof
from typing import Any, TypeVar

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    parse,
    validate,
)
from graphql.execution.collect_fields import FragmentDetails

from gateway.execution.document_size import check_overlaps, check_tokens
from gateway.execution.request_errors import RequestError, shorten
from gateway.execution.timings import Timings
from gateway.execution.validation_rules import RULES, RULES_WITHOUT_NAMES
from repositories.core.byte_budget import BoundedCache

D = TypeVar("D", bound="Document | None")
E = TypeVar("E", bound=Exception)

_MAX_ERRORS = 5
_FOUND_TEXT = re.compile(r"\b(Name|Int|Float|String|BlockString|Comment|escape sequence):? '.*", re.DOTALL)
"""What a message about a syntax error quotes from the document. It can be a part of a string, and so of a secret."""
_DOCUMENT_SIZE = 3000
_TOKEN_SIZE = 380
"""Estimated bytes of a parsed document, and of each of its tokens."""
_REJECTION_SIZE = 6000
"""Estimated bytes of the errors of an invalid document."""


class Document:
    """A valid document.

    ``measurements`` and ``operation_cache`` belong to later steps, which compute their values once. The keys are the
    ids of operation nodes. These steps tell the cache the estimated bytes of their values by ``grow``.
    """

    def __init__(self, ast: DocumentNode, digest: bytes = b"") -> None:
        self.ast = ast
        self.digest = digest
        """The SHA-256 of the text."""
        self.operations = [node for node in ast.definitions if isinstance(node, OperationDefinitionNode)]
        self.measurements: dict[int, Any] = {}
        self.operation_cache: dict[int, Any] = {}
        self.grow: Callable[[int], None] = _ignore_size

    @cached_property
    def definitions(self) -> dict[str, FragmentDefinitionNode]:
        """The fragments by their names."""
        return {node.name.value: node for node in self.ast.definitions if isinstance(node, FragmentDefinitionNode)}

    @cached_property
    def fragments(self) -> dict[str, FragmentDetails]:
        """The fragments by their names, as graphql-core collects their fields."""
        return {name: FragmentDetails(fragment) for name, fragment in self.definitions.items()}

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation of that name; without a name, the only operation."""
        if name is None:
            if len(self.operations) == 1:
                return self.operations[0]
            message = "The document has several operations: name one of them in `operationName`."
            raise RequestError.of(message, "OPERATION_RESOLUTION_FAILURE")
        for operation in self.operations:
            if operation.name is not None and operation.name.value == name:
                return operation
        message = f"The document has no operation named {name[:100]!r}."
        raise RequestError.of(message, "OPERATION_RESOLUTION_FAILURE")


def _ignore_size(size: int) -> None:
    """For documents that are not cached."""


class Documents:
    """The documents of one schema, cached by their texts, invalid ones too."""

    def __init__(self, schema: GraphQLSchema, *, max_tokens: int) -> None:
        self._schema = schema
        self._max_tokens = max_tokens
        self._cache: BoundedCache[tuple[str, bool], Document | RequestError] = BoundedCache()

    def find(self, text: str, *, hide_suggestions: bool = False) -> Document | None:
        """The document of a text if it is cached, which takes microseconds; RequestError if it is invalid."""
        return _valid(self._cache.get((text, hide_suggestions)))

    def get(self, text: str, *, hide_suggestions: bool = False, timings: Timings | None = None) -> Document:
        """The document of a text, parsed and validated if it is not cached; RequestError if it is invalid."""
        document = self.find(text, hide_suggestions=hide_suggestions)
        if document is None:
            result = self._parse(text, timings, hide_suggestions=hide_suggestions)
            self._store((text, hide_suggestions), result)
            document = _valid(result)
        return document

    def _store(self, key: tuple[str, bool], result: Document | RequestError) -> None:
        size = getsizeof(key[0])
        if isinstance(result, Document):
            size += _DOCUMENT_SIZE + _TOKEN_SIZE * _unlink_tokens(result.ast)
            result.grow = self._cache.growth_of(key)
        else:
            size += _REJECTION_SIZE
        self._cache.put(key, result, size)

    def _parse(self, text: str, timings: Timings | None, *, hide_suggestions: bool) -> Document | RequestError:
        try:
            check_tokens(text, self._max_tokens)
            ast = parse(text, max_lexical_tokens=self._max_tokens)
        except RequestError as error:
            return _drop_traceback(error)
        except GraphQLSyntaxError as error:
            return RequestError([_drop_found_text(shorten(_drop_traceback(error)))])
        if timings is not None:
            timings.mark("parse")
        try:
            check_overlaps(ast)
        except RequestError as error:
            return _drop_traceback(error)
        rules = RULES_WITHOUT_NAMES if hide_suggestions else RULES
        errors = validate(self._schema, ast, rules, max_errors=_MAX_ERRORS, hide_suggestions=hide_suggestions)
        if timings is not None:
            timings.mark("validate")
        if errors:
            return RequestError([shorten(_drop_traceback(error)) for error in errors])
        return Document(ast, hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())


def _valid(result: D | RequestError) -> D:
    if isinstance(result, RequestError):
        raise RequestError(result.errors, result.status)
    return result


def _unlink_tokens(ast: DocumentNode) -> int:
    """Unlinks the tokens of a document, so that it is freed as soon as it is evicted. Returns their number.

    graphql-core links the tokens in both directions. Such cycles are freed by the next full garbage collection only.
    """
    count = 0
    token = ast.loc.start_token if ast.loc is not None else None
    while token is not None:
        count += 1
        following, token.prev, token.next = token.next, None, None
        token = following
    return count


def _drop_traceback(error: E) -> E:
    """Frees the stack frames of an error, and the tokens and the syntax tree that they hold, before it is cached."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def _drop_found_text(error: GraphQLError) -> GraphQLError:
    """Removes the text of the document from the message of a syntax error; the error has its location."""
    error.message = _FOUND_TEXT.sub(r"\1.", error.message)
    return error
