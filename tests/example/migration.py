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
        sa.CheckConstraint("length(text) BETWEEN 1 AND 10000", name=op.f("ck_notes_text_length")),
        *helpers.time_ranges("notes", "deleted_at", "created_at", "updated_at"),
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
