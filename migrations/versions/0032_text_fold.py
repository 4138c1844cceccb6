"""The function `fold` on PostgreSQL: lower case that does not depend on the locale of the database."""

from alembic import op

from migrations.helpers import is_postgresql

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

_CREATE = """
DO $$
DECLARE
    suitable CONSTANT name[] = ARRAY['pg_c_utf8', 'C.utf8', 'und-x-icu'];
    expression text;
BEGIN
    SELECT format('lower($1 COLLATE pg_catalog.%I)', collname) INTO expression FROM pg_catalog.pg_collation
    WHERE collnamespace = 'pg_catalog'::regnamespace AND collname = ANY (suitable)
        AND collencoding IN (-1, pg_char_to_encoding(getdatabaseencoding()))
    ORDER BY array_position(suitable, collname) LIMIT 1;
    EXECUTE format(
        'CREATE FUNCTION public.fold(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS %L',
        'SELECT ' || coalesce(expression, 'lower($1)'));
END $$
"""
"""PostgreSQL has `pg_c_utf8` since version 17, `C.utf8` on most systems, and `und-x-icu` if it is built with ICU. The
first two map each character to one; `und-x-icu` maps İ to two, and Σ at the end of a word to ς."""


def upgrade() -> None:
    if is_postgresql():
        op.execute(_CREATE)
        op.execute("GRANT EXECUTE ON FUNCTION public.fold TO PUBLIC")


def downgrade() -> None:
    if is_postgresql():
        op.execute("DROP FUNCTION public.fold")
