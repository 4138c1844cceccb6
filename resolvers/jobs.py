"""The scheduled jobs of all domains.

Their times differ, so that they do not all need database connections at once.
"""

import datetime as dt

from repositories.life_lock.statistics import REFRESH_JOB
from resolvers.administration import jobs as administration
from resolvers.commerce import jobs as commerce
from resolvers.identity import jobs as identity
from resolvers.life_lock import jobs as life_lock
from resolvers.reactions import REACTIONS
from resolvers.services.job import Job


def create_jobs(analytics_retention: dt.timedelta) -> tuple[Job, ...]:
    """All jobs. ``analytics_retention`` is the age at which task analytics are deleted."""
    return (
        Job(
            REFRESH_JOB,
            "5 * * * *",
            "Recounts the totals of every user, for administrators.",
            life_lock.refresh_statistics,
        ),
        Job(
            "roll-days",
            "*/15 * * * *",
            "Recounts yesterday and today for users for whom a new day has begun.",
            life_lock.roll_days,
        ),
        Job(
            "recount-days",
            "7-59/15 * * * *",
            "Recounts all days of users who have changed their time zone.",
            life_lock.recount_days,
        ),
        Job(
            "expire-orders",
            "1-59/5 * * * *",
            "Cancels orders that were not paid within 30 minutes, and releases their stock.",
            commerce.expire_orders(REACTIONS),
        ),
        Job(
            "clean-sessions",
            "20 3 * * *",
            "Deletes expired sessions.",
            identity.clean_sessions,
        ),
        Job(
            "clean-messages",
            "30 3 * * *",
            "Deletes expired tokens from e-mails, and records of e-mails after 30 days.",
            identity.clean_messages,
        ),
        Job(
            "clean-idempotency-keys",
            "25 * * * *",
            "Deletes expired idempotency keys.",
            administration.clean_idempotency_keys,
        ),
        Job(
            "retain-analytics",
            "40 3 * * *",
            "Deletes task analytics older than the retention time.",
            life_lock.retain_analytics(analytics_retention),
        ),
        Job(
            "clean-job-runs",
            "50 3 * * *",
            "Deletes records of job runs after 90 days.",
            administration.clean_job_runs,
        ),
    )
