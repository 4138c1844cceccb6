"""Idempotent mutations: a request that is repeated with the same key takes effect once.

The unit of work of a mutation field claims the key in its first statement and stores its outcome before the commit.
Both are stored together with the effect, or not at all. A repeated request finds the record and gets the payload of the
first one, with the rows as they are now. See docs/idempotency.md and docs/decisions/0041-idempotency.md.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import IdempotencyKeyReused, ServiceUnavailable, Timeout
from repositories.engines.database import ReadConnection
from repositories.idempotency_keys import IdempotencyKeys
from repositories.tables.idempotency import IdempotencyRecord
from resolvers.request.outcomes import encode_outcome


class Replay(Exception):
    """Raised inside a unit of work whose mutation has taken effect before. Rolls the unit of work back."""

    def __init__(self, outcome: Mapping[str, Any]) -> None:
        super().__init__()
        self.outcome = outcome


class Idempotency:
    """The idempotency key of one request with a mutation.

    ``fingerprint`` identifies the operation and its variables. ``lifetime`` is how long outcomes are kept.
    ``reads_first`` is set if the operation has several fields: nothing is executed if one of their records belongs to
    another operation.
    """

    def __init__(self, viewer: UUID, key: str, fingerprint: str, *, lifetime: dt.timedelta, reads_first: bool) -> None:
        self._viewer = viewer
        self._key = key
        self._fingerprint = fingerprint
        self._lifetime = lifetime
        self._reads_first = reads_first
        self._known: Mapping[str, IdempotencyRecord] | None = None
        self._record: UUID | None = None
        self.field = ""
        """The response key of the mutation field that runs. The executor sets it."""
        self.is_running = False
        """Whether the next unit of work is that of a mutation field."""
        self.is_replayed = False
        """Whether the payload of a field is that of an earlier request."""
        self.is_reused = False
        """Whether the key belongs to another operation."""

    def reads_first(self, *, prepares: bool) -> bool:
        """Whether the records must be read before the field runs. ``prepares``: it works before its unit of work."""
        return self._known is None and (prepares or self._reads_first)

    async def read(self, connection: ReadConnection, at: dt.datetime) -> None:
        """Reads the records of the key. Raises IdempotencyKeyReused if they belong to another operation."""
        self._known = await IdempotencyKeys(connection).of_key(self._viewer, self._key, at)
        for record in self._known.values():
            self._check(record)

    def find(self) -> Mapping[str, Any] | None:
        """The outcome of the field if it is known before its unit of work begins."""
        found = (self._known or {}).get(self.field)
        return None if found is None else self._outcome(found)

    async def claim(self, work: UnitOfWork) -> None:
        """Claims the key for the field, in the first statement of its unit of work.

        Waits for another request that has claimed it and still runs, at most for the timeout of a statement. Raises
        Replay if that one has taken effect.
        """
        keys = work.repository(IdempotencyKeys)
        until = work.now + self._lifetime
        try:
            self._record = await keys.claim(
                self._viewer, self._key, self.field, fingerprint=self._fingerprint, at=work.now, until=until
            )
        except Timeout:
            raise _still_running() from None
        if self._record is None:
            found = (await keys.of_key(self._viewer, self._key, work.now)).get(self.field)
            if found is None:  # it has expired since
                raise _still_running()
            self._check(found)
            raise Replay(self._outcome(found))

    async def complete(self, work: UnitOfWork) -> None:
        """Stores the outcome, before the unit of work is committed."""
        if self._record is not None:
            await work.repository(IdempotencyKeys).complete(self._record, encode_outcome(work.outcome))
            self._record = None

    def _check(self, record: IdempotencyRecord) -> None:
        if record.fingerprint != self._fingerprint:
            self.is_reused = True
            raise IdempotencyKeyReused

    def _outcome(self, record: IdempotencyRecord) -> Mapping[str, Any]:
        self.is_replayed = True
        return record.outcome or {}


def _still_running() -> ServiceUnavailable:
    return ServiceUnavailable("Another request with this idempotency key is still running. Repeat it in a moment.")
