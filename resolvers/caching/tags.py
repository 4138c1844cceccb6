"""The tags that cache entries depend on and that events invalidate."""

from uuid import UUID

from repositories.aggregates.event_store import owner_id_of
from repositories.core.event import Event
from repositories.tables.events import DomainEvent


def tag(aggregate: str, owner: UUID | None = None) -> str:
    """The tag of the aggregates of a type: all of them, or those of an owner."""
    return aggregate if owner is None else f"{aggregate}:{owner}"


def tags_of_event(event: Event) -> tuple[str, str]:
    return tag(event.aggregate), tag(event.aggregate, event.owner_id)


def tags_of_row(row: DomainEvent) -> tuple[str, str]:
    """The tags that a stored event invalidates."""
    return tag(row.aggregate_type), tag(row.aggregate_type, owner_id_of(row))
