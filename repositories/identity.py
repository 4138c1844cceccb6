"""Users."""

import sqlalchemy as sa

from repositories.kit.filters import Op, Where
from repositories.kit.repository import Repository
from repositories.kit.statements import Statement, scalar
from repositories.tables.identity import User

_count: Statement[int] = Statement(sa.select(sa.func.count()).select_from(User.__table__), scalar(int))


class Users(Repository[User], table=User, what="user"):
    """People with an account."""

    async def of_email(self, email: str) -> User | None:
        """The account of an e-mail address, whatever its case."""
        return await self.first(Where("email", Op.EQ, email.strip().lower()))

    async def are_there_any(self) -> bool:
        """Whether anybody has an account, deleted ones included."""
        return await self.connection.one(_count) > 0
