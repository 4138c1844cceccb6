"""Read-your-writes where a replica answers queries (docs/decisions/0017-replicas.md).

The answer to a mutation tells how far the database was; a query that brings that back sees at least so much. Over
WebSocket, and in what a subscription delivers, it is told to who asks for it: those read from the primary themselves,
but what they show may be asked for over HTTP next.
"""

import logging

from gateway.transport.error_responses import RequestRejected, request_id
from gateway.transport.requests import Headers, Parameters
from repositories.core.errors import GatewayError
from repositories.engines.database import Database
from repositories.engines.position import format_position, parse_position

log = logging.getLogger(__name__)

HEADER = "X-Consistency-Token"
_GIVEN = HEADER.lower().encode()


def since_of(headers: Headers) -> int:
    """The position that a request brings; 0, which every state shows, without one."""
    given = headers.get(_GIVEN)
    if given is None:
        return 0
    try:
        return parse_position(given.decode("latin-1"))
    except ValueError:
        message = f"`{HEADER}` must be what a mutation was answered with; send that, or leave the header out."
        raise RequestRejected(400, "BAD_REQUEST", message) from None


def asks_for_token(parameters: Parameters) -> bool:
    """Whether the answer is to have the token in its ``extensions``, for who cannot read headers."""
    return parameters.extensions.get("consistencyToken") is True


async def token_after(database: Database) -> str | None:
    """Where the database is after a mutation or an event; None where no replica makes a difference.

    What is done is done: that its position cannot be told does not make it fail.
    """
    try:
        position = await database.fetch_position()
    except GatewayError as error:
        log.warning(
            "request %s is answered without a consistency token: %r", request_id.get(), error.__cause__ or error
        )
        return None
    return None if position is None else format_position(position)
