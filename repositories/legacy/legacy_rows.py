"""What becomes of a legacy row: the values of a task, or the reasons why it is refused.

| legacy status                                            | status      |
|----------------------------------------------------------|-------------|
| none, pending, todo, to-do, open, new, backlog           | PENDING     |
| in-progress, in progress, doing, started, active         | IN_PROGRESS |
| completed, complete, done, finished, closed              | COMPLETED   |
| cancelled, canceled, abandoned                           | CANCELLED   |

Case does not matter, nor do spaces, hyphens and underscores. A completed task was completed when it was last changed.
"""

import datetime as dt
import re
from collections.abc import Callable
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from repositories.legacy.legacy_source import LegacyRow
from repositories.tables.life_lock import TaskStatus

_STATUSES = {
    spelling: status
    for status, spellings in {
        TaskStatus.PENDING: ("", "pending", "todo", "open", "new", "backlog"),
        TaskStatus.IN_PROGRESS: ("inprogress", "doing", "started", "active"),
        TaskStatus.COMPLETED: ("completed", "complete", "done", "finished", "closed"),
        TaskStatus.CANCELLED: ("cancelled", "canceled", "abandoned"),
    }.items()
    for spelling in spellings
}


class Refused(NamedTuple):
    """A row that is not imported."""

    id: str
    user_id: str
    reason: str


def _text(value: object) -> str:
    """Text as both engines can store it."""
    text = "" if value is None else str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not readable text") from None
    if isinstance(value, bytes) or "\0" in text:
        raise ValueError("is not readable text")
    return text.strip()


def _at_most(length: int) -> Callable[[object], str]:
    def read(value: object) -> str:
        text = _text(value)
        if len(text) > length:
            raise ValueError(f"is longer than {length} characters")
        return text

    return read


def _title(value: object) -> str:
    text = _at_most(255)(value)
    if not text:
        raise ValueError("is empty")
    return text


def _description(value: object) -> str | None:
    return None if value is None else _at_most(10_000)(value)


def _id(value: object) -> UUID:
    try:
        return UUID(str(value))
    except ValueError:
        raise ValueError("is not a UUID") from None


def _status(value: object) -> TaskStatus:
    known = _STATUSES.get(re.sub(r"[\s_-]", "", _text(value)).lower())
    if known is None:
        raise ValueError("is unknown")
    return known


def _moment(value: object) -> dt.datetime:
    """A date in any form of ISO 8601; without an offset it is UTC."""
    try:
        found = dt.datetime.fromisoformat(_text(value))
        return (found if found.tzinfo else found.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a readable date") from None


class Candidate(BaseModel):
    """A row that is fit to become a task, if its user exists; ``category`` is a name or empty."""

    model_config = ConfigDict(frozen=True)

    id: Annotated[UUID, BeforeValidator(_id)]
    user_id: Annotated[UUID, BeforeValidator(_id)]
    title: Annotated[str, BeforeValidator(_title)]
    description: Annotated[str | None, BeforeValidator(_description)]
    status: Annotated[TaskStatus, BeforeValidator(_status)]
    category: Annotated[str, BeforeValidator(_at_most(100))]
    created_at: Annotated[dt.datetime, BeforeValidator(_moment)]
    updated_at: Annotated[dt.datetime, BeforeValidator(_moment)]

    @model_validator(mode="before")
    @classmethod
    def _unchanged_since_created(cls, values: dict[str, object]) -> dict[str, object]:
        return values | {"updated_at": values["created_at"] if values["updated_at"] is None else values["updated_at"]}

    @property
    def completed_at(self) -> dt.datetime | None:
        """When it was completed, as far as the legacy table tells."""
        return max(self.created_at, self.updated_at) if self.status is TaskStatus.COMPLETED else None

    def refused(self, reason: str) -> Refused:
        """The same row with what the database had against it."""
        return Refused(str(self.id), str(self.user_id), reason)


def candidate(row: LegacyRow) -> Candidate | Refused:
    """The row checked and converted, or all that is wrong with it."""
    try:
        return Candidate.model_validate(row._asdict())
    except ValidationError as error:
        reasons = (
            f"{found['loc'][0]} {found['msg'].removeprefix('Value error, ')}"
            for found in error.errors(include_url=False, include_input=False, include_context=False)
        )
        return Refused(_shown(row.id), _shown(row.user_id), "; ".join(reasons))


def _shown(value: object) -> str:
    return "" if value is None else str(value).encode(errors="backslashreplace").decode()
