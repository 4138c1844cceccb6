"""How errors leave the process: known ones with their code, the rest masked with an id that stands in the log."""

import logging
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.utils.str_converters import to_camel_case

from repositories.kit.errors import GatewayError, RateLimited, Refusal

log = logging.getLogger("gateway.errors")

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
            log.warning("%s: %r", cause.code, cause.__cause__)
        formatted["extensions"] = extensions(cause)
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
    if isinstance(error, Refusal) and error.path:
        made["field"] = [to_camel_case(str(step)) for step in error.path]
    if isinstance(error, RateLimited):
        made["retryAfter"] = error.retry_after
    return made


def masked(error: BaseException) -> dict[str, Any]:
    """What a client learns of a mistake of ours: an id. The log has the rest."""
    error_id = str(uuid4())
    log.error("internal error %s", error_id, exc_info=error)
    return {
        "message": f"Something went wrong on our side. If it goes on, report this id: {error_id}",
        "extensions": {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id},
    }
