"""Roles of the gateway, so that other clients of the database can only read.

Before this revision the gateway's transactions had the roles ``anon`` and ``authenticated``, which PostgREST and other
clients of a Supabase database have too. Such a client could write whatever a unit of work could write.
"""

from collections.abc import Mapping, Sequence

from alembic import op

from migrations.helpers import (
    CLIENTS,
    IS_ADMIN,
    ROLES,
    SERVICE,
    VIEWER,
    WRITER,
    grant_table,
    is_postgresql,
    revoke_execute,
)

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None

_TABLES: Mapping[str, Sequence[str]] = {
    "administration.job_runs": (),
    "administration.roles": (),
    "administration.system_settings": ("secret",),
    "administration.user_roles": (),
    "client_management.clients": (),
    "client_management.contacts": ("email", "email_index", "phone"),
    "gamification.achievements": (),
    "gamification.point_entries": (),
    "gamification.reward_redemptions": (),
    "gamification.rewards": (),
    "gamification.user_achievements": (),
    "identity.sessions": ("refresh_token_hash",),
    "identity.user_preferences": (),
    "identity.users": ("password_hash", "phone"),
    "life_lock.categories": (),
    "life_lock.task_analytics": (),
    "life_lock.tasks": (),
    "partnership.partners": ("contact_email",),
    "partnership.referrals": (),
    "public.domain_events": (),
}
"""The tables with their secret columns, which other clients cannot read."""

_VIEWS = ("gamification.leaderboard", "life_lock.visible_user_dashboard_stats")
_SCHEMAS = "administration, client_management, gamification, identity, life_lock, partnership, auth, public"
_TRIGGER_FUNCTIONS = (
    "gamification.point_entries_are_append_only",
    "gamification.reward_redemptions_give_back",
    "gamification.reward_redemptions_take",
    "identity.users_guard",
    "public.domain_events_are_append_only",
    "public.domain_events_mark",
)
_WRITES = ("viewer_insert", "viewer_update", "viewer_delete")
_GUARDED = ("id", "email", "role", "email_verified", "stripe_customer_id")


def upgrade() -> None:
    if not is_postgresql():
        return
    for role in (VIEWER, WRITER):
        op.execute(
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') "
            f"THEN CREATE ROLE {role} NOLOGIN; END IF; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
    op.execute(f"GRANT USAGE ON SCHEMA {_SCHEMAS} TO {VIEWER}, {WRITER}")
    for table, secret in _TABLES.items():
        op.execute(f"ALTER POLICY viewer_select ON {table} TO {CLIENTS}, {VIEWER}, {WRITER}")
        for policy in _WRITES:
            op.execute(f"ALTER POLICY {policy} ON {table} TO {WRITER}")
        grant_table(table, secret=secret)
    for view in _VIEWS:
        op.execute(f"GRANT SELECT ON {view} TO {VIEWER}, {WRITER}")
    op.execute(f"REVOKE ALL ON alembic_version FROM PUBLIC, {ROLES}")
    op.execute(f"GRANT SELECT ON alembic_version TO {VIEWER}, {SERVICE}")
    op.execute(f"REVOKE ALL ON SEQUENCE public.domain_events_sequence_seq FROM PUBLIC, {ROLES}")
    revoke_execute(*_TRIGGER_FUNCTIONS)
    op.execute(f"REVOKE EXECUTE ON FUNCTION public.domain_events_horizon() FROM {CLIENTS}, {VIEWER}, {WRITER}")
    _guard_accounts(f"current_user = '{WRITER}'")
    _revoke_creation()


def _revoke_creation() -> None:
    """Leaves no role but the owner a place for objects of its own, if the owner of the database runs the migrations.

    ``siso doctor`` reports what remains. ``service_role`` refreshes a materialized view through a temporary table.
    """
    for statement in (
        "GRANT TEMPORARY ON DATABASE %1$I TO service_role",
        "REVOKE TEMPORARY ON DATABASE %1$I FROM PUBLIC, anon, authenticated",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC, anon, authenticated",
    ):
        op.execute(
            f"DO $$ BEGIN EXECUTE format('{statement}', current_database()); "
            "EXCEPTION WHEN insufficient_privilege THEN NULL; END $$"
        )


def _guard_accounts(is_viewer: str) -> None:
    """Replaces the function of the trigger that revision 0007 created."""
    changed = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in _GUARDED)
    op.execute(
        "CREATE OR REPLACE FUNCTION identity.users_guard() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
        f"IF {is_viewer} AND NOT coalesce({IS_ADMIN}, false) THEN "
        "IF TG_OP = 'INSERT' THEN IF NEW.role <> 'user' OR NEW.email_verified THEN "
        "RAISE EXCEPTION 'not for viewers' USING ERRCODE = 'insufficient_privilege'; END IF; "
        f"ELSIF {changed} OR (NEW.status <> OLD.status AND NEW.status <> 'deactivated') THEN "
        "RAISE EXCEPTION 'not for viewers' USING ERRCODE = 'insufficient_privilege'; END IF; "
        "END IF; RETURN NEW; END $f$"
    )


def downgrade() -> None:
    """Keeps the roles, which other databases may use, and their right to read the revision.

    It does not grant TEMPORARY and CREATE again.
    """
    if not is_postgresql():
        return
    _guard_accounts("current_user IN ('anon', 'authenticated')")
    op.execute(f"GRANT SELECT ON alembic_version TO {CLIENTS}, {SERVICE}")
    for function in _TRIGGER_FUNCTIONS:
        op.execute(f"GRANT EXECUTE ON FUNCTION {function}() TO PUBLIC")
    for view in _VIEWS:
        op.execute(f"REVOKE ALL ON {view} FROM {VIEWER}, {WRITER}")
    for table in _TABLES:
        for policy in ("viewer_select", *_WRITES):
            op.execute(f"ALTER POLICY {policy} ON {table} TO {CLIENTS}")
        op.execute(f"REVOKE ALL ON {table} FROM {ROLES}")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {CLIENTS}, {SERVICE}")
    op.execute(f"REVOKE USAGE ON SCHEMA {_SCHEMAS} FROM {VIEWER}, {WRITER}")
