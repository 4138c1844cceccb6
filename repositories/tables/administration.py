"""The roles that users are granted in addition to the one of the account, and the runs of jobs."""

import datetime as dt
from uuid import UUID

import sqlalchemy as sa

from repositories.described_enum import DescribedEnum
from repositories.permissions import RoleName
from repositories.sql.aggregate import ACTOR, Commands, aggregate
from repositories.sql.filters import Direction, SortKey
from repositories.sql.policy import role
from repositories.sql.table import Column, Inverse, Table, Writer, column


class Role(Table, schema="administration", name="roles"):
    """A role that administrators can grant to users.

    The code knows all roles. Only migrations insert them.
    """

    __slots__ = ()
    name: Column[str] = column(
        "The name, such as partnership_manager.",
        length=(1, 100),
        unique=True,
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
    )
    description: Column[str] = column(
        "What users with the role can do.", length=(0, 1000), writer=Writer.GATEWAY, searched=True
    )


class RoleGrant(Table, schema="administration", name="user_roles"):
    """A role that a user was granted in addition to the role of the account.

    It is part of the user: its events are those of the user.
    """

    __slots__ = ()
    user_id: Column[UUID] = column(
        "The user who has the role.", references="identity.users.id", writer=Writer.GATEWAY, filtered=True
    )
    role_id: Column[UUID] = column(
        "The role.",
        references="administration.roles.id",
        inverse=Inverse("grants", "The grants of this role to users."),
        index=True,
        writer=Writer.GATEWAY,
        filtered=True,
    )
    granted_by: Column[UUID] = column(
        "The administrator who granted the role.",
        references="identity.users.id",
        index=True,
        writer=Writer.GATEWAY,
    )
    granted_at: Column[dt.datetime] = column(
        "The time when the role was granted.", writer=Writer.GATEWAY, filtered=True, sorted=True
    )

    __table_args__ = (sa.UniqueConstraint("user_id", "role_id"),)


class JobOutcome(DescribedEnum):
    """The outcome of a run of a job."""

    RUNNING = "running", "The run has not ended."
    SUCCEEDED = "succeeded", "The run did all of its work."
    FAILED = "failed", "The run ended with an error."
    ABANDONED = "abandoned", "The process ended before the run did."


class JobRun(Table, schema="administration", name="job_runs"):
    """A run of a background job."""

    __slots__ = ()
    job: Column[str] = column(
        "The name of the job.", length=(1, 100), writer=Writer.GATEWAY, searched=True, filtered=True, sorted=True
    )
    started_at: Column[dt.datetime] = column(
        "The time when the run started.", writer=Writer.GATEWAY, filtered=True, sorted=True
    )
    finished_at: Column[dt.datetime | None] = column(
        "The time when the run ended. Null unless the outcome is SUCCEEDED or FAILED.",
        check="(outcome IN ('succeeded', 'failed')) = (finished_at IS NOT NULL)",
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
    )
    outcome: Column[JobOutcome] = column(
        "The outcome of the run.", default=JobOutcome.RUNNING, writer=Writer.GATEWAY, filtered=True, sorted=True
    )
    processed: Column[int | None] = column(
        "The number of objects that the run processed. Null unless the outcome is SUCCEEDED.",
        check="(outcome = 'succeeded') = (processed IS NOT NULL)",
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
    )
    error_id: Column[UUID | None] = column(
        "The id of the error in the gateway's log. Null unless the outcome is FAILED.",
        check="(outcome = 'failed') = (error_id IS NOT NULL)",
        writer=Writer.GATEWAY,
        filtered=True,
    )

    __table_args__ = (
        sa.Index("ix_job_runs_job_started_at", "job", "started_at"),
        sa.Index("ix_job_runs_started_at", "started_at"),
    )


aggregate(
    JobRun,
    read=role(RoleName.ADMIN),
    owner=ACTOR,
    order=(SortKey("started_at", Direction.DESC),),
    order_text="the latest first",
)
aggregate(Role, read=role(RoleName.ADMIN), owner=ACTOR, order=(SortKey("name"),), order_text="by name")
aggregate(
    RoleGrant,
    read=role(RoleName.ADMIN),
    write=role(RoleName.ADMIN),
    owner=RoleGrant.user_id,
    commands=Commands.NONE,
    order=(SortKey("granted_at", Direction.DESC),),
    order_text="the latest first",
    noun="grant",
    plural="role_grants",
)
