"""`siso sessions clean` deletes expired sessions, and no others."""

import asyncio
import datetime as dt

from repositories.core.clock import now
from repositories.core.viewer import SERVICE
from repositories.engines.database import DatabaseOptions
from repositories.identity import Sessions
from tests.cli.siso import Siso
from tests.factories import make_user
from tests.repositories.support import connect_database, open_snapshot

_HOUR = dt.timedelta(hours=1)


def test_expired_sessions_are_deleted(siso: Siso, options: DatabaseOptions) -> None:
    at = now()

    async def make() -> None:
        async with connect_database(options) as database:
            user = await make_user(database)
            rows = [
                {"user_id": user.id, "refresh_token_hash": str(index) * 64, "last_seen_at": at, **values}
                for index, values in enumerate(
                    (
                        {"expires_at": at - _HOUR},
                        {"expires_at": at - _HOUR, "revoked_at": at},
                        {"expires_at": at + _HOUR, "revoked_at": at},
                        {"expires_at": at + _HOUR},
                    )
                )
            ]
            async with database.transaction(SERVICE) as write:
                await Sessions(write).add_many(rows)

    async def remaining() -> set[str]:
        async with connect_database(options) as database, open_snapshot(database) as snapshot:
            return {session.refresh_token_hash[0] for session in await Sessions(snapshot).find(limit=10)}

    asyncio.run(make())
    assert siso.expect_output("sessions", "clean") == "Deleted 2 expired sessions."
    assert asyncio.run(remaining()) == {"2", "3"}
    assert siso.expect_output("sessions", "clean") == "Deleted 0 expired sessions."
