"""Consistency tokens: with them, a client reads its own writes although a replica answers queries.

The response to a mutation carries a token with the position of the database after the mutation. A query that sends
the token back sees at least that state. Operations over WebSocket and deliveries of subscriptions read from the
primary; their responses carry a token if the operation requests it, because the client may send its next query over
HTTP. See docs/decisions/0017-replicas.md.
"""

import logging

from gateway.transport.error_responses import RequestRejected, request_id
from gateway.transport.requests import Headers, Parameters
from repositories.core.errors import GatewayError
from repositories.engines.database import Database
from repositories.engines.position import format_position, parse_position

log = logging.getLogger(__name__)

HEADER = "X-Consistency-Token"
_HEADER_NAME = HEADER.lower().encode()


def requested_position(headers: Headers) -> int:
    """The position in the request's token. Without a token it is 0, which every state of the database contains."""
    token = headers.get(_HEADER_NAME)
    if token is None:
        return 0
    try:
        return parse_position(token.decode("latin-1"))
    except ValueError:
        message = f"`{HEADER}` must be a token from the response to a mutation. Send that token, or omit the header."
        raise RequestRejected(400, "BAD_REQUEST", message) from None


def requests_token(parameters: Parameters) -> bool:
    """Whether the response must carry the token in its ``extensions``, for clients that cannot read headers."""
    return parameters.extensions.get("consistencyToken") is True


async def current_token(database: Database) -> str | None:
    """The token after a mutation or an event; None without a replica, because then every read is current.

    The mutation is committed, so a failure to read the position is logged and does not fail the operation.
    """
    try:
        position = await database.fetch_position()
    except GatewayError as error:
        log.warning(
            "Request %s is answered without a consistency token: %r.", request_id.get(), error.__cause__ or error
        )
        return None
    return None if position is None else format_position(position)
