"""Users."""

from collections.abc import Iterable
from uuid import UUID

import sqlalchemy as sa

from repositories.kit.filters import Op, Where
from repositories.kit.repository import Repository
from repositories.kit.statements import Statement, any_of, scalar
from repositories.tables.identity import User

_count: Statement[int] = Statement(sa.select(sa.func.count()).select_from(User.__table__), scalar(int))

_hold: Statement[UUID] = Statement(
    sa.select(User.id).where(any_of(User.id, "users")).order_by(User.id).with_for_update(key_share=True), scalar(UUID)
)


class Users(Repository[User], table=User, what="user"):
    """People with an account."""

    async def hold(self, users: Iterable[UUID]) -> None:
        """Keeps what is counted about people from others until the transaction ends, always in the same order.

        Whoever stores a number that is counted from rows holds the person first and counts in a later statement, which
        then sees what the one before has committed. The mode of the lock lets others go on referring to the person.
        """
        await self.connection.rows(_hold, users=sorted(set(users)))

    async def of_email(self, email: str) -> User | None:
        """The account of an e-mail address, whatever its case."""
        return await self.first(Where("email", Op.EQ, email.strip().lower()))

    async def are_there_any(self) -> bool:
        """Whether anybody has an account, deleted ones included."""
        return await self.connection.one(_count) > 0
