"""Commands of administrators on roles."""

from contextlib import nullcontext
from typing import Annotated
from uuid import UUID

from repositories.administration import (
    RoleGranted,
    RoleGrants,
    RoleRevoked,
    Roles,
)
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, InputError, NotFound
from repositories.identity import Users
from repositories.permissions import RoleName
from repositories.tables.administration import Role, RoleGrant
from resolvers.validation.command import (
    Command,
    raise_all,
)
from resolvers.validation.global_ids import GlobalKey
from resolvers.validation.valid_parts import reports

RoleKey = Annotated[UUID, GlobalKey("Role")]
UserKey = Annotated[UUID, GlobalKey("User")]


class GrantRole(Command):
    """The role to grant to a user. It takes effect with the user's next request."""

    user_id: UserKey
    """The user who gets the role."""
    role_id: RoleKey
    """The role."""


class RevokeRole(Command):
    """The granted role to revoke. It takes effect with the user's next request."""

    user_id: UserKey
    """The user who loses the role."""
    role_id: RoleKey
    """The role."""


# roles


async def _missing(work: UnitOfWork, user: UUID | None, role: UUID | None, found: Role | None) -> list[InputError]:
    """The errors of a user and a role that do not exist. One whose id is invalid is None and has an error already."""
    missing: list[InputError] = []
    if user is not None and not await work.repository(Users).exists(user):
        missing.append(NotFound.of("user", path=("user_id",)))
    if role is not None and found is None:
        missing.append(NotFound.of("role", path=("role_id",)))
    return missing


async def _errors_of_grant(work: UnitOfWork, command: GrantRole | RevokeRole) -> list[InputError]:
    roles = await work.repository(Roles).by_id([command.role_id]) if command.role_id else {}
    return await _missing(work, command.user_id, command.role_id, roles.get(command.role_id))


async def _named(work: UnitOfWork, user: UUID, role: UUID) -> Role:
    """The role, if both it and the user are there."""
    found = (await work.repository(Roles).by_id([role])).get(role)
    raise_all(await _missing(work, user, role, found))
    assert found is not None  # noqa: S101 (refused above)
    return found


@reports(_errors_of_grant)
async def grant_role(work: UnitOfWork, command: GrantRole) -> RoleGrant:
    """Grants a role to a user. If the user has it already, returns the existing grant. Possible error: NOT_FOUND."""
    role = await _named(work, command.user_id, command.role_id)
    grants = work.repository(RoleGrants)
    await work.repository(Users).hold([command.user_id])
    known = await grants.find_grant(command.user_id, role.id)
    if known is not None:
        return known
    made = await grants.add(user_id=command.user_id, role_id=role.id, granted_by=work.viewer_id, granted_at=work.now)
    work.record(RoleGranted(made.user_id, made.user_id, role.name))
    return made


@reports(_errors_of_grant)
async def revoke_role(work: UnitOfWork, command: RevokeRole) -> RoleGrant:
    """Revokes a role that a user was granted, and returns the former grant.

    Possible errors: NOT_FOUND, CONFLICT if the role was not granted or if it would leave no administrator.
    """
    role = await _named(work, command.user_id, command.role_id)
    grants = work.repository(RoleGrants)
    async with grants.keeping_an_admin(path=("user_id",)) if role.name == RoleName.ADMIN.value else nullcontext():
        known = await grants.find_grant(command.user_id, role.id)
        if known is None:
            message = "This role was not granted to this user."
            raise Conflict(message, path=("role_id",))
        await grants.purge(known.id)
    work.record(RoleRevoked(known.user_id, known.user_id, role.name))
    return known
