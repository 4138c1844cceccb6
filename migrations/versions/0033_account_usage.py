"""How many rows and bytes of texts each account stores, which triggers count, for the quota of accounts."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import sqlalchemy as sa
from alembic import op

from migrations.helpers import (
    IS_ADMIN,
    SERVICE,
    WRITER,
    id_column,
    is_postgresql,
    named,
    owned_by,
    ref,
    revoke_execute,
    row_level_security,
    schema,
)

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


class _Counted(NamedTuple):
    owner: str
    texts: tuple[str, ...]


_TABLES: Mapping[str, _Counted] = {
    "life_lock.categories": _Counted("user_id", ("name",)),
    "life_lock.tasks": _Counted("user_id", ("title", "description")),
    "client_management.clients": _Counted("created_by", ("company_name", "industry", "website")),
    "client_management.contacts": _Counted("user_id", ("first_name", "last_name", "email", "phone", "position")),
}
_USAGE = "identity.account_usage"

_ADD_USAGE = f"""
CREATE FUNCTION identity.add_usage(account uuid, more_rows bigint, more_bytes bigint) RETURNS void
LANGUAGE plpgsql AS $f$
DECLARE
    quota CONSTANT text[] = string_to_array(current_setting('siso.quota', true), ',', '');
    used record;
BEGIN
    INSERT INTO {_USAGE} AS used_so_far (id, row_count, byte_count) VALUES (account, more_rows, more_bytes)
    ON CONFLICT (id) DO UPDATE SET row_count = used_so_far.row_count + more_rows,
        byte_count = used_so_far.byte_count + more_bytes
    RETURNING row_count, byte_count INTO used;
    IF more_rows > 0 AND used.row_count > quota[1]::bigint THEN
        RAISE EXCEPTION 'too many rows' USING ERRCODE = 'check_violation', CONSTRAINT = 'quota_rows_' || quota[1];
    ELSIF more_bytes > 0 AND used.byte_count > quota[2]::bigint THEN
        RAISE EXCEPTION 'too many bytes' USING ERRCODE = 'check_violation', CONSTRAINT = 'quota_bytes_' || quota[2];
    END IF;
END $f$
"""
"""The setting `siso.quota` is that of the gateway's connections for viewers: `rows,bytes`, either of them
empty without a limit. Other clients have no quota."""


def upgrade() -> None:
    op.create_table(
        "account_usage",
        id_column(),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("byte_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_account_usage"),
        sa.ForeignKeyConstraint(["id"], [ref("identity.users.id")], name="fk_account_usage_id"),
        schema=schema("identity"),
    )
    rule = f"{owned_by('id')} OR {IS_ADMIN}"
    row_level_security(_USAGE, read=rule, write=rule)
    _count_stored()
    if is_postgresql():
        op.execute(_ADD_USAGE)
        op.execute("REVOKE EXECUTE ON FUNCTION identity.add_usage FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION identity.add_usage TO {WRITER}, {SERVICE}")
    for table, counted in _TABLES.items():
        for statement in _triggers(table, counted):
            op.execute(statement)
        if is_postgresql():
            revoke_execute(f"{table}_usage")


def downgrade() -> None:
    for table in _TABLES:
        for event in ("insert", "update", "delete"):
            name = f"{table.partition('.')[2]}_usage_{event}"
            op.execute(f"DROP TRIGGER {name} ON {table}" if is_postgresql() else f"DROP TRIGGER {name}")
        if is_postgresql():
            op.execute(f"DROP FUNCTION {table}_usage()")
    if is_postgresql():
        op.execute("DROP FUNCTION identity.add_usage")
    op.drop_table("account_usage", schema=schema("identity"))


def _size(counted: _Counted, row: str = "") -> str:
    """The bytes of the texts of a row."""
    measure = "octet_length({})" if is_postgresql() else "length(CAST({} AS BLOB))"
    return " + ".join(f"coalesce({measure.format(row + text)}, 0)" for text in counted.texts)


def _count_stored() -> None:
    """Counts the rows that exist, as the role that sees all of them."""
    rows = " UNION ALL ".join(
        f"SELECT {counted.owner} AS account, {_size(counted)} AS size FROM {named(table)}"
        for table, counted in _TABLES.items()
    )
    if is_postgresql():
        op.execute(f"SET LOCAL ROLE {SERVICE}")
    op.execute(
        f"INSERT INTO {named(_USAGE)} (id, row_count, byte_count) "
        f"SELECT account, count(*), sum(size) FROM ({rows}) stored GROUP BY account"
    )
    if is_postgresql():
        op.execute("RESET ROLE")


def _triggers(table: str, counted: _Counted) -> Iterator[str]:
    return _postgresql_triggers(table, counted) if is_postgresql() else _sqlite_triggers(table, counted)


def _postgresql_triggers(table: str, counted: _Counted) -> Iterator[str]:
    """Triggers of statements: a statement with a hundred rows adds to the usage once."""
    owner, size = counted.owner, _size(counted)
    yield f"""
        CREATE FUNCTION {table}_usage() RETURNS trigger LANGUAGE plpgsql AS $f$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                PERFORM identity.add_usage({owner}, count(*), sum({size})) FROM added
                GROUP BY {owner} ORDER BY {owner};
            ELSIF TG_OP = 'DELETE' THEN
                PERFORM identity.add_usage({owner}, -count(*), -sum({size})) FROM removed
                GROUP BY {owner} ORDER BY {owner};
            ELSE
                PERFORM identity.add_usage({owner}, sum(change), sum(size))
                FROM (SELECT {owner}, 1 AS change, {size} AS size FROM added
                    UNION ALL SELECT {owner}, -1, -({size}) FROM removed) changed
                GROUP BY {owner} HAVING sum(change) <> 0 OR sum(size) <> 0
                ORDER BY {owner};
            END IF;
            RETURN NULL;
        END $f$
    """
    states = {"insert": "NEW TABLE AS added", "delete": "OLD TABLE AS removed"}
    states["update"] = f"{states['insert']} {states['delete']}"
    for event, names in states.items():
        yield (
            f"CREATE TRIGGER {table.partition('.')[2]}_usage_{event} AFTER {event.upper()} ON {table} "
            f"REFERENCING {names} FOR EACH STATEMENT EXECUTE FUNCTION {table}_usage()"
        )


def _sqlite_triggers(table: str, counted: _Counted) -> Iterator[str]:
    """Triggers of rows. The owner of a row never changes, because no command changes it."""
    name, owner = named(table), counted.owner
    new, old = _size(counted, "NEW."), _size(counted, "OLD.")
    yield (
        f"CREATE TRIGGER {name}_usage_insert AFTER INSERT ON {name} BEGIN "
        f"INSERT INTO account_usage (id, row_count, byte_count) VALUES (NEW.{owner}, 1, {new}) ON CONFLICT (id) "
        "DO UPDATE SET row_count = row_count + 1, byte_count = byte_count + excluded.byte_count; END"
    )
    yield (
        f"CREATE TRIGGER {name}_usage_update AFTER UPDATE ON {name} WHEN {new} <> {old} BEGIN "
        f"UPDATE account_usage SET byte_count = byte_count + ({new}) - ({old}) WHERE id = NEW.{owner}; END"
    )
    yield (
        f"CREATE TRIGGER {name}_usage_delete AFTER DELETE ON {name} BEGIN "
        f"UPDATE account_usage SET row_count = row_count - 1, byte_count = byte_count - ({old}) "
        f"WHERE id = OLD.{owner}; END"
    )
