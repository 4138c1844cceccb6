"""Which accounts and sessions have changed, so that a verified token can be checked without a statement.

Tokens stay valid by their signature when their user is suspended, closes the account, loses a role or signs out, and
keep the time zone that they were issued with. Events tell each process about these changes: its own at the commit,
those of other processes through the event feed, and at the start those of the last hours. A change only causes a
look-up of the account, so it does no harm that an event is late, repeated or made up. Their number is bounded: when the
oldest is dropped, the tokens that were issued before it are looked up instead.
"""

import datetime as dt
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from uuid import UUID

from gateway.auth.claims import LEEWAY
from repositories.administration import RoleGranted, RoleRevoked
from repositories.aggregates.event_store import EventStore
from repositories.core.errors import GatewayError
from repositories.core.event import Event
from repositories.core.viewer import SERVICE, Viewer
from repositories.engines.database import Database
from repositories.identity import (
    ProfileUpdated,
    SessionRevoked,
    UserDeactivated,
    UserReinstated,
    UserRoleChanged,
    UserSuspended,
)
from repositories.sql.filters import And, Compare, Direction, Op, SortKey
from repositories.tables.events import DomainEvent

log = logging.getLogger(__name__)

_KINDS = frozenset(
    kind.__name__
    for kind in (
        *(SessionRevoked, UserDeactivated, UserSuspended, UserReinstated),
        *(UserRoleChanged, RoleGranted, RoleRevoked, ProfileUpdated),
    )
)
"""The types of events after which the account is looked up. Their aggregates are sessions and users."""


def may_change_viewer(event: DomainEvent) -> bool:
    """Whether the user of the event, or of its session, may have other rights or another time zone now."""
    return event.event_type in _KINDS


class AccountChanges:
    """The latest changes of users and sessions, numbered from 1 in the order in which this process learned of them.

    ``count`` is the number of the last change.
    """

    def __init__(self, max_changes: int = 10_000) -> None:
        self.count = 0
        self._max_changes = max_changes
        self._changes: OrderedDict[UUID, tuple[int, float]] = OrderedDict()
        """The number and the time of the last change of each user and session, oldest first."""
        self._complete_since = -float("inf")
        self._dropped_at = 0

    async def on_commit(self, events: Sequence[Event]) -> None:
        """Takes the events of a unit of work of this process."""
        self._add((event.aggregate_id for event in events if event.type in _KINDS), time.time())

    async def on_events(self, events: Sequence[DomainEvent]) -> None:
        """Takes the events of other processes."""
        self._add((event.aggregate_id for event in events if event.event_type in _KINDS), time.time())

    async def load(self, database: Database, lifetime: int) -> None:
        """Reads the changes of the last ``lifetime`` seconds. If that fails, all earlier tokens are looked up.

        The feed must already have a position, so that it delivers the events that this does not find.
        """
        started = time.time()
        try:
            async with database.snapshot(SERVICE) as snapshot:
                since = dt.datetime.fromtimestamp(started - lifetime, dt.UTC)
                where = And((Compare("event_type", Op.IN, tuple(sorted(_KINDS))), Compare("timestamp", Op.GTE, since)))
                newest_first = [SortKey("timestamp", Direction.DESC)]
                events = await EventStore(snapshot).find(where, newest_first, limit=self._max_changes)
        except GatewayError as error:
            log.warning("The changes of accounts cannot be read: %s. Each earlier token is looked up once.", error)
            self._drop_before(started)
            return
        self._drop_before(started - lifetime)
        for event in reversed(events):
            self._add([event.aggregate_id], event.timestamp.timestamp())
        if len(events) == self._max_changes:
            self._drop_before(events[-1].timestamp.timestamp())

    def latest(self, viewer: Viewer, issued_at: float) -> int:
        """The number of the latest change that may concern a token; 0 if there is none.

        ``issued_at`` is in seconds since 1970.
        """
        latest = self._dropped_at if issued_at < self._complete_since else 0
        for key in (viewer.id, viewer.session):
            change = self._changes.get(key) if key is not None else None
            if change is not None:
                latest = max(latest, change[0])
        return latest

    def _add(self, keys: Iterable[UUID], at: float) -> None:
        for key in keys:
            self.count += 1
            self._changes[key] = (self.count, at)
            self._changes.move_to_end(key)
            if len(self._changes) > self._max_changes:
                _, (_, dropped) = self._changes.popitem(last=False)
                self._drop_before(dropped)

    def _drop_before(self, at: float) -> None:
        """Changes until this time are not known. Clocks may differ, so tokens that seem a little newer are included."""
        self.count += 1
        self._dropped_at = self.count
        self._complete_since = max(self._complete_since, at + LEEWAY)
