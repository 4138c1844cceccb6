"""Subscriptions without a transport. The transports have tests of their own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.execution.subscription_results import SubscriptionResult, open_subscription
from gateway.server.app import create_cost_limiter, create_processor
from gateway.settings import Settings
from repositories.core.clock import now
from repositories.core.viewer import ANONYMOUS
from repositories.engines.database import Database
from repositories.permissions import RoleName
from repositories.tables.identity import User, UserRole
from resolvers.identity.queries import account_time_zone, first_weekday
from resolvers.reactions import REACTIONS
from resolvers.request.context import AccountCalendar, Context
from resolvers.streaming.feed import Feed, FeedOptions
from tests.factories import viewer_of


class SubscribingProcess:
    """The feed of one process, and subscriptions to its events."""

    def __init__(self, database: Database, options: FeedOptions | None = None) -> None:
        self.database = database
        self.feed = Feed(database, None, options or FeedOptions(poll_interval=0.01, live_interval=0))
        self.pipeline = create_processor(Settings(), create_cost_limiter(Settings()))

    @asynccontextmanager
    async def subscribe(
        self, user: User | None, document: str, *, after: str | None = None, **variables: Any
    ) -> AsyncIterator[AsyncIterator[SubscriptionResult]]:
        """The results of a subscription that has started: it receives everything that is committed from now on."""
        roles = [RoleName.ADMIN] if user is not None and user.role is UserRole.ADMIN else []
        viewer = viewer_of(user, *roles) if user is not None else ANONYMOUS
        prepared = self.pipeline.prepare(self.pipeline.parse(document, viewer), None, viewer, variables)

        services = {Feed: self.feed, AccountCalendar: AccountCalendar(account_time_zone, first_weekday)}

        def new_context() -> Context:
            return Context(self.database, viewer, REACTIONS, now, services=services, resume_after=after)

        async with open_subscription(self.pipeline, prepared, new_context) as deliveries:
            first = asyncio.ensure_future(anext(deliveries))
            while not self.feed.subscriber_count and not first.done():  # noqa: ASYNC110 (the feed has no hook for it)
                await asyncio.sleep(0)
            rest = _prepend(first, deliveries)
            try:
                yield rest
            finally:
                await rest.aclose()
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)


async def _prepend(first: "asyncio.Future[SubscriptionResult]", rest: AsyncIterator[SubscriptionResult]) -> Any:
    yield await first
    async for delivery in rest:
        yield delivery


async def take(deliveries: AsyncIterator[SubscriptionResult], count: int) -> list[Any]:
    """The data of the next ``count`` results, with a timeout."""
    async with asyncio.timeout(60):
        return [(await anext(deliveries)).result.data for _ in range(count)]
