"""Commands of administrators on accounts. One active administrator always remains."""

from typing import Annotated
from uuid import UUID

from repositories.administration import RoleGrants
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict
from repositories.identity import (
    UserReinstated,
    UserRoleChanged,
    Users,
    UserSuspended,
)
from repositories.tables.identity import User, UserRole, UserStatus
from resolvers.identity.commands import revoke_all_sessions
from resolvers.validation.command import Command, Version, check_version
from resolvers.validation.global_ids import GlobalKey

UserKey = Annotated[UUID, GlobalKey("User")]


class AdministerUser(Command):
    """A user whose account is to be changed."""

    id: UserKey
    """The user."""
    version: Version | None = None
    """The version that the client read. If it is given and the account has another one, nothing changes."""


class ChangeUserRole(AdministerUser):
    """The user, and the new role of the account."""

    role: UserRole
    """The new role. It takes effect with the user's next request."""


class SuspendUser(AdministerUser):
    """The user to suspend."""


class ReinstateUser(AdministerUser):
    """The suspended or deactivated user."""


async def change_user_role(work: UnitOfWork, command: ChangeUserRole) -> User:
    """Changes the role of a user's account. For administrators.

    Possible errors: NOT_FOUND, STALE_VERSION, CONFLICT if it would leave no administrator.
    """
    async with work.repository(RoleGrants).keeping_an_admin(path=("id",)):
        user = await _administered(work, command)
        if user.role is command.role:
            return user
        return await work.change(user, UserRoleChanged, role=command.role)


async def suspend_user(work: UnitOfWork, command: SuspendUser) -> User:
    """Suspends a user, who then cannot sign in, and ends all sessions of the user. For administrators.

    Possible errors: NOT_FOUND, STALE_VERSION, CONFLICT if the user has closed the account or is the last administrator.
    """
    async with work.repository(RoleGrants).keeping_an_admin(path=("id",)):
        user = await _administered(work, command)
        if user.status is UserStatus.SUSPENDED:
            return user
        if user.status is UserStatus.DEACTIVATED:
            raise Conflict("The owner of this account has closed it already.", path=("id",))
        changed = await work.change(user, UserSuspended, status=UserStatus.SUSPENDED)
    await revoke_all_sessions(work, user.id, "suspended")
    return changed


async def reinstate_user(work: UnitOfWork, command: ReinstateUser) -> User:
    """Activates an account that was suspended or that its owner has closed. For administrators.

    Possible errors: NOT_FOUND, STALE_VERSION.
    """
    user = await _administered(work, command)
    if user.status is UserStatus.ACTIVE:
        return user
    return await work.change(user, UserReinstated, status=UserStatus.ACTIVE)


async def _administered(work: UnitOfWork, command: AdministerUser) -> User:
    """The user, locked, of the version that was seen."""
    return check_version(await work.repository(Users).lock(command.id), command.version)
