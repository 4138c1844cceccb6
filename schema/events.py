"""What clients see of events."""

import datetime as dt
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from repositories.kit.viewer import Permission
from repositories.tables import events as rows
from resolvers.events import subscriptions
from schema.kit.fields import Argument, column, view
from schema.kit.subscriptions import GOES_ON, subscription


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


_TYPES = Argument(list[str] | None, "Only events of these types, such as TaskCompleted.", strawberry.UNSET)


@strawberry.type
class EventSubscriptions:
    """Root fields."""

    my_events: DomainEvent = subscription(
        subscriptions.my_events,
        "What the viewer does, here or on another device, as it happens." + GOES_ON,
        requires=Permission.EVENT_READ,
        types=_TYPES,
    )
    domain_events: DomainEvent = subscription(
        subscriptions.domain_events,
        "What anybody does, as it happens. For admins." + GOES_ON,
        requires=Permission.ADMINISTRATION_READ,
        types=_TYPES,
        aggregate_types=Argument(list[str] | None, "Only what happens to these, such as task.", strawberry.UNSET),
    )
