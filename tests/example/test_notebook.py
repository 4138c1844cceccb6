"""Notes on both engines: which viewers see them, the number of statements, rejected commands, and events."""

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


async def test_users_see_their_own_notes_and_admins_all(
    ask: Ask, statements: list[str], ada: User, bob: User, admin: User
) -> None:
    for author in (ada, ada, bob):
        await ask(author, WRITE, input={"text": f"I am {author.first_name}."})
    document = "{ notes { nodes { text author { firstName } } totalCount } }"
    statements.clear()
    own_note: Any = {"text": "I am Ada.", "author": {"firstName": "Ada"}}
    assert await ask(ada, document) == {"notes": {"nodes": [own_note, own_note], "totalCount": 2}}
    assert len([text for text in statements if text.startswith("SELECT")]) == 3
    assert (await ask(admin, "{ notes { totalCount } }")) == {"notes": {"totalCount": 3}}


async def test_a_rejected_command_changes_nothing(ask: Ask, database: Database, ada: User, bob: User) -> None:
    key = new_id()
    written = (await ask(ada, WRITE, input={"text": "First", "databaseId": str(key)}))["writeNote"]
    assert written == {"note": {"id": gid("Note", key), "text": "First"}, "userErrors": []}
    assert await ask(bob, WRITE, input={"text": "Second", "databaseId": str(key)}) == {
        "writeNote": {"note": None, "userErrors": [TAKEN_ID]}
    }
    assert await event_summaries(database) == [("NoteWritten", "note", key, ada.id, {"owner_id": str(ada.id)})]
