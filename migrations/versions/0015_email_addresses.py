"""E-mail addresses of accounts in their normal form."""

import logging
import unicodedata

import sqlalchemy as sa
from alembic import op
from email_validator import EmailNotValidError, validate_email

from migrations.helpers import is_postgresql, schema

revision = "0015"
down_revision = "0010"
branch_labels = None
depends_on = None

log = logging.getLogger(__name__)

_UNUSUAL = {
    "postgresql": "email COLLATE \"C\" ~ '[^a-z0-9.@+_-]' OR email LIKE '%xn--%'",
    "sqlite": "email GLOB '*[^a-z0-9.@+_-]*' OR email LIKE '%xn--%'",
}
"""Finds all addresses that may not be in normal form."""


def upgrade() -> None:
    """Replaces addresses by their normal form. If two accounts have the same address, both keep their spelling."""
    if is_postgresql():
        op.execute("ALTER TABLE identity.users NO FORCE ROW LEVEL SECURITY")
    _normalize()
    if is_postgresql():
        op.execute("ALTER TABLE identity.users FORCE ROW LEVEL SECURITY")


def _normalize() -> None:
    bind = op.get_bind()
    users = sa.table("users", sa.column("id"), sa.column("email"), schema=schema("identity"))
    unusual = sa.select(users.c.id, users.c.email).where(sa.text(_UNUSUAL[bind.dialect.name])).order_by(users.c.id)
    for key, email in bind.execute(unusual).all():
        normal = _normal_form(email)
        if normal == email:
            continue
        other = bind.execute(sa.select(users.c.id).where(users.c.email == normal)).scalar()
        if other is None:
            bind.execute(sa.update(users).where(users.c.id == key).values(email=normal))
            continue
        log.warning(
            "The users %s and %s have the same e-mail address in two spellings. Both are kept; only %s can sign in "
            "with it. Give %s another address, or delete the account.",
            *(other, key, other, key),
        )


def _normal_form(email: str) -> str:
    """The normal form as this revision defines it; a text that is no valid address is only folded."""
    try:
        parts = validate_email(email.strip(" "), check_deliverability=False)
    except EmailNotValidError:
        return _fold(email)
    return f"{_fold(parts.local_part)}@{parts.domain}"


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def downgrade() -> None:
    """Keeps the normal form, which earlier versions accept."""
