"""The highest event number up to which all events are committed, so that readers skip none.

Decision 0015 explains why this is needed and why it is safe.
"""

from alembic import op

from migrations.helpers import is_postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TAG = 0x5150
"""The upper 16 bits of the advisory locks' keys; the lower 48 are a sequence number."""

_DRAWN = "(SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.domain_events_sequence_seq)"


def upgrade() -> None:
    if not is_postgresql():
        return
    op.execute(
        "CREATE FUNCTION public.domain_events_mark() RETURNS trigger "
        "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $f$ BEGIN "
        f"PERFORM pg_advisory_xact_lock_shared(({_TAG}::bigint << 48) | {_DRAWN}); RETURN NULL; END $f$"
    )
    op.execute(
        "CREATE TRIGGER domain_events_mark BEFORE INSERT ON public.domain_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION public.domain_events_mark()"
    )
    op.execute(
        "CREATE FUNCTION public.domain_events_horizon(OUT horizon bigint, OUT drawn bigint) "
        "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $f$ BEGIN "
        f"drawn := {_DRAWN}; "
        "SELECT least(drawn, min(((classid::bigint & 65535) << 32) | objid::bigint)) INTO horizon FROM pg_locks "
        "WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = "
        f"{_TAG} AND database = (SELECT oid FROM pg_database WHERE datname = current_database()); END $f$"
    )
    op.execute("REVOKE EXECUTE ON FUNCTION public.domain_events_horizon() FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION public.domain_events_horizon() TO service_role")


def downgrade() -> None:
    if is_postgresql():
        op.execute("DROP FUNCTION public.domain_events_horizon()")
        op.execute("DROP TRIGGER domain_events_mark ON public.domain_events")
        op.execute("DROP FUNCTION public.domain_events_mark()")
