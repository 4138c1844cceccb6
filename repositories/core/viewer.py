"""Who is asking, and what a role may do.

A :class:`Viewer` is all that the floors below the gateway ever learn of a request's identity. It decides the database
role and claims of every transaction (row-level security) and the permissions that root fields require.
"""

from dataclasses import dataclass
from uuid import UUID

from repositories.permissions import PERMISSIONS, Permission, RoleName


@dataclass(frozen=True, slots=True)
class Viewer:
    """The one on whose behalf a request runs.

    ``id`` is None for anonymous callers and for the service. ``is_service`` stands for work of the gateway itself
    (seeding, imports, jobs): it sees every row, and on PostgreSQL it uses its own login. ``time_zone`` is the one the
    person lives in, and ``session`` the one the request belongs to, if the token tells.
    """

    id: UUID | None = None
    roles: frozenset[RoleName] = frozenset()
    is_service: bool = False
    time_zone: str | None = None
    session: UUID | None = None

    @property
    def is_authenticated(self) -> bool:
        """Whether somebody is signed in."""
        return self.id is not None

    def may(self, permission: Permission) -> bool:
        """Whether one of the viewer's roles carries ``permission``."""
        return self.is_service or any(permission in PERMISSIONS[role] for role in self.roles)

    @property
    def database_role(self) -> str:
        """The PostgreSQL role of the viewer's transactions, by Supabase's names."""
        if self.is_service:
            return "service_role"
        return "authenticated" if self.is_authenticated else "anon"


ANONYMOUS = Viewer()
SERVICE = Viewer(is_service=True)
