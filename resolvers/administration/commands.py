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


class ChangeGrant(Command):
    """A role of a user. The change takes effect with the user's next request."""

    user_id: UserKey
    """The user."""
    role_id: RoleKey
    """The role."""


class GrantRole(ChangeGrant):
    """The role to grant to a user. It takes effect with the user's next request."""


class RevokeRole(ChangeGrant):
    """The granted role to revoke. It takes effect with the user's next request."""


async def _errors_of_grant(work: UnitOfWork, command: ChangeGrant) -> list[InputError]:
    return (await _find_role(work, command))[1]


async def _find_role(work: UnitOfWork, command: ChangeGrant) -> tuple[Role | None, list[InputError]]:
    """The role, and errors of a role and a user that do not exist. Invalid ids are None and have errors already."""
    user, key = command.user_id, command.role_id
    role = (await work.repository(Roles).by_id([key])).get(key) if key else None
    errors: list[InputError] = []
    if user and not await work.repository(Users).exists(user):
        errors.append(NotFound.of("user", path=("user_id",)))
    if key and role is None:
        errors.append(NotFound.of("role", path=("role_id",)))
    return role, errors


async def _role_of(work: UnitOfWork, command: ChangeGrant) -> Role:
    role, errors = await _find_role(work, command)
    raise_all(errors)
    assert role is not None  # noqa: S101 (otherwise there is an error)
    return role


@reports(_errors_of_grant)
async def grant_role(work: UnitOfWork, command: GrantRole) -> RoleGrant:
    """Grants a role to a user. If the user has it already, returns the existing grant. For administrators.

    Possible error: NOT_FOUND.
    """
    role = await _role_of(work, command)
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
    """Revokes a role that a user was granted, and returns the former grant. For administrators.

    Possible errors: NOT_FOUND, CONFLICT if the role was not granted or if it would leave no administrator.
    """
    role = await _role_of(work, command)
    grants = work.repository(RoleGrants)
    async with grants.keeping_an_admin(path=("user_id",)) if role.name == RoleName.ADMIN.value else nullcontext():
        known = await grants.find_grant(command.user_id, role.id)
        if known is None:
            message = "This role was not granted to this user."
            raise Conflict(message, path=("role_id",))
        await grants.purge(known.id)
    work.record(RoleRevoked(known.user_id, known.user_id, role.name))
    return known
