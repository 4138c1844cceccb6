"""Creates notes."""

import sqlalchemy as sa
from alembic import op

from migrations import helpers
from migrations.column_types import Id, Timestamp

revision = "9999"
down_revision = "9998"
branch_labels = None
depends_on = None


def upgrade() -> None:
    helpers.create_schema("notebook")
    op.create_table(
        "notes",
        helpers.id_column(),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("color", sa.Text(), nullable=False, server_default=sa.text("'yellow'")),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("deleted_at", Timestamp()),
        *helpers.timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_notes"),
        sa.ForeignKeyConstraint(["user_id"], [helpers.ref("identity.users.id")], name="fk_notes_user_id"),
        sa.CheckConstraint("color IN ('yellow', 'green')", name=op.f("ck_notes_color_choice")),
        sa.CheckConstraint(
            "created_at >= '1900-01-01 00:00:00+00' AND created_at < '2200-01-01 00:00:00+00'",
            name=op.f("ck_notes_created_at_range"),
        ),
        sa.CheckConstraint(
            "deleted_at >= '1900-01-01 00:00:00+00' AND deleted_at < '2200-01-01 00:00:00+00'",
            name=op.f("ck_notes_deleted_at_range"),
        ),
        sa.CheckConstraint("length(text) BETWEEN 1 AND 10000", name=op.f("ck_notes_text_length")),
        sa.CheckConstraint(
            "updated_at >= '1900-01-01 00:00:00+00' AND updated_at < '2200-01-01 00:00:00+00'",
            name=op.f("ck_notes_updated_at_range"),
        ),
        schema=helpers.schema("notebook"),
    )
    op.create_index(
        "ix_notes_user_id_updated_at", "notes", ["user_id", "updated_at"], schema=helpers.schema("notebook")
    )
    helpers.row_level_security(
        "notebook.notes",
        read=f"{helpers.owned_by('user_id')} OR {helpers.has_role('admin')}",
        write=f"{helpers.owned_by('user_id')}",
    )


def downgrade() -> None:
    op.drop_table("notes", schema=helpers.schema("notebook"))
    helpers.drop_schema("notebook")
