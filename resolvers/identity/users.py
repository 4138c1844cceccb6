"""What administrators do with accounts. There is always one of them left who can sign in."""

from typing import Annotated
from uuid import UUID

from repositories.administration import RoleGrants
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict
from repositories.identity import (
    SessionRevoked,
    Sessions,
    UserReinstated,
    UserRoleChanged,
    Users,
    UserSuspended,
)
from repositories.tables.identity import User, UserRole, UserStatus
from resolvers.validation.command import Command, Version, check_version
from resolvers.validation.global_ids import GlobalKey

UserKey = Annotated[UUID, GlobalKey("User")]


class AdministerUser(Command):
    """A user whose account is to be changed."""

    id: UserKey
    """The user."""
    version: Version | None = None
    """The version that was seen; if given and the account has another by now, nothing is changed."""


class ChangeUserRole(AdministerUser):
    """A user and what the user is to be."""

    role: UserRole
    """What the user is from the next request on."""


class SuspendUser(AdministerUser):
    """The user to lock out."""


class ReinstateUser(AdministerUser):
    """The user to let in again."""


async def change_user_role(work: UnitOfWork, command: ChangeUserRole) -> User:
    """Makes a user an administrator or an ordinary user. The last administrator stays one. For administrators."""
    async with work.repository(RoleGrants).keeping_an_admin(path=("id",)):
        user = await _administered(work, command)
        if user.role is command.role:
            return user
        changed = await work.repository(Users).change(user, role=command.role)
    work.record(UserRoleChanged(user.id, user.id, command.role))
    return changed


async def suspend_user(work: UnitOfWork, command: SuspendUser) -> User:
    """Locks a user out and ends all of the user's sessions. The last administrator stays. For administrators."""
    async with work.repository(RoleGrants).keeping_an_admin(path=("id",)):
        user = await _administered(work, command)
        if user.status is UserStatus.SUSPENDED:
            return user
        if user.status is UserStatus.DEACTIVATED:
            raise Conflict("The owner of this account has closed it already.", path=("id",))
        changed = await work.repository(Users).change(user, status=UserStatus.SUSPENDED)
    work.record(UserSuspended(user.id, user.id))
    for session in await work.repository(Sessions).revoke_all(user.id, work.now):
        work.record(SessionRevoked(session.id, user.id, "suspended"))
    return changed


async def reinstate_user(work: UnitOfWork, command: ReinstateUser) -> User:
    """Lets a suspended user in again, or opens an account that its owner has closed. For administrators."""
    user = await _administered(work, command)
    if user.status is UserStatus.ACTIVE:
        return user
    changed = await work.repository(Users).change(user, status=UserStatus.ACTIVE)
    work.record(UserReinstated(user.id, user.id))
    return changed


async def _administered(work: UnitOfWork, command: AdministerUser) -> User:
    """The user, locked, of the version that was seen."""
    return check_version(await work.repository(Users).lock(command.id), command.version)
