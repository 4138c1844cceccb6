"""The outcomes of mutations that were sent with an idempotency key."""

import datetime as dt
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from repositories.sql.policy import owner, policy
from repositories.sql.table import Column, Table, column

MAX_KEY_LENGTH = 255


class IdempotencyRecord(Table, schema="public", name="idempotency_keys", timestamps=False):
    """The outcome of one mutation field that a viewer sent with a key.

    ``field`` is the response key of the field in its document. ``fingerprint`` identifies the operation and its
    variables. ``outcome`` names the rows that the mutation returned (resolvers/request/key_claims.py). It is null only
    inside the transaction of the mutation.
    """

    __slots__ = ()
    viewer_id: Column[UUID] = column()
    key: Column[str] = column(length=(1, MAX_KEY_LENGTH))
    field: Column[str] = column(length=(1, MAX_KEY_LENGTH))
    fingerprint: Column[str] = column(length=(64, 64), secret=True)
    outcome: Column[dict[str, Any] | None] = column()
    created_at: Column[dt.datetime] = column()
    expires_at: Column[dt.datetime] = column()

    __table_args__ = (
        sa.UniqueConstraint("viewer_id", "key", "field"),
        sa.Index("ix_idempotency_keys_expires_at", "expires_at"),
    )


policy(IdempotencyRecord, read=owner(IdempotencyRecord.viewer_id), write=owner(IdempotencyRecord.viewer_id))
