"""Roles, users and the event store."""

import sqlalchemy as sa
from alembic import op

from migrations.column_types import Flag, Id, Json, Timestamp
from migrations.helpers import IS_ADMIN, drop_schema, id_column, is_postgresql, owned_by, schema, timestamps
from migrations.helpers_until_0016 import ROLES, create_schema, row_level_security

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_AUTH = {
    "uid": "uuid LANGUAGE sql STABLE AS $f$ SELECT nullif("
    "nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub', '')::uuid $f$",
    "jwt": "jsonb LANGUAGE sql STABLE AS $f$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb $f$",
}


def upgrade() -> None:
    if is_postgresql():
        _create_roles()
    create_schema("identity")
    _create_users()
    _create_domain_events()


def _create_roles() -> None:
    """Creates the viewers' roles and the functions that policies call, unless they exist, as on Supabase."""
    for role in ROLES.split(", "):
        op.execute(
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') "
            f"THEN CREATE ROLE {role} NOLOGIN; END IF; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
        op.execute(f"DO $$ BEGIN GRANT {role} TO CURRENT_USER; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$")
    op.execute("CREATE SCHEMA IF NOT EXISTS auth")
    for name, body in _AUTH.items():
        op.execute(
            f"DO $$ BEGIN IF to_regprocedure('auth.{name}()') IS NULL THEN "
            f"CREATE FUNCTION auth.{name}() RETURNS {body}; "
            f"COMMENT ON FUNCTION auth.{name}() IS 'siso-gateway'; END IF; END $$"
        )
    op.execute(f"GRANT USAGE ON SCHEMA auth, public TO {ROLES}")
    op.execute(f"GRANT SELECT ON alembic_version TO {ROLES}")


def _create_users() -> None:
    op.create_table(
        "users",
        id_column(),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=False),
        sa.Column("last_name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text()),
        sa.Column("role", sa.Text(), nullable=False, server_default="user"),
        sa.Column("status", sa.Text(), nullable=False, server_default="active"),
        sa.Column("email_verified", Flag(), nullable=False, server_default=sa.text("'0'")),
        sa.Column("phone", sa.Text()),
        sa.Column("avatar_url", sa.Text()),
        sa.Column("stripe_customer_id", sa.Text()),
        sa.Column("time_zone", sa.Text(), nullable=False, server_default="UTC"),
        sa.Column("locale", sa.Text(), nullable=False, server_default="en"),
        sa.Column("last_login", Timestamp()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("deleted_at", Timestamp()),
        *timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sa.UniqueConstraint("stripe_customer_id", name="uq_users_stripe_customer_id"),
        sa.CheckConstraint("length(email) BETWEEN 3 AND 255", name=op.f("ck_users_email_length")),
        sa.CheckConstraint("length(first_name) BETWEEN 2 AND 50", name=op.f("ck_users_first_name_length")),
        sa.CheckConstraint("length(last_name) BETWEEN 2 AND 50", name=op.f("ck_users_last_name_length")),
        sa.CheckConstraint("role IN ('user', 'admin')", name=op.f("ck_users_role_choice")),
        sa.CheckConstraint("status IN ('active', 'suspended', 'deactivated')", name=op.f("ck_users_status_choice")),
        schema=schema("identity"),
    )
    op.create_index("ix_users_status", "users", ["status"], schema=schema("identity"))
    own_or_admin = f"{owned_by('id')} OR {IS_ADMIN}"
    row_level_security("identity.users", read=own_or_admin, write=own_or_admin)


def _create_domain_events() -> None:
    op.create_table(
        "domain_events",
        id_column(),
        sa.Column("aggregate_id", Id(), nullable=False),
        sa.Column("aggregate_type", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("event_data", Json(), nullable=False),
        sa.Column("user_id", Id()),
        sa.Column("timestamp", Timestamp(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column(
            "sequence", sa.BigInteger(), *([sa.Identity(always=True)] if is_postgresql() else []), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name="pk_domain_events"),
        sa.UniqueConstraint("sequence", name="uq_domain_events_sequence"),
        sa.CheckConstraint(
            "length(aggregate_type) BETWEEN 1 AND 100", name=op.f("ck_domain_events_aggregate_type_length")
        ),
        sa.CheckConstraint("length(event_type) BETWEEN 1 AND 100", name=op.f("ck_domain_events_event_type_length")),
        schema=schema("public"),
    )
    for column in ("aggregate_id", "event_type", "user_id"):
        op.create_index(f"ix_domain_events_{column}", "domain_events", [column, "timestamp"], schema=schema("public"))
    row_level_security("public.domain_events", read=f"{owned_by('user_id')} OR {IS_ADMIN}", write=owned_by("user_id"))
    if is_postgresql():
        op.execute(
            "CREATE FUNCTION public.domain_events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
            "RAISE EXCEPTION 'domain_events is append-only' USING ERRCODE = 'insufficient_privilege'; END $f$"
        )
        for name, when, each in (("change", "UPDATE OR DELETE", "ROW"), ("truncate", "TRUNCATE", "STATEMENT")):
            op.execute(
                f"CREATE TRIGGER domain_events_no_{name} BEFORE {when} ON public.domain_events "
                f"FOR EACH {each} EXECUTE FUNCTION public.domain_events_are_append_only()"
            )
    else:
        for name in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER domain_events_no_{name} BEFORE {name.upper()} ON domain_events "
                "BEGIN SELECT RAISE(ABORT, 'domain_events is append-only'); END"
            )


def downgrade() -> None:
    """Keeps the roles, because they belong to the whole server and other databases may use them."""
    op.drop_table("domain_events", schema=schema("public"))
    if is_postgresql():
        op.execute("DROP FUNCTION public.domain_events_are_append_only()")
    op.drop_table("users", schema=schema("identity"))
    drop_schema("identity")
    if is_postgresql():
        for name in _AUTH:
            op.execute(
                f"DO $$ BEGIN IF obj_description('auth.{name}()'::regprocedure) = 'siso-gateway' THEN "
                f"DROP FUNCTION auth.{name}(); END IF; END $$"
            )
        op.execute(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'auth'::regnamespace) AND NOT EXISTS "
            "(SELECT FROM pg_class WHERE relnamespace = 'auth'::regnamespace) THEN DROP SCHEMA auth; END IF; END $$"
        )
