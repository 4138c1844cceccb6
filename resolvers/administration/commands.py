"""What administrators can do."""

import json
from contextlib import nullcontext
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, StringConstraints
from strawberry import Maybe
from strawberry.scalars import JSON

from repositories.administration import (
    RoleGranted,
    RoleGrants,
    RoleRevoked,
    Roles,
    SystemSettings,
    SystemSettingSet,
    stored_value,
)
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, InputError, NotFound
from repositories.core.errors import ValidationError as Unstorable
from repositories.identity import Users
from repositories.permissions import RoleName
from repositories.sql.types import to_json
from repositories.tables.administration import Role, RoleGrant, SystemSetting
from resolvers.validation.command import (
    Command,
    Storable,
    Version,
    check_version,
    matching,
    provided_fields,
    raise_all,
)
from resolvers.validation.global_ids import GlobalKey

_MOST = 10_000


def _fits(value: object) -> object:
    try:
        text = to_json(value)
    except Unstorable as error:
        raise ValueError(error.message.rstrip(".")) from None
    except TypeError:
        text = ""
    if not text or json.loads(text) != value:
        message = "This value cannot be stored as it is: a number has too many digits, or lists are nested too deep"
        raise ValueError(message)
    if len(text) > _MOST:
        message = f"A value has at most {_MOST:,} characters of JSON"
        raise ValueError(message)
    return value


RoleKey = Annotated[UUID, GlobalKey("Role")]
UserKey = Annotated[UUID, GlobalKey("User")]
SettingName = Annotated[
    str,
    matching(
        "[a-z][a-z0-9_.]{0,99}",
        "A key starts with a lower-case letter, then come lower-case letters, digits, dots and underscores, "
        "at most 100 characters in all",
    ),
]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000), Storable]


class GrantRole(Command):
    """A role for a user; it is in the user's next token."""

    user_id: UserKey
    """Who gets it."""
    role_id: RoleKey
    """The role."""


class RevokeRole(Command):
    """A granted role to take away; the user's current token keeps it until it ends."""

    user_id: UserKey
    """Who loses it."""
    role_id: RoleKey
    """The role."""


class SetSystemSetting(Command):
    """A setting to make or change."""

    key: SettingName
    """Its name: a small letter, then small letters, digits, dots and underscores, at most 100 characters."""
    value: Annotated[JSON | None, AfterValidator(_fits)]
    """Its value, at most 10,000 characters of JSON; null leaves it without one."""
    description: Maybe[Description]
    """What it is for, at most 1,000 characters."""
    is_secret: Maybe[bool]
    """Whether its value can never be read back; false by default. If it was secret, the old value is lost."""
    version: Version | None = None
    """The version that was seen, if the setting is there already; if it has another by now, nothing is changed."""


# roles


async def _named(work: UnitOfWork, user: UUID, role: UUID) -> Role:
    """The role, if both it and the user are there."""
    missing: list[InputError] = []
    if not await work.repository(Users).exists(user):
        missing.append(NotFound.of("user", path=("user_id",)))
    found = (await work.repository(Roles).by_id([role])).get(role)
    if found is None:
        missing.append(NotFound.of("role", path=("role_id",)))
    raise_all(missing)
    assert found is not None  # noqa: S101 (refused above)
    return found


async def grant_role(work: UnitOfWork, command: GrantRole) -> RoleGrant:
    """Gives a user a role; one who has it already keeps it as it was granted."""
    role = await _named(work, command.user_id, command.role_id)
    grants = work.repository(RoleGrants)
    await work.repository(Users).hold([command.user_id])
    known = await grants.find_grant(command.user_id, role.id)
    if known is not None:
        return known
    made = await grants.add(user_id=command.user_id, role_id=role.id, granted_by=work.viewer_id, granted_at=work.now)
    work.record(RoleGranted(made.user_id, made.user_id, role.name))
    return made


async def revoke_role(work: UnitOfWork, command: RevokeRole) -> RoleGrant:
    """Takes a granted role away. There is always somebody left who can administer."""
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


# settings


async def set_system_setting(work: UnitOfWork, command: SetSystemSetting) -> SystemSetting:
    """Makes a setting, or changes it if it still has the version that was seen."""
    settings = work.repository(SystemSettings)
    row = await settings.of_key(command.key)
    values = dict(provided_fields(command, "description", "is_secret"))
    if row is None:
        if command.version is not None:
            raise NotFound.of("setting", path=("key",))
        values |= stored_value(command.value, is_secret=values.get("is_secret", False))
        made = await settings.add(key=command.key, **values)
        work.record(
            SystemSettingSet(
                made.id,
                work.viewer_id,
                made.key,
                ("value", *sorted(provided_fields(command, "description", "is_secret"))),
            )
        )
        return made
    if command.version is None:
        message = f"This setting is there already, at version {row.version}; give the version that was seen."
        raise Conflict(message, path=("version",))
    return await _change(work, check_version(row, command.version), command, values)


async def _change(
    work: UnitOfWork, row: SystemSetting, command: SetSystemSetting, values: dict[str, Any]
) -> SystemSetting:
    """The setting with what is new; whether a secret is the same as before is not told, it is always new."""
    is_secret = values.get("is_secret", row.is_secret)
    fields = [name for name, value in values.items() if value != getattr(row, name)]
    if is_secret or row.is_secret or command.value != row.value:
        fields.append("value")
        values |= stored_value(command.value, is_secret=is_secret)
    if not fields:
        return row
    changed = await work.repository(SystemSettings).change(row, **values)
    work.record(SystemSettingSet(changed.id, work.viewer_id, changed.key, tuple(sorted(fields))))
    return changed
