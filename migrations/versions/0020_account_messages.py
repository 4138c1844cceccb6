"""Tokens that are sent by e-mail, and the outbox of e-mails."""

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Id, Timestamp
from migrations.helpers import id_column, ref, row_level_security, schema, timestamps

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_SECRETS = {"account_tokens": ("token_hash", "email", "email_index"), "outbox_messages": ("recipient",)}


def upgrade() -> None:
    _create_account_tokens()
    _create_outbox_messages()
    for table, secret in _SECRETS.items():
        row_level_security(f"identity.{table}", read="false", write="false", secret=secret)


def _create_account_tokens() -> None:
    at = schema("identity")
    op.create_table(
        "account_tokens",
        id_column(),
        sa.Column("user_id", Id()),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_index", sa.Text(), nullable=False),
        sa.Column("expires_at", Timestamp(), nullable=False),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_account_tokens"),
        sa.ForeignKeyConstraint(["user_id"], [ref("identity.users.id")], name="fk_account_tokens_user_id"),
        sa.UniqueConstraint("token_hash", name="uq_account_tokens_token_hash"),
        sa.UniqueConstraint("user_id", "purpose", name="uq_account_tokens_user_id_purpose"),
        sa.CheckConstraint(
            "purpose IN ('verify_email', 'reset_password', 'change_email', 'invitation')",
            name=op.f("ck_account_tokens_purpose_choice"),
        ),
        sa.CheckConstraint(
            "(purpose = 'invitation') = (user_id IS NULL)", name=op.f("ck_account_tokens_user_id_shape")
        ),
        sa.CheckConstraint("length(token_hash) BETWEEN 64 AND 64", name=op.f("ck_account_tokens_token_hash_length")),
        sa.CheckConstraint("substr(email, 1, 2) = '1.'", name=op.f("ck_account_tokens_email_shape")),
        sa.CheckConstraint("length(email_index) BETWEEN 64 AND 64", name=op.f("ck_account_tokens_email_index_length")),
        schema=at,
    )
    op.create_index("ix_account_tokens_expires_at", "account_tokens", ["expires_at"], schema=at)
    is_invitation = sa.text("purpose = 'invitation'")
    op.create_index(
        "uq_account_tokens_invitation",
        "account_tokens",
        ["email_index"],
        unique=True,
        schema=at,
        postgresql_where=is_invitation,
        sqlite_where=is_invitation,
    )


def _create_outbox_messages() -> None:
    at = schema("identity")
    op.create_table(
        "outbox_messages",
        id_column(),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_id", Id()),
        sa.Column("recipient", sa.Text()),
        sa.Column("token_id", Id()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("next_attempt_at", Timestamp(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False, server_default="pending"),
        sa.Column("finished_at", Timestamp()),
        sa.Column("error", sa.Text()),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_outbox_messages"),
        sa.ForeignKeyConstraint(["user_id"], [ref("identity.users.id")], name="fk_outbox_messages_user_id"),
        sa.CheckConstraint(
            "kind IN ('verify_email', 'reset_password', 'change_email', 'invitation', 'password_was_reset', "
            "'email_was_changed')",
            name=op.f("ck_outbox_messages_kind_choice"),
        ),
        sa.CheckConstraint("substr(recipient, 1, 2) = '1.'", name=op.f("ck_outbox_messages_recipient_shape")),
        sa.CheckConstraint(
            "(outcome = 'pending') = (recipient IS NOT NULL)", name=op.f("ck_outbox_messages_recipient_presence")
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_outbox_messages_attempts_range")),
        sa.CheckConstraint(
            "outcome IN ('pending', 'sent', 'failed', 'dropped')", name=op.f("ck_outbox_messages_outcome_choice")
        ),
        sa.CheckConstraint(
            "(outcome = 'pending') = (finished_at IS NULL)", name=op.f("ck_outbox_messages_finished_at_shape")
        ),
        sa.CheckConstraint("length(error) BETWEEN 1 AND 100", name=op.f("ck_outbox_messages_error_length")),
        schema=at,
    )
    op.create_index("ix_outbox_messages_user_id", "outbox_messages", ["user_id"], schema=at)
    op.create_index("ix_outbox_messages_finished_at", "outbox_messages", ["finished_at"], schema=at)
    is_pending = sa.text("outcome = 'pending'")
    op.create_index(
        "ix_outbox_messages_pending",
        "outbox_messages",
        ["next_attempt_at"],
        schema=at,
        postgresql_where=is_pending,
        sqlite_where=is_pending,
    )


def downgrade() -> None:
    for table in _SECRETS:
        op.drop_table(table, schema=schema("identity"))
