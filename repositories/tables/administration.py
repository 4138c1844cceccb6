"""What users may besides being users, how the system is set up, and what it does by itself."""

import datetime as dt
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from repositories.permissions import RoleName
from repositories.sql.constraints import violation
from repositories.sql.policy import policy, role
from repositories.sql.table import Column, Table, Versioned, column
from repositories.sql.types import Json


class Role(Table, schema="administration", name="roles"):
    """A role that the code knows; the migrations insert them, nothing else does."""

    __slots__ = ()
    name: Column[str] = column(length=(1, 100), unique=True)
    description: Column[str] = column(length=(0, 1000))


class RoleGrant(Table, schema="administration", name="user_roles"):
    """A role that a user was given beside the one of the account."""

    __slots__ = ()
    user_id: Column[UUID] = column(references="identity.users.id")
    role_id: Column[UUID] = column(references="administration.roles.id", index=True)
    granted_by: Column[UUID] = column(references="identity.users.id", index=True)
    granted_at: Column[dt.datetime] = column()

    __table_args__ = (sa.UniqueConstraint("user_id", "role_id"),)


class SystemSetting(Versioned, Table, schema="administration", name="system_settings"):
    """A value by its key. That of a secret one is sealed in ``secret``, and ``value`` is empty."""

    __slots__ = ()
    key: Column[str] = column(
        length=(1, 100),
        check="ltrim(substr(key, 1, 1), 'abcdefghijklmnopqrstuvwxyz') = '' "
        "AND ltrim(key, 'abcdefghijklmnopqrstuvwxyz0123456789_.') = ''",
        unique=True,
        info=violation("key", "There is already a setting of this key."),
    )
    value: Column[Any | None] = column(Json(), check="NOT (is_secret AND value IS NOT NULL)")
    secret: Column[str | None] = column(encrypted=True)
    description: Column[str] = column(length=(0, 1000), default="")
    is_secret: Column[bool] = column(default=False)

    __table_args__ = (sa.CheckConstraint("is_secret OR secret IS NULL", name="secret_of_secret"),)


class JobOutcome(StrEnum):
    """What became of a run. ABANDONED is one whose process ended before it did."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABANDONED = "abandoned"


class JobRun(Table, schema="administration", name="job_runs"):
    """One run of a job: ``processed`` says how many things it did, ``error_id`` where in the log its failure stands."""

    __slots__ = ()
    job: Column[str] = column(length=(1, 100))
    started_at: Column[dt.datetime] = column()
    finished_at: Column[dt.datetime | None] = column(
        check="(outcome IN ('succeeded', 'failed')) = (finished_at IS NOT NULL)"
    )
    outcome: Column[JobOutcome] = column(default=JobOutcome.RUNNING)
    processed: Column[int | None] = column(check="(outcome = 'succeeded') = (processed IS NOT NULL)")
    error_id: Column[UUID | None] = column(check="(outcome = 'failed') = (error_id IS NOT NULL)")

    __table_args__ = (
        sa.Index("ix_job_runs_job_started_at", "job", "started_at"),
        sa.Index("ix_job_runs_started_at", "started_at"),
    )


policy(JobRun, read=role(RoleName.ADMIN))
policy(Role, read=role(RoleName.ADMIN))
policy(RoleGrant, read=role(RoleName.ADMIN), write=role(RoleName.ADMIN))
policy(SystemSetting, read=role(RoleName.ADMIN), write=role(RoleName.ADMIN))
