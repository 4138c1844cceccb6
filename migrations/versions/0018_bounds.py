"""The bounds of all inputs as CHECK constraints, and the transitions of statuses as triggers."""

from collections.abc import Mapping

from alembic import op

from migrations.helpers import add_checks, allow_transitions, drop_checks, is_postgresql, limit_transitions

revision = "0018"
down_revision = "0013"
branch_labels = None
depends_on = None

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"


def _web_address(column: str) -> str:
    return f"(substr(lower({column}), 1, 7) = 'http://' OR substr(lower({column}), 1, 8) = 'https://')"


def _locale(column: str) -> str:
    return f"{column} ~ '^[a-z]{{2,3}}(-[A-Z][a-z]{{3}})?(-([A-Z]{{2}}|[0-9]{{3}}))?$'"


def _day(column: str) -> str:
    return f"{column} >= '1900-01-01' AND {column} < '2200-01-01'"


_TIME_ZONE = f"ltrim(lower(time_zone), '{_LETTERS}{_DIGITS}_+-/') = ''"

_NOTIFICATIONS = (
    "jsonb_typeof(notifications) = 'object' AND notifications - ARRAY['email', 'push', 'digest'] = '{}' "
    """AND NOT notifications @? '$.* ? (@.type() != "boolean")'"""
)

_CHECKS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("administration", "system_settings"): {
        "ck_system_settings_key_shape": f"ltrim(substr(key, 1, 1), '{_LETTERS}') = '' "
        f"AND ltrim(key, '{_LETTERS}{_DIGITS}_.') = ''",
    },
    ("identity", "users"): {
        "ck_users_avatar_url_shape": _web_address("avatar_url"),
        "ck_users_time_zone_shape": _TIME_ZONE,
    },
    ("partnership", "partners"): {
        "ck_partners_website_shape": _web_address("website"),
        "ck_partners_started_on_range": _day("started_on"),
        "ck_partners_ended_on_range": _day("ended_on"),
    },
}
_CHECKS_ON_POSTGRESQL: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("identity", "users"): {"ck_users_locale_shape": _locale("locale")},
    ("identity", "user_preferences"): {
        "ck_user_preferences_language_shape": _locale("language"),
        "ck_user_preferences_notifications_shape": _NOTIFICATIONS,
    },
    ("client_management", "clients"): {"ck_clients_annual_revenue_finite": "annual_revenue <> 'NaN'"},
    ("life_lock", "task_analytics"): {"ck_task_analytics_productivity_score_finite": "productivity_score <> 'NaN'"},
    ("partnership", "partners"): {"ck_partners_commission_rate_finite": "commission_rate <> 'NaN'"},
    ("partnership", "referrals"): {
        "ck_referrals_value_finite": "value <> 'NaN'",
        "ck_referrals_commission_finite": "commission <> 'NaN'",
    },
}
"""SQLite has no regular expressions, and stores numbers as integers."""

_REPAIRS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "identity.users": {
        "avatar_url": ("NULL", _web_address("avatar_url")),
        "time_zone": ("'UTC'", _TIME_ZONE),
        "locale": ("'en'", _locale("locale")),
    },
    "identity.user_preferences": {
        "language": ("'en'", _locale("language")),
        "notifications": ("'{}'", _NOTIFICATIONS),
    },
    "client_management.clients": {"annual_revenue": ("NULL", "annual_revenue <> 'NaN'")},
    "life_lock.task_analytics": {"productivity_score": ("0", "productivity_score <> 'NaN'")},
    "partnership.referrals": {
        "value": ("0", "value <> 'NaN'"),
        "commission": ("0", "commission <> 'NaN'"),
    },
    "partnership.partners": {
        "website": ("NULL", _web_address("website")),
        "started_on": ("NULL", _day("started_on")),
        "ended_on": ("NULL", _day("ended_on")),
    },
}
"""By table and column: what replaces a value that violates the condition. Other clients could write such values."""

_TRANSITIONS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("gamification", "reward_redemptions"): ("redeemed>fulfilled", "redeemed>refunded", "fulfilled>refunded"),
    ("partnership", "partners"): (
        *("prospect>active", "prospect>ended", "active>paused", "active>ended", "paused>active", "paused>ended"),
    ),
    ("partnership", "referrals"): (
        *("submitted>qualified", "submitted>won", "submitted>lost", "qualified>won", "qualified>lost"),
    ),
}


def upgrade() -> None:
    if is_postgresql():
        _repair()
    for (schema, table), checks in _checks():
        add_checks(schema, table, checks)
    for (schema, table), allowed in _TRANSITIONS.items():
        limit_transitions(schema, table, "status", allowed)


def _repair() -> None:
    """Replaces values that the new constraints reject. On SQLite only the gateway writes, which checks its inputs."""
    for table, columns in _REPAIRS.items():
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        for column, (value, condition) in columns.items():
            op.execute(f"UPDATE {table} SET {column} = {value} WHERE NOT ({condition})")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def _checks() -> list[tuple[tuple[str, str], Mapping[str, str]]]:
    return [*_CHECKS.items(), *(_CHECKS_ON_POSTGRESQL.items() if is_postgresql() else ())]


def downgrade() -> None:
    for schema, table in _TRANSITIONS:
        allow_transitions(schema, table, "status")
    for (schema, table), checks in _checks():
        drop_checks(schema, table, checks)
