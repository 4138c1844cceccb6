"""Notes of users."""

from uuid import UUID

import sqlalchemy as sa

from repositories.permissions import RoleName
from repositories.sql.policy import owner, policy, role
from repositories.sql.table import Column, SoftDeleted, Table, Versioned, column


class Note(Versioned, SoftDeleted, Table, schema="notebook", name="notes"):
    """A note of a user."""

    __slots__ = ()
    user_id: Column[UUID] = column(references="identity.users.id")
    text: Column[str] = column(length=(1, 10_000))

    __table_args__ = (sa.Index("ix_notes_user_id_updated_at", "user_id", "updated_at"),)


policy(Note, read=owner(Note.user_id) | role(RoleName.ADMIN), write=owner(Note.user_id))
