"""Creates idempotency keys."""

import sqlalchemy as sa
from alembic import op

from migrations import helpers
from migrations.column_types import Id, Json, Timestamp

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        helpers.id_column(),
        sa.Column("viewer_id", Id(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("outcome", Json()),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("expires_at", Timestamp(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_idempotency_keys"),
        sa.UniqueConstraint("viewer_id", "key", "field", name="uq_idempotency_keys_viewer_id_key_field"),
        sa.CheckConstraint("length(field) BETWEEN 1 AND 255", name=op.f("ck_idempotency_keys_field_length")),
        sa.CheckConstraint(
            "length(fingerprint) BETWEEN 64 AND 64", name=op.f("ck_idempotency_keys_fingerprint_length")
        ),
        sa.CheckConstraint("length(key) BETWEEN 1 AND 255", name=op.f("ck_idempotency_keys_key_length")),
        *helpers.time_ranges("idempotency_keys", "created_at", "expires_at"),
        schema=helpers.schema("public"),
    )
    op.create_index(
        "ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"], schema=helpers.schema("public")
    )
    helpers.row_level_security(
        "public.idempotency_keys",
        read=f"{helpers.owned_by('viewer_id')}",
        write=f"{helpers.owned_by('viewer_id')}",
        secret=["fingerprint"],
    )


def downgrade() -> None:
    op.drop_table("idempotency_keys", schema=helpers.schema("public"))
