"""The service that finds accounts by their e-mail address, for domains whose users name other users."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from resolvers.request.context import Context


@dataclass(frozen=True, slots=True)
class AccountLookup:
    """``find_active(context, email)`` returns the id of the active user with an e-mail address, or None.

    Viewers cannot read the accounts of other users, so the service reads them. It limits the lookups of each viewer and
    raises RateLimited. It must not be called within a unit of work, because a request holds one connection at a time.
    """

    find_active: Callable[[Context, str], Awaitable[UUID | None]]
