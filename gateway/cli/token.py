"""`siso token`."""

import asyncio

from gateway.cli.console import CommandError, say
from gateway.cli.ready import migrated_database
from gateway.identity import Tokens, signing_key
from gateway.settings import Settings, load_settings
from repositories.administration import granted_roles
from repositories.identity import Users
from repositories.kit.viewer import SERVICE, Role
from repositories.tables.identity import User, UserStatus


def token(email: str, lifetime: int | None) -> None:
    """Prints a token."""
    settings = load_settings()
    tokens = Tokens(signing_key(settings), settings.jwt_audience)
    user, granted = asyncio.run(_user(settings, email))
    if user is None:
        raise CommandError(f"There is no user {email}. `siso seed --demo` makes some, such as ada@example.com.")
    if user.status is not UserStatus.ACTIVE:
        raise CommandError(f"The account of {email} is {user.status.value}: no token is issued.")
    say(tokens.issue(user, settings.token_lifetime if lifetime is None else lifetime, granted))


async def _user(settings: Settings, email: str) -> tuple[User | None, frozenset[Role]]:
    async with migrated_database(settings) as database:
        snapshot = database.snapshot(SERVICE)
        found = await Users(snapshot).of_email(email)
        granted = await granted_roles(snapshot, found.id) if found else frozenset()
        await snapshot.close()
        return found, granted
