"""What clients see of events."""

import datetime as dt
from uuid import UUID

from strawberry.scalars import JSON

from repositories.tables import events as rows
from schema.kit.fields import column, view


@view(rows.DomainEvent)
class DomainEvent:
    """Something that happened, as it was recorded."""

    id: UUID = column("The event's id.")
    aggregate_id: UUID = column("The `databaseId` of what it happened to.")
    aggregate_type: str = column("What it happened to, such as task.")
    event_type: str = column("What happened, such as TaskCompleted.")
    event_data: JSON = column("The particulars, by type of event.")
    user_id: UUID | None = column("The `databaseId` of the user who did it.")
    timestamp: dt.datetime = column("When it happened.")
    version: int = column("The version of the format of `eventData`.")
