"""Converts a legacy row to the values of a task, or rejects it with the reasons.

| legacy status                                            | status      |
|----------------------------------------------------------|-------------|
| none, pending, todo, to-do, open, new, backlog           | PENDING     |
| in-progress, in progress, doing, started, active         | IN_PROGRESS |
| completed, complete, done, finished, closed              | COMPLETED   |
| cancelled, canceled, abandoned                           | CANCELLED   |

The status is compared without case, spaces, hyphens and underscores. ``completed_at`` is the time of the last change.
"""

import datetime as dt
import re
from collections.abc import Callable
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from repositories.core.clock import EARLIEST, LATEST
from repositories.core.text import normalize_text
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


_DAY = dt.timedelta(days=1)
_INFINITE = {"infinity", "-infinity"}
"""How PostgreSQL writes infinite times."""


class RejectedRow(NamedTuple):
    """A row that is not imported."""

    id: str
    user_id: str
    reason: str


def _text(value: object) -> str:
    """Returns text that both engines can store."""
    text = "" if value is None else str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not readable text") from None
    if isinstance(value, bytes) or "\0" in text:
        raise ValueError("is not readable text")
    return normalize_text(text).strip()


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
    status = _STATUSES.get(re.sub(r"[\s_-]", "", _text(value)).lower())
    if status is None:
        raise ValueError("is unknown")
    return status


def _moment(value: object) -> dt.datetime:
    """Reads a date in any ISO 8601 format. A date without an offset is UTC.

    The day of the result is in the range of stored dates in every time zone, because days are counted per user.
    """
    text = _text(value)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None and text.lower() not in _INFINITE:
        raise ValueError("is not a readable date")
    if moment is not None and moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    if moment is None or not EARLIEST + _DAY <= moment < LATEST - _DAY:
        raise ValueError(f"is not between the years {EARLIEST.year} and {LATEST.year}")
    return moment.astimezone(dt.UTC)


class Candidate(BaseModel):
    """A valid row, which becomes a task if its user exists. ``category`` is a name or empty."""

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
    def _default_updated_at(cls, values: dict[str, object]) -> dict[str, object]:
        return values | {"updated_at": values["created_at"] if values["updated_at"] is None else values["updated_at"]}

    @property
    def completed_at(self) -> dt.datetime | None:
        """The time of the last change, because the legacy table does not contain the time of completion."""
        return max(self.created_at, self.updated_at) if self.status is TaskStatus.COMPLETED else None

    def reject(self, reason: str) -> RejectedRow:
        return RejectedRow(str(self.id), str(self.user_id), reason)


def parse_row(row: LegacyRow) -> Candidate | RejectedRow:
    """Validates and converts a row. A rejected row has the reasons of all invalid columns."""
    try:
        return Candidate.model_validate(row._asdict())
    except ValidationError as error:
        reasons = (
            f"{detail['loc'][0]} {detail['msg'].removeprefix('Value error, ')}"
            for detail in error.errors(include_url=False, include_input=False, include_context=False)
        )
        return reject_row(row, "; ".join(reasons))


def reject_row(row: LegacyRow, reason: str) -> RejectedRow:
    return RejectedRow(_printable(row.id), _printable(row.user_id), reason)


def _printable(value: object) -> str:
    return "" if value is None else str(value).encode(errors="backslashreplace").decode()
