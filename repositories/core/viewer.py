"""Who is asking, and what a role may do.

A :class:`Viewer` is all that the floors below the gateway ever learn of a request's identity. It decides the database
role and claims of every transaction (row-level security) and the permissions that root fields require.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """What a signed-in person is; everybody who is signed in is a USER."""

    USER = "user"
    PARTNERSHIP_MANAGER = "partnership_manager"
    CONTENT_EDITOR = "content_editor"
    ADMIN = "admin"


class Permission(StrEnum):
    """What a root field or mutation may require. Rows are guarded separately, by policies."""

    TASK_READ = "task:read"
    TASK_WRITE = "task:write"
    STATISTICS_READ = "statistics:read"
    STATISTICS_REFRESH = "statistics:refresh"
    EVENT_READ = "event:read"
    ACCOUNT_READ = "account:read"
    ACCOUNT_WRITE = "account:write"
    ADMINISTRATION_READ = "administration:read"
    ADMINISTRATION_WRITE = "administration:write"
    PARTNERSHIP_READ = "partnership:read"
    PARTNERSHIP_WRITE = "partnership:write"
    GAMIFICATION_READ = "gamification:read"
    GAMIFICATION_MANAGE = "gamification:manage"
    REWARD_REDEEM = "reward:redeem"
    CLIENT_READ = "client:read"
    CLIENT_WRITE = "client:write"


_USER = frozenset(
    {
        Permission.TASK_READ,
        Permission.TASK_WRITE,
        Permission.EVENT_READ,
        Permission.ACCOUNT_READ,
        Permission.ACCOUNT_WRITE,
        Permission.GAMIFICATION_READ,
        Permission.REWARD_REDEEM,
        Permission.CLIENT_READ,
        Permission.CLIENT_WRITE,
    }
)

PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.USER: _USER,
    Role.PARTNERSHIP_MANAGER: _USER | {Permission.PARTNERSHIP_READ, Permission.PARTNERSHIP_WRITE},
    Role.CONTENT_EDITOR: _USER,
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True, slots=True)
class Viewer:
    """The one on whose behalf a request runs.

    ``id`` is None for anonymous callers and for the service. ``is_service`` stands for work of the gateway itself
    (seeding, imports, jobs): it sees every row, and on PostgreSQL it uses its own login. ``time_zone`` is the one the
    person lives in, and ``session`` the one the request belongs to, if the token tells.
    """

    id: UUID | None = None
    roles: frozenset[Role] = frozenset()
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
