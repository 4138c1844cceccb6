"""`siso sessions`."""

import asyncio

from gateway.cli.console import print_result
from gateway.cli.preconditions import open_migrated_database
from gateway.settings import load_settings
from repositories.core.clock import now
from repositories.core.viewer import SERVICE
from repositories.identity import Sessions


def clean() -> None:
    settings = load_settings()

    async def purge() -> int:
        async with open_migrated_database(settings) as database, database.transaction(SERVICE) as write:
            return await Sessions(write).purge_expired(now())

    print_result(f"Deleted {asyncio.run(purge())} expired sessions.")
