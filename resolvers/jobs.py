"""What the gateway does by itself: every job of every domain.

Their moments are apart from each other, so that they do not all ask for connections at once.
"""

import datetime as dt

from repositories.life_lock.statistics import REFRESH_JOB
from resolvers.administration import jobs as administration
from resolvers.identity import jobs as identity
from resolvers.life_lock import jobs as life_lock
from resolvers.services.job import Job


def jobs_of(analytics_retention: dt.timedelta) -> tuple[Job, ...]:
    """The jobs, of which one deletes task analytics that are older than that."""
    return (
        Job(
            REFRESH_JOB,
            "5 * * * *",
            "Counts the totals of every user anew, for administrators.",
            life_lock.refresh_statistics,
        ),
        Job(
            "roll-days",
            "*/15 * * * *",
            "Counts yesterday and today anew for whom a day has begun.",
            life_lock.roll_days,
        ),
        Job(
            "clean-sessions",
            "20 3 * * *",
            "Deletes sessions that have come to their end.",
            identity.clean_sessions,
        ),
        Job(
            "retain-analytics",
            "40 3 * * *",
            "Deletes task analytics that are too old to be kept.",
            life_lock.retain_analytics(analytics_retention),
        ),
        Job(
            "clean-job-runs",
            "50 3 * * *",
            "Deletes what is known of runs of jobs after 90 days.",
            administration.clean_job_runs,
        ),
    )
