"""Parses and validates documents, and caches them with what later steps compute for them.

The work for any text is bounded: its tokens are counted before it is parsed, and the pairs of fields that the
validation rule for overlapping fields compares are counted before it is validated.
"""

import re
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
from gateway.execution.request_errors import RequestError, shorten
from gateway.execution.timings import Timings
from gateway.execution.validation_rules import RULES, RULES_WITHOUT_NAMES

_MAX_ERRORS = 5
_FOUND_TEXT = re.compile(r"\b(Name|Int|Float|String|BlockString|Comment|escape sequence):? '.*", re.DOTALL)
"""What a message about a syntax error quotes from the document. It can be a part of a string, and so of a secret."""
_MAX_CACHED_LENGTH = 20_000
_CACHE_SIZE = 500_000
"""Characters of all cached texts together. A parsed document takes about 50 bytes per character."""


class Document:
    """A valid document.

    ``measurements`` and ``operation_cache`` belong to later steps, which compute their values once. The keys are the
    ids of operation nodes.
    """

    __slots__ = ("ast", "measurements", "operation_cache", "operations")

    def __init__(self, ast: DocumentNode) -> None:
        self.ast = ast
        self.operations = [node for node in ast.definitions if isinstance(node, OperationDefinitionNode)]
        self.measurements: dict[int, Any] = {}
        self.operation_cache: dict[int, Any] = {}

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


class Documents:
    """The documents of one schema. Short texts are cached, invalid ones too; the least recently used are dropped."""

    def __init__(self, schema: GraphQLSchema, *, max_tokens: int) -> None:
        self._schema = schema
        self._max_tokens = max_tokens
        self._cache: OrderedDict[tuple[str, bool], Document | RequestError] = OrderedDict()
        self._length = 0

    def get(self, text: str, *, hide_suggestions: bool = False, timings: Timings | None = None) -> Document:
        """The document of a text; RequestError if it is invalid."""
        key = (text, hide_suggestions)
        result = self._cache.get(key)
        if result is None:
            result = self._parse(text, timings, hide_suggestions=hide_suggestions)
            self._store(key, result)
        else:
            self._cache.move_to_end(key)
        if isinstance(result, RequestError):
            raise RequestError(result.errors, result.status)
        return result

    def is_cached(self, text: str, *, hide_suggestions: bool = False) -> bool:
        """Whether :meth:`get` needs no time to parse and validate."""
        return (text, hide_suggestions) in self._cache

    def _store(self, key: tuple[str, bool], result: Document | RequestError) -> None:
        if len(key[0]) > _MAX_CACHED_LENGTH:
            return
        self._cache[key] = result
        self._length += len(key[0])
        while self._length > _CACHE_SIZE:
            (text, _), _ = self._cache.popitem(last=False)
            self._length -= len(text)

    def _parse(self, text: str, timings: Timings | None, *, hide_suggestions: bool) -> Document | RequestError:
        try:
            check_tokens(text, self._max_tokens)
            ast = parse(text, max_lexical_tokens=self._max_tokens)
        except RequestError as error:
            return error
        except GraphQLSyntaxError as error:
            return RequestError([_drop_found_text(shorten(_drop_traceback(error)))])
        if timings is not None:
            timings.mark("parse")
        try:
            check_overlaps(ast)
        except RequestError as error:
            return error
        rules = RULES_WITHOUT_NAMES if hide_suggestions else RULES
        errors = validate(self._schema, ast, rules, max_errors=_MAX_ERRORS, hide_suggestions=hide_suggestions)
        if timings is not None:
            timings.mark("validate")
        return RequestError([shorten(_drop_traceback(error)) for error in errors]) if errors else Document(ast)


def _drop_traceback(error: GraphQLError) -> GraphQLError:
    """Frees the stack frames of an error, and the objects that they hold, before it is cached."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def _drop_found_text(error: GraphQLError) -> GraphQLError:
    """Removes the text of the document from the message of a syntax error; the error has its location."""
    error.message = _FOUND_TEXT.sub(r"\1.", error.message)
    return error
