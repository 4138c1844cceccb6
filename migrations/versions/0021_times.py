"""The range of times and dates as CHECK constraints of every table: finite, and of the years 1900 to 2199."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

from migrations.helpers import add_checks, drop_checks, is_postgresql, named

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_TIMES = {
    "administration.job_runs": "started_at finished_at created_at updated_at",
    "administration.roles": "created_at updated_at",
    "gamification.achievements": "created_at updated_at",
    "gamification.rewards": "created_at updated_at",
    "identity.users": "last_login deleted_at created_at updated_at",
    "public.domain_events": "timestamp",
    "administration.user_roles": "granted_at created_at updated_at",
    "client_management.clients": "deleted_at created_at updated_at",
    "gamification.point_entries": "created_at updated_at",
    "gamification.reward_redemptions": "redeemed_at created_at updated_at",
    "gamification.user_achievements": "unlocked_at created_at updated_at",
    "identity.account_tokens": "expires_at created_at updated_at",
    "identity.outbox_messages": "next_attempt_at finished_at created_at updated_at",
    "identity.sessions": "expires_at revoked_at last_seen_at created_at updated_at",
    "identity.user_preferences": "created_at updated_at",
    "life_lock.categories": "created_at updated_at",
    "life_lock.task_analytics": "created_at updated_at",
    "partnership.partners": "deleted_at created_at updated_at",
    "client_management.contacts": "deleted_at created_at updated_at",
    "life_lock.tasks": "due_date completed_at deleted_at created_at updated_at",
    "partnership.referrals": "commission_paid_at closed_at created_at updated_at",
}
"""By table: the columns with times. The dates of partners have their constraints since revision 0018."""

_DATES = {"life_lock.task_analytics": "date"}

_EVENTS = ("public", "domain_events")
_REPLACED = "ck_domain_events_timestamp_shape"
_OLD_RANGE = "timestamp >= '0001-01-02 00:00:00+00' AND timestamp < '9999-12-31 00:00:00+00'"


def _conditions(table: str) -> dict[str, str]:
    """By column. SQLite compares the texts of times, which begin with the date."""
    times = dict.fromkeys(_TIMES[table].split(), ("1900-01-01 00:00:00+00", "2200-01-01 00:00:00+00"))
    dates = dict.fromkeys(_DATES.get(table, "").split(), ("1900-01-01", "2200-01-01"))
    return {name: f"{name} >= '{low}' AND {name} < '{high}'" for name, (low, high) in (times | dates).items()}


def _checks() -> Iterator[tuple[str, str, dict[str, str]]]:
    for path in _TIMES:
        schema, table = path.split(".")
        yield schema, table, {f"ck_{table}_{name}_range": check for name, check in _conditions(path).items()}


def upgrade() -> None:
    _reject_violations()
    for schema, table, checks in _checks():
        add_checks(schema, table, checks)
    if is_postgresql():
        drop_checks(*_EVENTS, {_REPLACED: _OLD_RANGE})


def _reject_violations() -> None:
    """Stops with the places of the values that the constraints reject: what is right instead is not known here."""
    found = []
    for table in _TIMES:
        if is_postgresql():
            op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        for column, condition in _conditions(table).items():
            count = sa.text(f"SELECT count(*) FROM {named(table)} WHERE NOT ({condition})")
            rows = op.get_bind().execute(count).scalar_one()
            if rows:
                found.append(f"{rows} in {named(table)}.{column}")
        if is_postgresql():
            op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    if found:
        message = f"Times or dates are not between 1900-01-01 and 2199-12-31: {', '.join(found)}. Correct them first."
        raise CommandError(message)


def downgrade() -> None:
    if is_postgresql():
        add_checks(*_EVENTS, {_REPLACED: _OLD_RANGE})
    for schema, table, checks in _checks():
        drop_checks(schema, table, checks)
