"""Notes on both engines: what is derived, by one story."""

from typing import Any

from repositories.tables.identity import User
from tests.api.client import Ask

CHANGES = """{ notes { nodes { text color user { firstName } history { nodes { eventType fields changes {
    field before after } } } } totalCount groups(by: COLOR) { key count } } }"""


async def test_the_story_of_a_note(ask: Ask, ada: User, bob: User, admin: User) -> None:
    made = await ask(ada, 'mutation { createNote(input: {text: "Milk"}) { note { id version } } }')
    key = made["createNote"]["note"]["id"]
    change = {"id": key, "version": 1, "text": "Milk and honey", "color": "GREEN"}
    await ask(ada, "mutation($i: UpdateNoteInput!) { updateNote(input: $i) { note { id } } }", i=change)
    changes = [{"field": "color", "before": "YELLOW", "after": "GREEN"}]
    note: Any = {
        "text": "Milk and honey",
        "color": "GREEN",
        "user": {"firstName": "Ada"},
        "history": {
            "nodes": [
                {"eventType": "NoteUpdated", "fields": ["color", "text"], "changes": changes},
                {"eventType": "NoteCreated", "fields": [], "changes": []},
            ]
        },
    }
    expected = {"notes": {"nodes": [note], "totalCount": 1, "groups": [{"key": "GREEN", "count": 1}]}}
    assert await ask(ada, CHANGES) == await ask(admin, CHANGES) == expected
    found = 'query($id: ID!) { notes(filter: {id: {eq: $id}, text: {contains: "HONEY"}}) { totalCount } }'
    assert await ask(ada, found, id=key) == {"notes": {"totalCount": 1}}
    assert await ask(bob, found, id=key) == {"notes": {"totalCount": 0}}
    delete = "mutation($id: ID!) { deleteNote(input: {id: $id}) { note { text } userErrors { code field } } }"
    missing = {"code": "NOT_FOUND", "field": ["id"]}
    assert await ask(bob, delete, id=key) == {"deleteNote": {"note": None, "userErrors": [missing]}}
    assert (await ask(ada, delete, id=key))["deleteNote"]["userErrors"] == []
    trash = "{ notes(deleted: ONLY) { nodes { id text } } }"
    assert await ask(ada, trash) == {"notes": {"nodes": [{"id": key, "text": "Milk and honey"}]}}
    assert await ask(bob, trash) == {"notes": {"nodes": []}}
    await ask(ada, "mutation($id: ID!) { restoreNote(input: {id: $id}) { note { id } } }", id=key)
    node = "query($id: ID!) { node(id: $id) { ... on Note { text } } }"
    assert await ask(ada, node, id=key) == {"node": {"text": "Milk and honey"}}
