"""The GraphQL types and fields of notes."""

import strawberry

from repositories.permissions import Permission
from schema.identity import User
from schema.operations.mutation import mutation
from schema.types.connections import ConnectionView, connection
from schema.types.view import Node, column, edge, view
from tests.example import commands, queries, tables


@view(tables.Note, node=queries.note)
class Note(Node):
    """A note of a user."""

    text: str = column("The text of the note, 1 to 10,000 characters.")
    author: User | None = edge(
        queries.author_of_note, "The user who wrote the note. Null if the viewer may not see them."
    )
    version: int = column("Increases by 1 with every change.")


@strawberry.type
class NotebookQueries:
    notes: ConnectionView[Note] | None = connection(
        queries.notes,
        "The notes that the viewer may see, the most recently changed first.",
        requires=Permission.TASK_READ,
    )


@strawberry.type
class NotebookMutations:
    write_note = mutation(commands.write_note, returns=Note, requires=Permission.TASK_WRITE)
