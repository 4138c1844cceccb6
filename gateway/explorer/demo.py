"""What the demo shows to users of GraphiQL: the users that they may sign in as, and the e-mails."""

from gateway.auth.tokens import Tokens
from gateway.explorer import Account, Message
from repositories.core.viewer import SERVICE
from repositories.demo.users import generate_users
from repositories.engines.database import Database
from repositories.identity import Users, roles_of
from repositories.permissions import RoleName
from repositories.sql.filters import Compare, Op
from repositories.tables.identity import UserStatus
from resolvers.services.mail import LoggedMail

_ORDINARY_USERS = 2
"""How many users without special roles are offered. The users with special roles follow them."""


class DemoAccounts:
    """Issues tokens for the demo users. Selects them by id, so that no other account is ever offered."""

    def __init__(self, database: Database, tokens: Tokens, lifetime: int) -> None:
        self._database = database
        self._tokens = tokens
        self._lifetime = lifetime
        self._ids = [person["id"] for person in generate_users(_ORDINARY_USERS)]

    async def __call__(self) -> list[Account]:
        """The active ones, in the order of the demo data."""
        snapshot = self._database.snapshot(SERVICE)
        try:
            found = await Users(snapshot).find(Compare("id", Op.IN, self._ids), limit=len(self._ids))
            active = {user.id: user for user in found if user.status is UserStatus.ACTIVE}
            roles = {key: await roles_of(snapshot, user) for key, user in active.items()}
        finally:
            await snapshot.close()
        return [
            Account(
                email=active[key].email,
                name=_format_name(f"{active[key].first_name} {active[key].last_name}", roles[key]),
                token=self._tokens.issue(active[key], roles[key], self._lifetime),
            )
            for key in self._ids
            if key in active
        ]


def _format_name(name: str, roles: frozenset[RoleName]) -> str:
    special = ", ".join(role.value.replace("_", " ") for role in sorted(roles - {RoleName.USER}))
    return f"{name} ({special})" if special else name


class DemoMessages:
    """The e-mails that this process has logged instead of sending them."""

    def __init__(self, mail: LoggedMail) -> None:
        self._mail = mail

    def __call__(self) -> list[Message]:
        """The latest ones, the newest first."""
        return [
            Message(
                id=message["Message-ID"],
                recipient=message["To"],
                subject=message["Subject"],
                text=message.get_content(),
                date=message["Date"].datetime.isoformat(),
            )
            for message in self._mail.messages
        ]
