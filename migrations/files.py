"""The newest revision, read from the migration files alone.

Serving starts with one question: is the database at the newest revision? Loading Alembic to answer it would cost a
quarter of a second at every start; the files say it themselves in ``revision`` and ``down_revision``.
"""

import re
from pathlib import Path

_NAMED = re.compile(r'^(revision|down_revision) = "(\w+)"$', re.MULTILINE)


def revisions() -> dict[str, str | None]:
    """Every revision with the one below it."""
    found = {}
    for path in (Path(__file__).parent / "versions").glob("*.py"):
        named = dict(_NAMED.findall(path.read_text(encoding="utf-8")))
        found[named["revision"]] = named.get("down_revision")
    return found


def newest() -> str:
    """The revision that is below no other."""
    found = revisions()
    (head,) = set(found) - set(found.values())
    return head
