"""How errors leave the process: known ones with their code, the rest masked with an id that stands in the log."""

import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.utils.str_converters import to_camel_case

from gateway.execution.budget import BudgetSpent
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
"""Of the request that is being answered; what is logged about it says so."""

_OURS = 500
"""From this status on the fault is not the client's, and whoever runs the gateway wants to know why."""


def present(errors: Sequence[GraphQLError]) -> list[dict[str, Any]]:
    """The errors of an answer as clients see them. What failed many fields at once has one id and is logged once."""
    known: dict[int, dict[str, Any]] = {}
    return [_present(error, known) for error in errors]


def _present(error: GraphQLError, known: dict[int, dict[str, Any]]) -> dict[str, Any]:
    formatted: dict[str, Any] = dict(error.formatted)
    formatted["message"] = error.message.encode("utf-8", "backslashreplace").decode()
    cause = _cause(error)
    if isinstance(cause, GatewayError):
        formatted["message"] = cause.message
        if cause.status >= _OURS:
            log.warning("%s in request %s: %r", cause.code, request_id.get(), cause.__cause__)
        formatted["extensions"] = extensions(cause)
    elif error.extensions and "code" in error.extensions:
        return formatted
    elif isinstance(error, GraphQLSyntaxError):
        formatted["extensions"] = {"code": "GRAPHQL_PARSE_FAILED"}
    elif cause is None or isinstance(cause, GraphQLError):
        formatted["extensions"] = {"code": "GRAPHQL_VALIDATION_FAILED"}
    else:
        formatted |= known.get(id(cause)) or known.setdefault(id(cause), masked(cause))
    return formatted


def _cause(error: GraphQLError) -> Exception | None:
    """What was raised, below the wrapping that GraphQL adds."""
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def extensions(error: GatewayError) -> dict[str, Any]:
    """``code``, where an argument is to blame its name as ``field``, and how long to wait in seconds."""
    made: dict[str, Any] = {"code": error.code}
    if isinstance(error, InputError) and error.path:
        made["field"] = [to_camel_case(str(step)) for step in error.path]
    if isinstance(error, RateLimited):
        made["retryAfter"] = error.retry_after
    if isinstance(error, QueryTooComplex):
        made |= {"requested": error.requested, "limit": error.limit}
    return made


def masked(error: BaseException) -> dict[str, Any]:
    """What a client learns of a mistake of ours: an id. The log has the rest."""
    error_id = str(uuid4())
    log.error("internal error %s in request %s", error_id, request_id.get(), exc_info=error)
    return {
        "message": f"Something went wrong on our side. If it goes on, report this id: {error_id}",
        "extensions": {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id},
    }


class RequestRejected(Exception):
    """A request that is refused before it is a GraphQL request."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "extensions": {"code": code}}
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, error: Exception) -> "RequestRejected":
        """For an error of ours, or any other, which is masked."""
        if not isinstance(error, GatewayError):
            refused = cls(500, "", "")
            refused.error = masked(error)
            return refused
        refused = cls(error.status, error.code, error.message, headers_of(error))
        refused.error["extensions"] = extensions(error)
        return refused


def headers_of(error: Exception | None) -> dict[str, str]:
    """What HTTP says besides the status."""
    match error:
        case Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case BudgetSpent():
            return {"Retry-After": str(error.retry_after), **error.spent.headers}
        case RateLimited():
            return {"Retry-After": str(error.retry_after)}
        case ServiceUnavailable():
            return {"Retry-After": "1"}
    return {}
