"""The roles of users beside the one of the account, and the runs of jobs."""

import datetime as dt
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa

from repositories.permissions import RoleName
from repositories.sql.policy import policy, role
from repositories.sql.table import Column, Table, column


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
