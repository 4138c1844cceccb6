"""`siso keys`."""

import asyncio

import typer

from gateway.cli.console import print_notice, print_result, progress_bar
from gateway.cli.preconditions import open_migrated_database
from gateway.settings import load_settings
from repositories.core.encryption import MissingKeysError
from repositories.rotation import RotationResult, count_outdated
from repositories.rotation import rotate as rotate_values


def rotate() -> None:
    """Encrypts all values with the current key; exits with code 1 if some values still need an old key."""
    settings = load_settings()

    async def run() -> tuple[str, RotationResult]:
        async with open_migrated_database(settings) as database:
            if not database.cipher.current_key_id:
                raise MissingKeysError
            with progress_bar() as progress:
                bar = progress.add_task("Encrypting", total=await count_outdated(database))
                result = await rotate_values(
                    database,
                    on_progress=lambda count: progress.advance(bar, count),
                    on_unreadable=lambda error: print_notice(f"siso: {error}."),
                )
                return database.cipher.current_key_id, result

    key, (renewed, unreadable, left) = asyncio.run(run())
    print_result(f"Encrypted {renewed} values with the key {key}.")
    if unreadable:
        print_result(f"{unreadable} values cannot be decrypted with any of the keys and were left unchanged.")
    if left > 0:
        print_result(
            f"{left} values were written with another key during the rotation. Restart the gateway, so that it "
            f"encrypts with {key}, and run `siso keys rotate` again."
        )
    if unreadable or left > 0:
        raise typer.Exit(1)
