"""What the jobs did and when: what keeps a job from running twice, and what people are shown of it."""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa

from repositories.aggregates.repository import Repository
from repositories.core.clock import now
from repositories.sql import types
from repositories.sql.filters import And, Compare, Direction, Op, Order
from repositories.sql.statements import Statement, scalar
from repositories.tables.administration import JobOutcome, JobRun

_runs = JobRun.__table__
_NEWEST = (Order("started_at", Direction.DESC),)

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


class JobRuns(Repository[JobRun], table=JobRun, noun="run"):
    """Runs of the jobs, the latest first."""

    default_order = _NEWEST

    async def latest(self, job: str, outcomes: Sequence[JobOutcome] = tuple(JobOutcome)) -> JobRun | None:
        """The run of a job that began last, of those that came to one of the outcomes."""
        return await self.first(And((Compare("job", Op.EQ, job), Compare("outcome", Op.IN, tuple(outcomes)))))

    async def abandon(self, job: str) -> list[UUID]:
        """Marks what is said to be running and cannot be; for whoever holds the job's lock."""
        return await self.connection.rows(_abandon, job=job, now=now())

    async def purge_before(self, before: dt.datetime) -> int:
        """Deletes the runs that began before then; says how many."""
        return len(await self.connection.rows(_purge, before=before))
