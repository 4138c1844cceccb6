"""`siso keys`."""

import asyncio

import typer

from gateway.cli.console import note, progress_bar, say
from gateway.cli.ready import migrated_database
from gateway.settings import load_settings
from repositories.core.encryption import MissingKeysError
from repositories.rotation import RotationResult, count_outdated
from repositories.rotation import rotate as rotate_values


def rotate() -> None:
    """Rotates with a progress bar; exit code 1 if something is left that needs an old key."""
    settings = load_settings()

    async def run() -> tuple[str, RotationResult]:
        async with migrated_database(settings) as database:
            if not database.cipher.current_key_id:
                raise MissingKeysError
            with progress_bar() as progress:
                bar = progress.add_task("Encrypting", total=await count_outdated(database))
                result = await rotate_values(
                    database,
                    on_progress=lambda count: progress.advance(bar, count),
                    on_unreadable=lambda error: note(f"siso: {error}."),
                )
                return database.cipher.current_key_id, result

    key, (renewed, unreadable, left) = asyncio.run(run())
    say(f"Encrypted {renewed} values with the key {key}.")
    if unreadable:
        say(f"{unreadable} values cannot be decrypted with any key and stay as they are.")
    if left > 0:
        say(
            f"{left} values were written with another key meanwhile. Restart the gateway with {key}, then run it again."
        )
    if unreadable or left > 0:
        raise typer.Exit(1)
