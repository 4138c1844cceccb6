"""Ids of rows: UUIDv7, made by the application."""

from collections.abc import Callable
from uuid import UUID

import uuid_utils
from asyncpg.pgproto import pgproto

as_uuid: Callable[[str | bytes], UUID] = pgproto.UUID
"""A UUID from its text or its 16 bytes. asyncpg's C subclass of UUID is built eight times as fast as the standard one."""


def new_id() -> UUID:
    """A UUIDv7, which sorts by the time it was created, so that indexes stay dense."""
    return as_uuid(uuid_utils.uuid7().bytes)
