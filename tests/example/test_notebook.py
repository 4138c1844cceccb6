"""Notes on both engines: who sees them, how many statements that takes, what is refused, and what is told."""

from typing import Any

from repositories.core.ids import new_id
from repositories.engines.database import Database
from repositories.tables.identity import User
from tests.api.client import TAKEN_ID, gid
from tests.api.stored_rows import event_summaries
from tests.example.conftest import Ask

WRITE = """mutation($input: WriteNoteInput!) {
    writeNote(input: $input) { note { id text } userErrors { code message field current { id } } }
}"""


async def test_a_note_is_its_authors(ask: Ask, statements: list[str], ada: User, bob: User, admin: User) -> None:
    for author in (ada, ada, bob):
        await ask(author, WRITE, input={"text": f"I am {author.first_name}."})
    listed = "{ notes { nodes { text author { firstName } } totalCount } }"
    statements.clear()
    mine: Any = {"text": "I am Ada.", "author": {"firstName": "Ada"}}
    assert await ask(ada, listed) == {"notes": {"nodes": [mine, mine], "totalCount": 2}}
    assert len([text for text in statements if text.startswith("SELECT")]) == 3
    assert (await ask(admin, "{ notes { totalCount } }")) == {"notes": {"totalCount": 3}}


async def test_what_is_refused_leaves_nothing(ask: Ask, database: Database, ada: User, bob: User) -> None:
    key = new_id()
    written = (await ask(ada, WRITE, input={"text": "First", "databaseId": str(key)}))["writeNote"]
    assert written == {"note": {"id": gid("Note", key), "text": "First"}, "userErrors": []}
    assert await ask(bob, WRITE, input={"text": "Second", "databaseId": str(key)}) == {
        "writeNote": {"note": None, "userErrors": [TAKEN_ID]}
    }
    assert await event_summaries(database) == [("NoteWritten", "note", key, ada.id, {"owner_id": str(ada.id)})]
