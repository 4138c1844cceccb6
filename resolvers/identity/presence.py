"""For who stays connected after the token was verified: when the session behind it ends, or its account is closed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from repositories.core.errors import GatewayError, Unauthenticated
from repositories.identity import SessionRevoked, Sessions, UserDeactivated, Users, UserSuspended
from repositories.tables.identity import UserStatus
from resolvers.request.context import Context
from resolvers.streaming.feed import Feed, aggregate_topic

_ENDS = frozenset(kind.__name__ for kind in (SessionRevoked, UserDeactivated, UserSuspended))


@asynccontextmanager
async def presence(context: Context) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """What is yielded waits until the viewer's session is ended, or the account suspended or deactivated.

    Unauthenticated if that has happened already.
    """
    session, user = context.viewer.session, context.viewer_id
    topics = [aggregate_topic(key) for key in (session, user) if key is not None]
    feed = context.service(Feed)
    async with feed.subscribe(topics, lambda event: event.event_type in _ENDS, queue_size=None) as subscriber:
        await _refuse_ended(context, session, user)

        async def ended() -> None:
            """An event may have been made up, so what has become of the session is looked up."""
            while True:
                await subscriber.take_all()
                try:
                    await _refuse_ended(context, session, user)
                except GatewayError:
                    return

        yield ended


async def _refuse_ended(context: Context, session: UUID | None, user: UUID) -> None:
    try:
        account = (await Users(context.snapshot).by_id([user])).get(user)
        is_over = account is None or account.status is not UserStatus.ACTIVE
        if session is not None and not is_over:
            found = (await Sessions(context.snapshot).by_id([session])).get(session)
            is_over = found is None or found.revoked_at is not None
    finally:
        await context.discard_reads()
    if is_over:
        message = "This session has ended. Sign in again."
        raise Unauthenticated(message)
