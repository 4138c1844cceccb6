"""Read-your-writes where a replica answers queries (docs/decisions/0017-replicas.md).

The answer to a mutation tells how far the database was; a query that brings that back sees at least so much.
"""

import logging

from gateway.errors import RequestRefused, request_id
from gateway.requests import Headers
from repositories.kit.database import Database
from repositories.kit.errors import GatewayError
from repositories.kit.position import position_of, token_of

log = logging.getLogger("gateway.consistency")

HEADER = "X-Consistency-Token"
_GIVEN = HEADER.lower().encode()


def since_of(headers: Headers) -> int:
    """The position that a request brings; 0, which every state shows, without one."""
    given = headers.get(_GIVEN)
    if given is None:
        return 0
    try:
        return position_of(given.decode("latin-1"))
    except ValueError:
        message = f"`{HEADER}` must be what a mutation was answered with; send that, or leave the header out."
        raise RequestRefused(400, "BAD_REQUEST", message) from None


async def position_after(database: Database, headers: dict[str, str]) -> int:
    """Where the database is after a mutation, which its answer tells; 0 where no replica makes a difference.

    The mutation is done: that its position cannot be told does not make it fail.
    """
    try:
        position = await database.position()
    except GatewayError as error:
        log.warning(
            "request %s is answered without a consistency token: %r", request_id.get(), error.__cause__ or error
        )
        return 0
    if position is None:
        return 0
    headers[HEADER] = token_of(position)
    return position
