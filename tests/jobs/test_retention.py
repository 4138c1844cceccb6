"""The jobs that delete old rows, with exact limits."""

import datetime as dt

import pytest

from gateway.jobs.runner import jobs_by_name
from gateway.settings import Settings
from repositories.account_messages import AccountTokens, OutboxMessages
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Sessions
from repositories.job_runs import JobRuns
from repositories.life_lock.analytics import Analytics
from repositories.tables.identity import MessageKind, MessageOutcome, TokenPurpose
from resolvers.life_lock import jobs as life_lock
from resolvers.services.job import JobContext
from tests.factories import make_user
from tests.repositories.support import open_snapshot

AT = dt.datetime(2026, 6, 15, 3, 40, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
MICROSECOND = dt.timedelta(microseconds=1)


async def _run(database: Database, name: str, at: dt.datetime = AT, retention: int = 730) -> int:
    return await jobs_by_name(Settings(analytics_retention_days=retention))[name].run(JobContext(database, at))


async def _dates(database: Database) -> list[str]:
    async with open_snapshot(database) as snapshot:
        return [str(row.date) for row in await Analytics(snapshot).find(limit=99)]


async def test_analytics_are_deleted_after_the_retention_period(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The period is two years by default. The job deletes the rows of all users in batches."""
    monkeypatch.setattr(life_lock, "DAYS_AT_ONCE", 3)
    dates = ("2024-01-01", "2024-06-13", "2024-06-14", "2024-06-15", "2024-06-16", "2025-05-10", "2025-05-11")
    for _ in range(2):
        user = await make_user(database)
        async with database.transaction(SERVICE) as write:
            await Analytics(write).add_many([{"user_id": user.id, "date": dt.date.fromisoformat(day)} for day in dates])
    assert await _run(database, "retain-analytics") == 6
    assert await _dates(database) == sorted([*dates[3:]] * 2)
    assert await _run(database, "retain-analytics", AT.replace(hour=23, minute=59)) == 0
    assert await _run(database, "retain-analytics", AT + DAY) == 2
    assert await _run(database, "retain-analytics", AT, 400) == 4
    assert await _dates(database) == ["2025-05-11"] * 2


async def test_job_runs_are_deleted_after_ninety_days(database: Database) -> None:
    limit = AT - 90 * DAY
    async with database.transaction(SERVICE) as write:
        await JobRuns(write).add_many(
            [{"job": name, "started_at": at} for name, at in (("a", limit - MICROSECOND), ("b", limit), ("c", AT))]
        )
    assert await _run(database, "clean-job-runs") == 1
    async with open_snapshot(database) as snapshot:
        assert [run.job for run in await JobRuns(snapshot).find(limit=9)] == ["c", "b"]


async def test_sessions_are_deleted_when_they_have_expired(database: Database) -> None:
    """Revoked sessions too. A session is expired at the time ``expires_at``."""
    user = await make_user(database)
    ends = {"0": AT - MICROSECOND, "1": AT, "2": AT + MICROSECOND, "3": AT + DAY}
    rows = [
        {"user_id": user.id, "refresh_token_hash": name * 64, "last_seen_at": AT, "expires_at": end, "revoked_at": at}
        for (name, end), at in zip(ends.items(), (None, AT, AT, None), strict=True)
    ]
    async with database.transaction(SERVICE) as write:
        await Sessions(write).add_many(rows)
    assert await _run(database, "clean-sessions") == 2
    async with open_snapshot(database) as snapshot:
        assert {row.refresh_token_hash[0] for row in await Sessions(snapshot).find(limit=9)} == {"2", "3"}
    assert await _run(database, "clean-sessions") == 0


async def test_expired_tokens_and_old_messages_are_deleted(database: Database) -> None:
    """A token is expired at the time ``expires_at``. Messages are deleted 30 days after they were finished."""
    user = await make_user(database)
    purposes = (TokenPurpose.VERIFY_EMAIL, TokenPurpose.RESET_PASSWORD)
    ends = (AT, AT + MICROSECOND)
    finished = [None, AT - 30 * DAY - MICROSECOND, AT - 30 * DAY, AT]
    async with database.transaction(SERVICE) as write:
        for index, (purpose, end) in enumerate(zip(purposes, ends, strict=True)):
            values = {"user_id": user.id, "token_hash": str(index) * 64, "email": user.email}
            await AccountTokens(write).add(purpose=purpose, expires_at=end, **values)
        for at in finished:
            outcome = MessageOutcome.SENT if at else MessageOutcome.PENDING
            recipient = None if at else "ada@example.com"
            values = {"kind": MessageKind.EMAIL_WAS_CHANGED, "next_attempt_at": AT - 90 * DAY}
            await OutboxMessages(write).add(outcome=outcome, finished_at=at, recipient=recipient, **values)
    assert await _run(database, "clean-messages") == 2
    async with open_snapshot(database) as snapshot:
        assert [token.purpose for token in await AccountTokens(snapshot).find(limit=9)] == ["reset_password"]
        messages = await OutboxMessages(snapshot).find(limit=9)
    assert {message.finished_at for message in messages} == {None, AT - 30 * DAY, AT}
    assert await _run(database, "clean-messages") == 0
