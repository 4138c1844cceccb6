"""The newest revision, read from the migration files alone.

Serving starts with one question: is the database at the newest revision? Loading Alembic to answer it would cost a
quarter of a second at every start; the files say it themselves in ``revision`` and ``down_revision``.
"""

import re
from pathlib import Path

_NAMED = re.compile(r'^(revision|down_revision) = "(\w+)"$', re.MULTILINE)


def newest() -> str:
    """The revision that no other names as the one below it."""
    revisions: set[str] = set()
    below: set[str] = set()
    for path in (Path(__file__).parent / "versions").glob("*.py"):
        named = dict(_NAMED.findall(path.read_text(encoding="utf-8")))
        revisions.add(named["revision"])
        below.add(named.get("down_revision", ""))
    (head,) = revisions - below
    return head
