"""Notes of users."""

from uuid import UUID

import sqlalchemy as sa

from repositories.described_enum import DescribedEnum
from repositories.permissions import RoleName
from repositories.sql.aggregate import aggregate
from repositories.sql.filters import Direction, SortKey
from repositories.sql.policy import owner, role
from repositories.sql.table import Column, SoftDeleted, Table, Versioned, Writer, column


class NoteColor(DescribedEnum):
    """The colour of a note."""

    YELLOW = "yellow", "Yellow paper."
    GREEN = "green", "Green paper."


class Note(Versioned, SoftDeleted, Table, schema="notebook", name="notes"):
    """A note of a user."""

    __slots__ = ()
    user_id: Column[UUID] = column(
        "The user who wrote the note.", references="identity.users.id", writer=Writer.GATEWAY, filtered=True
    )
    text: Column[str] = column("The text of the note.", length=(1, 10_000), searched=True, filtered=True)
    color: Column[NoteColor] = column(
        "The colour of the paper.", default=NoteColor.YELLOW, filtered=True, sorted=True, history=True
    )

    __table_args__ = (sa.Index("ix_notes_user_id_updated_at", "user_id", "updated_at"),)


aggregate(
    Note,
    read=owner(Note.user_id) | role(RoleName.ADMIN),
    write=owner(Note.user_id),
    order=(SortKey("updated_at", Direction.DESC),),
    order_text="the most recently changed first",
)
