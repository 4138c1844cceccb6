"""The repository of notes, and their events."""

from dataclasses import dataclass

from repositories.aggregates.repository import Repository
from repositories.core.event import Event
from repositories.sql.filters import Direction, Order
from tests.example.tables import Note


@dataclass(frozen=True, slots=True)
class NoteWritten(Event, aggregate="note"):
    """A user wrote a note."""


class Notes(Repository[Note], table=Note):
    default_order = (Order("updated_at", Direction.DESC),)
