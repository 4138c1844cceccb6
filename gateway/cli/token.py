"""`siso token`."""

import asyncio

from gateway.auth.tokens import Tokens, signing_key
from gateway.cli.console import CommandError, print_result
from gateway.cli.preconditions import open_migrated_database
from gateway.settings import Settings, load_settings
from repositories.core.viewer import SERVICE
from repositories.identity import Users, roles_of
from repositories.permissions import RoleName
from repositories.tables.identity import User, UserStatus


def token(email: str, lifetime: int | None) -> None:
    """Prints a token for the user; ``lifetime`` is in seconds."""
    settings = load_settings()
    tokens = Tokens(signing_key(settings), settings.jwt_audience)
    found = asyncio.run(_find_user(settings, email))
    if found is None:
        raise CommandError(f"There is no user {email}. `siso seed --demo` creates users such as ada@example.com.")
    user, roles = found
    if user.status is not UserStatus.ACTIVE:
        raise CommandError(f"The account of {email} is {user.status.value}. Only active accounts get tokens.")
    print_result(tokens.issue(user, roles, settings.token_lifetime if lifetime is None else lifetime))


async def _find_user(settings: Settings, email: str) -> tuple[User, frozenset[RoleName]] | None:
    async with open_migrated_database(settings) as database, database.snapshot(SERVICE) as snapshot:
        user = await Users(snapshot).of_email(email)
        return None if user is None else (user, await roles_of(snapshot, user))
