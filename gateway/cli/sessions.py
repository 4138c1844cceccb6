"""`siso sessions`."""

import asyncio

from gateway.cli.console import say
from gateway.cli.ready import migrated_database
from gateway.settings import load_settings
from repositories.core.clock import now
from repositories.core.viewer import SERVICE
from repositories.identity import Sessions


def clean() -> None:
    """Deletes what has come to its end and says how many there were."""
    settings = load_settings()

    async def run() -> int:
        async with migrated_database(settings) as database, database.transaction(SERVICE) as write:
            return await Sessions(write).purge_expired(now())

    say(f"Deleted {asyncio.run(run())} sessions that had come to their end.")
