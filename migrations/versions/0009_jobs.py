"""Runs of the jobs."""

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Id, Timestamp
from migrations.helpers import IS_ADMIN, id_column, schema, timestamps
from migrations.helpers_until_0016 import row_level_security

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_runs",
        id_column(),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("started_at", Timestamp(), nullable=False),
        sa.Column("finished_at", Timestamp()),
        sa.Column("outcome", sa.Text(), nullable=False, server_default="running"),
        sa.Column("processed", sa.Integer()),
        sa.Column("error_id", Id()),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_job_runs"),
        sa.CheckConstraint("length(job) BETWEEN 1 AND 100", name=op.f("ck_job_runs_job_length")),
        sa.CheckConstraint(
            "(outcome IN ('succeeded', 'failed')) = (finished_at IS NOT NULL)",
            name=op.f("ck_job_runs_finished_at_shape"),
        ),
        sa.CheckConstraint(
            "outcome IN ('running', 'succeeded', 'failed', 'abandoned')", name=op.f("ck_job_runs_outcome_choice")
        ),
        sa.CheckConstraint(
            "(outcome = 'succeeded') = (processed IS NOT NULL)", name=op.f("ck_job_runs_processed_shape")
        ),
        sa.CheckConstraint("(outcome = 'failed') = (error_id IS NOT NULL)", name=op.f("ck_job_runs_error_id_shape")),
        schema=schema("administration"),
    )
    op.create_index("ix_job_runs_job_started_at", "job_runs", ["job", "started_at"], schema=schema("administration"))
    op.create_index("ix_job_runs_started_at", "job_runs", ["started_at"], schema=schema("administration"))
    row_level_security("administration.job_runs", read=IS_ADMIN, write="false")


def downgrade() -> None:
    op.drop_table("job_runs", schema=schema("administration"))
