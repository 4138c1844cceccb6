"""The runs of background jobs. They show when a job has to run next, and administrators can query them."""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.repository import Repository
from repositories.core.clock import now
from repositories.sql import types
from repositories.sql.filters import And, Compare, Op
from repositories.sql.statements import Statement, scalar
from repositories.tables.administration import JobOutcome, JobRun

_runs = JobRun.__table__

_abandon: Statement[UUID] = Statement(
    sa.update(_runs)
    .where(_runs.c.job == sa.bindparam("job", type_=types.Text()), _runs.c.outcome == JobOutcome.RUNNING)
    .values(outcome=JobOutcome.ABANDONED, updated_at=sa.bindparam("now", type_=types.Timestamp()))
    .returning(_runs.c.id),
    scalar(UUID),
)

_purge: Statement[UUID] = Statement(
    sa.delete(_runs).where(_runs.c.started_at < sa.bindparam("before", type_=types.Timestamp())).returning(_runs.c.id),
    scalar(UUID),
)


class JobRuns(Repository[JobRun], table=JobRun):
    """Runs of all jobs, the latest first."""

    async def latest(self, job: str, outcomes: Sequence[JobOutcome] = tuple(JobOutcome)) -> JobRun | None:
        """The most recently started run of a job that has one of the outcomes."""
        return await self.first(And((Compare("job", Op.EQ, job), Compare("outcome", Op.IN, tuple(outcomes)))))

    async def abandon(self, job: str) -> list[UUID]:
        """Marks all RUNNING runs of a job as abandoned and returns their ids.

        The caller holds the job's lock, so no process is executing any of these runs.
        """
        return await self.connection.rows(_abandon, job=job, now=now())

    async def purge_before(self, before: dt.datetime) -> int:
        """Deletes the runs that started before this moment and returns their number."""
        return len(await self.connection.rows(_purge, before=before))
