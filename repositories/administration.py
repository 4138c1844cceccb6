"""Roles and their grants, and numbers of all users."""

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.batch import batch
from repositories.aggregates.repository import Repository
from repositories.core.errors import Conflict, Path
from repositories.core.event import Event
from repositories.engines.database import ReadConnection
from repositories.permissions import RoleName
from repositories.sql import types
from repositories.sql.filters import NO_FILTER, Compare, Filter, Referring, Related, compare_each
from repositories.sql.statements import RowFactory, Statement, in_list, scalar
from repositories.tables.administration import Role, RoleGrant
from repositories.tables.events import DomainEvent
from repositories.tables.identity import User, UserRole, UserStatus

_users = User.__table__
_roles = Role.__table__
_grants = RoleGrant.__table__
_events = DomainEvent.__table__

# events


@dataclass(frozen=True, slots=True)
class RoleGranted(Event, aggregate="user"):
    """A user was granted a role."""

    role: str


@dataclass(frozen=True, slots=True)
class RoleRevoked(Event, aggregate="user"):
    """A granted role was revoked."""

    role: str


# roles

_user = sa.bindparam("user", type_=types.Id())
_granted_to = sa.select(_grants.c.user_id).join(_roles, _roles.c.id == _grants.c.role_id)


def _has(wanted: RoleName) -> sa.ColumnElement[bool]:
    """Whether a user has a role, by the account or by a grant."""
    granted = _users.c.id.in_(_granted_to.where(_roles.c.name == wanted.value))
    return sa.or_(_users.c.role == UserRole.ADMIN, granted) if wanted is RoleName.ADMIN else granted


_may_administer = (_has(RoleName.ADMIN), _users.c.status == UserStatus.ACTIVE, _users.c.deleted_at.is_(None))
_lock_admins: Statement[UUID] = Statement(
    sa.select(_users.c.id).where(*_may_administer).order_by(_users.c.id).with_for_update(key_share=True), scalar(UUID)
)
_is_there_an_admin: Statement[bool] = Statement(sa.select(sa.exists().where(*_may_administer)), scalar(bool))
_names: Statement[str] = Statement(
    sa.select(_roles.c.name).join(_grants, _grants.c.role_id == _roles.c.id).where(_grants.c.user_id == _user),
    scalar(str),
)
_of_users: Statement[tuple[UUID, Role]] = Statement(
    sa.select(_grants.c.user_id, *_roles.c)
    .join(_roles, _roles.c.id == _grants.c.role_id)
    .where(in_list(_grants.c.user_id, "users"))
    .order_by(_roles.c.name),
    RowFactory(lambda values: (values[0], Role._make(values[1:]))),
)
_grant: Statement[RoleGrant] = Statement(
    sa.select(*_grants.c)
    .where(_grants.c.user_id == _user, _grants.c.role_id == sa.bindparam("role", type_=types.Id()))
    .with_for_update(),
    RoleGrant,
)


async def granted_roles(connection: ReadConnection, user: UUID) -> frozenset[RoleName]:
    """The roles that a user was granted. Needs a connection of the service or of an administrator.

    Ignores roles that this version of the gateway does not know.
    """
    names = await connection.rows(_names, user=user)
    return frozenset(RoleName(name) for name in names if name in set(RoleName))


class Roles(Repository[Role], table=Role):
    """The roles that can be granted."""

    @batch
    async def of_users(self, users: Sequence[UUID]) -> Mapping[UUID, list[Role]]:
        """The roles that users were granted, by name."""
        found: dict[UUID, list[Role]] = {user: [] for user in users}
        for user, row in await self.connection.rows(_of_users, users=list(users)):
            found[user].append(row)
        return found


def has_granted_role(comparison: Compare) -> Filter:
    """The users who were granted one of the roles that pass a comparison of RoleName."""

    def granted(where: Filter) -> Filter:
        return Referring(RoleGrant, "user_id", NO_FILTER if where is NO_FILTER else Related("role_id", Role, where))

    value = comparison.value
    names = tuple(item and str(item) for item in value) if isinstance(value, tuple) else value
    return compare_each(Compare("name", comparison.op, names), granted)


class RoleGrants(Repository[RoleGrant], table=RoleGrant):
    """The roles that users were granted."""

    async def find_grant(self, user: UUID, role: UUID) -> RoleGrant | None:
        """The grant of a role to a user, locked until the transaction ends."""
        return await self.connection.row(_grant, user=user, role=role)

    @asynccontextmanager
    async def keeping_an_admin(self, *, path: Path = ()) -> AsyncIterator[None]:
        """Raises a Conflict if the block leaves no active administrator, and there was one before.

        Locks the administrators until the transaction ends. The statement after the block sees what other transactions
        have committed while this one waited for the locks. Needs a connection of the service or of an administrator.
        """
        before = await self.connection.rows(_lock_admins)
        yield
        if before and not await self.connection.one(_is_there_an_admin):
            raise Conflict("This is the last administrator; make somebody else one first.", path=path)


# all users


class UserTally(NamedTuple):
    """The numbers of users by status, and of new users."""

    active: int
    suspended: int
    deactivated: int
    new_this_week: Annotated[int, "The number of accounts created since the week started."]
    new_this_month: Annotated[int, "The number of accounts created since the month started."]


def _moment(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=types.Timestamp())


_counted = sa.func.count()
_tally: Statement[UserTally] = Statement(
    sa.select(
        *(_counted.filter(_users.c.status == status) for status in UserStatus),
        _counted.filter(_users.c.created_at >= _moment("week")),
        _counted.filter(_users.c.created_at >= _moment("month")),
    )
    .select_from(_users)
    .where(_users.c.deleted_at.is_(None)),
    RowFactory(UserTally._make),
)
_GRANTABLE = tuple(known for known in RoleName if known is not RoleName.USER)
_by_role: Statement[dict[RoleName, int]] = Statement(
    sa.select(_counted, *(_counted.filter(_has(known)) for known in _GRANTABLE))
    .select_from(_users)
    .where(_users.c.deleted_at.is_(None)),
    RowFactory(lambda values: dict(zip((RoleName.USER, *_GRANTABLE), values, strict=True))),
)
_active: Statement[int] = Statement(
    sa.select(sa.func.count(_events.c.user_id.distinct())).where(_events.c.timestamp >= _moment("since")), scalar(int)
)


class UserOverview:
    """Numbers over all users that are not deleted, for administrators."""

    def __init__(self, connection: ReadConnection) -> None:
        self.connection = connection

    async def tally(self, week: dt.datetime, month: dt.datetime) -> UserTally:
        """Executes one statement. Users who were created at ``week`` or ``month`` or later count as new."""
        return await self.connection.one(_tally, week=week, month=month)

    async def by_role(self) -> dict[RoleName, int]:
        """The number of users by role, by the account or by a grant. All users have the role USER."""
        return await self.connection.one(_by_role)

    async def active(self, since: dt.datetime) -> int:
        """The number of users who have caused an event since then."""
        return await self.connection.one(_active, since=since)


_revision: Statement[str] = Statement(
    sa.select(sa.column("version_num")).select_from(sa.table("alembic_version", schema="public")), scalar(str)
)


async def fetch_revision(connection: ReadConnection) -> str:
    """The revision of the last migration that was applied."""
    return await connection.one(_revision)
