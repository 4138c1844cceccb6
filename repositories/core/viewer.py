"""The viewer: the identity on whose behalf a request runs.

A :class:`Viewer` is all that the layers below the gateway know about the identity of a request. It decides the database
role and the claims of every transaction (row-level security), and which root fields the request may use.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from uuid import UUID

from repositories.permissions import PERMISSIONS, Permission, Requirement, RoleName


@dataclass(frozen=True, slots=True)
class Viewer:
    """The identity of a request or of a job.

    ``id`` is None for anonymous callers and for the service, unless the service works on behalf of a user.
    ``is_service`` marks work of the gateway itself (seeding, imports, jobs): it reads and writes every row, and on
    PostgreSQL it uses its own login. ``time_zone`` is the user's
    time zone and ``session`` the session of the request; both are None if the token does not contain them. ``network``
    is the network of an anonymous caller.
    """

    id: UUID | None = None
    roles: frozenset[RoleName] = frozenset()
    is_service: bool = False
    time_zone: str | None = None
    session: UUID | None = None
    network: str | None = field(default=None, compare=False)

    @property
    def is_authenticated(self) -> bool:
        return self.id is not None

    @property
    def key(self) -> Hashable:
        """What limits per viewer count by. None for the service, which has no such limits."""
        if self.id is not None:
            return self.id.int  # hashed in C, unlike a UUID
        return None if self.is_service else self.network or "anonymous"

    def may(self, permission: Requirement) -> bool:
        """Whether the viewer has one of the roles, or a role that grants the permission. The service may everything."""
        if isinstance(permission, frozenset):
            return self.is_service or not permission.isdisjoint(self.roles)
        return self.is_service or permission in _permissions_of(self.roles)

    def as_service(self) -> "Viewer":
        """The service on behalf of this viewer, who is the actor of the events that it records."""
        return replace(self, is_service=True)

    @property
    def claimed_role(self) -> str:
        """The role in the claims of the viewer's transactions on PostgreSQL; the names are those of Supabase."""
        if self.is_service:
            return "service_role"
        return "authenticated" if self.is_authenticated else "anon"


@lru_cache(maxsize=64)
def _permissions_of(roles: frozenset[RoleName]) -> frozenset[Permission]:
    return frozenset().union(*(PERMISSIONS[role] for role in roles))


ANONYMOUS = Viewer()
SERVICE = Viewer(is_service=True)
