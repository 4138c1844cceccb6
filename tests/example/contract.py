"""What clients see of notes."""

import strawberry

from repositories.permissions import Permission
from schema.identity import User
from schema.operations.mutation import mutation
from schema.types.connections import ConnectionView, connection
from schema.types.view import Node, column, edge, view
from tests.example import commands, queries, tables


@view(tables.Note, node=queries.note)
class Note(Node):
    """Something written down."""

    text: str = column("What it says.")
    author: User | None = edge(queries.author_of_note, "Who wrote it.")
    version: int = column("Grows with every change.")


@strawberry.type
class NotebookQueries:
    """Root fields."""

    notes: ConnectionView[Note] | None = connection(
        queries.notes,
        "The notes the viewer may see, those that were changed last first.",
        requires=Permission.TASK_READ,
    )


@strawberry.type
class NotebookMutations:
    """Root fields."""

    write_note = mutation(commands.write_note, returns=Note, requires=Permission.TASK_WRITE)
