"""The current roles and time zone of a viewer, which may differ from those in the token."""

from dataclasses import replace

from repositories.core.clock import stored_time_zone
from repositories.core.viewer import SERVICE, Viewer
from repositories.engines.database import Database
from repositories.identity import Sessions, Users, roles_of
from repositories.tables.identity import UserStatus


async def current_viewer(database: Database, viewer: Viewer) -> Viewer | None:
    """The viewer with the current roles and time zone; None if the account is not active or the session has ended.

    The time zone stays None if the token names none: each request then reads the account's.
    """
    if viewer.id is None:
        return viewer
    async with database.snapshot(SERVICE) as snapshot:
        user = (await Users(snapshot).by_id([viewer.id])).get(viewer.id)
        if user is None or user.status is not UserStatus.ACTIVE:
            return None
        if viewer.session is not None:
            session = (await Sessions(snapshot).by_id([viewer.session])).get(viewer.session)
            if session is None or session.revoked_at is not None:
                return None
        time_zone = viewer.time_zone and stored_time_zone(user.time_zone).key
        return replace(viewer, roles=await roles_of(snapshot, user), time_zone=time_zone)
