"""Reads the newest revision from the text of the migration files.

`siso serve` compares the database's revision with it at every start. Importing Alembic for this would take a quarter of
a second.
"""

import re
from pathlib import Path

_ASSIGNMENT = re.compile(r'^(revision|down_revision) = "(\w+)"$', re.MULTILINE)


def revisions() -> dict[str, str | None]:
    """Returns each revision with its predecessor."""
    predecessors = {}
    for path in (Path(__file__).parent / "versions").glob("*.py"):
        assignments = dict(_ASSIGNMENT.findall(path.read_text(encoding="utf-8")))
        predecessors[assignments["revision"]] = assignments.get("down_revision")
    return predecessors


def newest_revision() -> str:
    """Returns the only revision that is no other revision's predecessor."""
    predecessors = revisions()
    (head,) = set(predecessors) - set(predecessors.values())
    return head
