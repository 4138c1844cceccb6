"""What a viewer may do now, whatever the token says."""

from repositories.core.viewer import SERVICE, Viewer
from repositories.engines.database import Database
from repositories.identity import Sessions, Users, roles_of
from repositories.permissions import RoleName
from repositories.tables.identity import UserStatus


async def current_roles(database: Database, viewer: Viewer) -> frozenset[RoleName] | None:
    """The roles that the viewer has now; None if the account is not active or the session has ended."""
    if viewer.id is None:
        return viewer.roles
    async with database.snapshot(SERVICE) as snapshot:
        user = (await Users(snapshot).by_id([viewer.id])).get(viewer.id)
        if user is None or user.status is not UserStatus.ACTIVE:
            return None
        if viewer.session is not None:
            session = (await Sessions(snapshot).by_id([viewer.session])).get(viewer.session)
            if session is None or session.revoked_at is not None:
                return None
        return await roles_of(snapshot, user)
