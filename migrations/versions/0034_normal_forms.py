"""Texts in Unicode's form NFC, and e-mail addresses folded letter by letter."""

import logging
import re
import unicodedata
from collections.abc import Callable, Mapping

import sqlalchemy as sa
from alembic import op

from migrations.helpers import SERVICE, is_postgresql, named

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

log = logging.getLogger(__name__)

_TEXTS: Mapping[str, tuple[str, ...]] = {
    "life_lock.categories": ("name",),
    "life_lock.tasks": ("title", "description"),
    "client_management.clients": ("company_name", "industry"),
    "client_management.contacts": ("first_name", "last_name", "position"),
    "gamification.rewards": ("name", "description"),
    "gamification.achievements": ("name", "description"),
    "identity.users": ("first_name", "last_name"),
    "partnership.partners": ("name", "notes"),
    "partnership.referrals": ("client_name",),
}
_BATCH = 1000


def upgrade() -> None:
    """Replaces what is not in normal form. A text stays as it is if a unique constraint forbids its normal form."""
    if is_postgresql():
        op.execute(f"SET LOCAL ROLE {SERVICE}")
    for table, columns in _TEXTS.items():
        for column in columns:
            _replace(table, column, _to_nfc)
    _replace("identity.users", "email", _fold_address)
    if is_postgresql():
        op.execute("RESET ROLE")


def downgrade() -> None:
    """Keeps the normal forms, which earlier versions accept."""


def _replace(table: str, column: str, convert: Callable[[str], str]) -> None:
    """Converts the texts with characters outside ASCII, in batches along the primary key."""
    bind, last = op.get_bind(), "00000000-0000-0000-0000-000000000000"
    is_unusual = f"{column} ~ '[^[:ascii:]]'" if is_postgresql() else f"{column} GLOB '*[^ -~]*'"
    given = "CAST(:key AS uuid)" if is_postgresql() else ":key"
    name, key = named(table), "id::text" if is_postgresql() else "id"
    select = sa.text(
        f"SELECT {key}, {column} FROM {name} WHERE id > {given} AND {is_unusual} ORDER BY id LIMIT {_BATCH}"
    )
    update = sa.text(f"UPDATE {name} SET {column} = :text WHERE id = {given}")
    while rows := bind.execute(select, {"key": last}).all():
        last = rows[-1][0]
        for row_key, text in rows:
            converted = convert(text)
            if converted == text:
                continue
            try:
                with bind.begin_nested():
                    bind.execute(update, {"key": row_key, "text": converted})
            except sa.exc.IntegrityError:
                log.warning("%s %s keeps its %s, because another row has the same one.", table, row_key, column)


def _to_nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _fold_address(email: str) -> str:
    """The address with its part before the @ folded as this revision defines it."""
    local, at, domain = email.rpartition("@")
    parts = re.split("[ßẞ]", _to_nfc(local))
    return _to_nfc("ß".join(unicodedata.normalize("NFD", part).casefold() for part in parts)) + at + domain
