"""Commands of administrators on accounts. One active administrator always remains."""

from typing import Any

from pydantic import Field

from repositories.administration import RoleGrants
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict
from repositories.identity import UserReinstated, UserRoleChanged, UserSuspended
from repositories.tables.identity import User, UserRole, UserStatus
from resolvers.aggregates.derived_commands import row_command
from resolvers.aggregates.handlers import lock_row
from resolvers.aggregates.rules import Values
from resolvers.aggregates.transitions import transition
from resolvers.identity.commands import revoke_all_sessions

_new_role = "The new role. It takes effect with the user's next request."


@row_command(User, "The user, and the new role of the account.", {"role": (UserRole, Field(description=_new_role))})
async def change_user_role(work: UnitOfWork, command: Any) -> User:
    """Changes the role of a user's account. For administrators.

    Possible errors: NOT_FOUND, STALE_VERSION, CONFLICT if it would leave no administrator.
    """
    async with work.repository(RoleGrants).keeping_an_admin(path=("id",)):
        user = await lock_row(work, User, command)
        if user.role is command.role:
            return user
        return await work.change(user, UserRoleChanged, role=command.role)


@row_command(User, "The user to suspend.")
async def suspend_user(work: UnitOfWork, command: Any) -> User:
    """Suspends a user, who then cannot sign in, and ends all sessions of the user. For administrators.

    Possible errors: NOT_FOUND, STALE_VERSION, CONFLICT if the user has closed the account or is the last administrator.
    """
    async with work.repository(RoleGrants).keeping_an_admin(path=("id",)):
        user = await lock_row(work, User, command)
        if user.status is UserStatus.SUSPENDED:
            return user
        if user.status is UserStatus.DEACTIVATED:
            raise Conflict("The owner of this account has closed it already.", path=("id",))
        changed = await work.change(user, UserSuspended, status=UserStatus.SUSPENDED)
    await revoke_all_sessions(work, user.id, "suspended")
    return changed


@transition(User, UserReinstated, "The suspended or deactivated user.")
def reinstate_user(work: UnitOfWork, user: User) -> Values:
    """Activates an account that was suspended or that its owner has closed. For administrators."""
    return {"status": UserStatus.ACTIVE}
