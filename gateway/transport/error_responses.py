"""Errors as clients see them: known errors with their code, all others masked with an id that is also in the log."""

import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Self
from uuid import uuid4

from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.utils.str_converters import to_camel_case

from gateway.execution.budget import BudgetExceeded
from repositories.core.errors import (
    GatewayError,
    InputError,
    QueryTooComplex,
    RateLimited,
    ServiceUnavailable,
    Unauthenticated,
)

log = logging.getLogger(__name__)

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the current request, for log messages."""

_SERVER_ERROR = 500
"""Errors with this status or a higher one are logged: the operator has to act, not the client."""


def format_graphql_errors(errors: Sequence[GraphQLError]) -> list[dict[str, Any]]:
    """The ``errors`` of a response. An exception that failed several fields is logged once, under one id."""
    masked: dict[int, dict[str, Any]] = {}
    formatted = [_format_graphql_error(error, masked) for error in errors]
    for error in errors:
        _forget_frames(error)
    return formatted


def _forget_frames(error: BaseException) -> None:
    """Forgets where an error and its causes were raised, which has been logged if it matters.

    The frames hold the operation, which holds the error. Only a garbage collection would free such a cycle, and with it
    all rows and results of the operation.
    """
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and each.__traceback__ is not None:
            each.__traceback__ = None
            waiting += [each.__cause__, each.__context__]
        if isinstance(each, GraphQLError):
            waiting.append(each.original_error)


def _format_graphql_error(error: GraphQLError, masked: dict[int, dict[str, Any]]) -> dict[str, Any]:
    formatted: dict[str, Any] = dict(error.formatted)
    formatted["message"] = error.message.encode("utf-8", "backslashreplace").decode()
    cause = _cause(error)
    if isinstance(cause, GatewayError):
        formatted["message"] = cause.message
        if cause.status >= _SERVER_ERROR:
            log.warning("%s in request %s: %r.", cause.code, request_id.get(), cause.__cause__)
        formatted["extensions"] = error_extensions(cause)
    elif error.extensions and "code" in error.extensions:
        return formatted
    elif isinstance(error, GraphQLSyntaxError):
        formatted["extensions"] = {"code": "GRAPHQL_PARSE_FAILED"}
    elif cause is None or isinstance(cause, GraphQLError):
        formatted["extensions"] = {"code": "GRAPHQL_VALIDATION_FAILED"}
    else:
        formatted |= masked.get(id(cause)) or masked.setdefault(id(cause), mask_error(cause))
    return formatted


def _cause(error: GraphQLError) -> Exception | None:
    """The exception that a resolver raised, without the GraphQL errors that wrap it."""
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def error_extensions(error: GatewayError) -> dict[str, Any]:
    """The ``extensions`` of an error.

    ``code``, and where they apply ``field`` (the path of the argument), ``retryAfter`` (seconds), ``requested`` and
    ``limit`` (costs).
    """
    extensions: dict[str, Any] = {"code": error.code}
    if isinstance(error, InputError) and error.path:
        extensions["field"] = [to_camel_case(str(step)) for step in error.path]
    if isinstance(error, RateLimited):
        extensions["retryAfter"] = error.retry_after
    if isinstance(error, QueryTooComplex):
        extensions |= {"requested": error.requested, "limit": error.limit}
    return extensions


def mask_error(error: BaseException) -> dict[str, Any]:
    """Logs an unexpected exception under a new id. The client learns the id and nothing else."""
    error_id = str(uuid4())
    log.error("Internal error %s in request %s.", error_id, request_id.get(), exc_info=error)
    return {
        "message": f"An internal error occurred. If it persists, report this id: {error_id}",
        "extensions": {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id},
    }


class RequestRejected(Exception):
    """A request that is rejected with an HTTP status before its operation runs."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "extensions": {"code": code}}
        self.headers = dict(headers or {})

    @classmethod
    def from_exception(cls, error: Exception) -> Self:
        """Has the status and message of a GatewayError. Any other exception is masked and has status 500."""
        if not isinstance(error, GatewayError):
            rejected = cls(500, "", "")
            rejected.error = mask_error(error)
            return rejected
        rejected = cls(error.status, error.code, error.message, error_headers(error))
        rejected.error["extensions"] = error_extensions(error)
        return rejected


def error_headers(error: Exception | None) -> dict[str, str]:
    """The response headers that belong to an error."""
    match error:
        case Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case BudgetExceeded():
            return {"Retry-After": str(error.retry_after), **error.budget.headers}
        case RateLimited():
            return {"Retry-After": str(error.retry_after)}
        case ServiceUnavailable():
            return {"Retry-After": "1"}
    return {}
