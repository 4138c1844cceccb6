"""What happened, of all domains: append-only, which the database itself enforces by triggers."""

import datetime as dt
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from repositories.permissions import RoleName
from repositories.sql.policy import one_of, owner, owner_in_json, policy, role
from repositories.sql.table import Column, Table, column
from repositories.sql.types import BigInteger


class DomainEvent(Table, schema="public", name="domain_events", timestamps=False):
    """An event as stored: ``user_id`` is the actor, ``version`` that of the format of ``event_data``.

    ``sequence`` numbers all events in the order in which they were written. On PostgreSQL people may store events of
    their own without the gateway, so it takes only data that every reader of all events can read.
    """

    __slots__ = ()
    aggregate_id: Column[UUID] = column()
    aggregate_type: Column[str] = column(length=(1, 100))
    event_type: Column[str] = column(length=(1, 100))
    event_data: Column[dict[str, Any]] = column()
    user_id: Column[UUID | None] = column()
    timestamp: Column[dt.datetime] = column()
    version: Column[int] = column(default=1)
    sequence: Column[int] = column(sql_type=BigInteger(), identity=True, unique=True)

    __table_args__ = (
        sa.CheckConstraint(
            "jsonb_typeof(event_data) = 'object' AND NOT event_data @? '$.**{32}' "
            """AND NOT event_data @? '$.** ? (@.type() == "number" && (@ > 1e300 || @ < -1e300))'""",
            name="event_data_shape",
        ).ddl_if(dialect="postgresql"),
        sa.Index("ix_domain_events_timestamp", "timestamp"),
        sa.Index("ix_domain_events_aggregate_type", "aggregate_type", "timestamp"),
        sa.Index("ix_domain_events_aggregate_id", "aggregate_id", "timestamp"),
        sa.Index("ix_domain_events_event_type", "event_type", "timestamp"),
        sa.Index("ix_domain_events_user_id", "user_id", "timestamp"),
        sa.Index("ix_domain_events_user_id_event_type", "user_id", "event_type", "aggregate_id"),
    )


def is_about_own_row(user: sa.ColumnElement[UUID]) -> sa.ColumnElement[bool]:
    """Whether an event that the user caused is about a row of the user. Other clients may leave the owner out."""
    owner_id = DomainEvent.event_data.op("->>", return_type=sa.Text(), precedence=15)(sa.literal_column("'owner_id'"))
    key = sa.cast(user, sa.Text())
    return sa.func.coalesce(owner_id, key) == key


_OF_PARTNERS = one_of(DomainEvent.aggregate_type, ("partner", "referral"))
"""Every partnership manager may read all partners and referrals, and so their histories."""
_OF_CATALOG = one_of(DomainEvent.aggregate_type, ("product", "product_category", "stock_movement"))
_OF_ORDERS = one_of(DomainEvent.aggregate_type, ("order", "order_item", "stock_movement"))

policy(
    DomainEvent,
    read=owner(DomainEvent.user_id)
    | owner_in_json(DomainEvent.event_data, "owner_id")
    | role(RoleName.ADMIN)
    | (role(RoleName.PARTNERSHIP_MANAGER) & _OF_PARTNERS)
    | (role(RoleName.CATALOG_MANAGER) & _OF_CATALOG)
    | (role(RoleName.ORDER_MANAGER) & _OF_ORDERS),
    write=owner(DomainEvent.user_id),
)
