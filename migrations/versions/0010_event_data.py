"""Limits for event data that users write directly, so that every event can be read."""

from alembic import op

from migrations.helpers import is_postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds limits for the depth of JSON, for numbers and for times, because PostgreSQL accepts more than readers do."""
    if is_postgresql():
        op.execute(
            "ALTER TABLE public.domain_events ADD CONSTRAINT ck_domain_events_event_data_shape CHECK ("
            "jsonb_typeof(event_data) = 'object' AND NOT event_data @? '$.**{32}' "
            """AND NOT event_data @? '$.** ? (@.type() == "number" && (@ > 1e300 || @ < -1e300))')"""
        )
        op.execute(
            "ALTER TABLE public.domain_events ADD CONSTRAINT ck_domain_events_timestamp_shape CHECK ("
            "timestamp >= '0001-01-02 00:00:00+00' AND timestamp < '9999-12-31 00:00:00+00')"
        )


def downgrade() -> None:
    if is_postgresql():
        op.execute("ALTER TABLE public.domain_events DROP CONSTRAINT ck_domain_events_timestamp_shape")
        op.execute("ALTER TABLE public.domain_events DROP CONSTRAINT ck_domain_events_event_data_shape")
