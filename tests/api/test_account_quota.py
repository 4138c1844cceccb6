"""The quota of an account: what counts, what is rejected, and what a rejected mutation leaves."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, DatabaseOptions
from repositories.identity import Usages
from repositories.life_lock.categories import Categories
from repositories.life_lock.tasks import Tasks
from repositories.permissions import RoleName
from repositories.sql.statements import Statement
from repositories.tables.client_management import Client as ClientRow
from repositories.tables.client_management import Contact
from repositories.tables.identity import User
from repositories.tables.life_lock import Category, Task
from tests.api.client import Gateway, user_error
from tests.api.stored_rows import life_lock_rows
from tests.factories import make_tasks, make_user
from tests.repositories.support import SharedDatabase, connect_database, examples, open_snapshot

_TEXTS: Mapping[Any, tuple[str, ...]] = {
    Category: ("name",),
    Task: ("title", "description"),
    ClientRow: ("company_name", "industry", "website"),
    Contact: ("first_name", "last_name", "email", "phone", "position"),
}
_DELETED = "those of deleted objects included. This change would exceed it."


async def _usage(gateway: Gateway, user: User) -> tuple[int, int]:
    usage = (await gateway.client(user).data("{ viewer { usage { rowCount byteCount } } }"))["viewer"]["usage"]
    return usage["rowCount"], usage["byteCount"]


async def _stored(database: Database) -> dict[UUID, tuple[int, int]]:
    """The number of stored rows and the bytes of their texts by owner, counted afresh."""
    usage: dict[UUID, tuple[int, int]] = {}
    async with open_snapshot(database) as snapshot:
        for table, texts in _TEXTS.items():
            for row in await snapshot.rows(Statement(sa.select(table.__table__), table)):
                owner = row.created_by if table is ClientRow else row.user_id
                size = sum(len(value.encode()) for text in texts if (value := getattr(row, text)) is not None)
                rows, total = usage.get(owner, (0, 0))
                usage[owner] = (rows + 1, total + size)
    return usage


async def _counted(database: Database) -> dict[UUID, tuple[int, int]]:
    """What the triggers have counted, by owner."""
    async with open_snapshot(database) as snapshot:
        found = await Usages(snapshot).find(limit=1000)
    return {row.id: (row.row_count, row.byte_count) for row in found if row.row_count}


async def test_the_usage_of_the_account_is_a_field_of_its_user(gateway: Gateway, ada: User, bob: User) -> None:
    """Bytes are those of UTF-8. A deleted task counts, because it can be restored; a deleted category is gone."""
    client = gateway.client(ada)
    assert await _usage(gateway, ada) == (0, 0)
    task = (await client.do("createTask", "task { id version }", title="Tür", description="x" * 100))["task"]
    category = (await client.do("createCategory", "category { id }", name="Home", color="#00FF00"))["category"]
    assert await _usage(gateway, ada) == (2, 4 + 100 + 4)
    values = {"id": task["id"], "version": task["version"]}
    await client.do("updateTask", "task { id }", **values, description="short")
    assert await _usage(gateway, ada) == (2, 4 + 5 + 4)
    await client.do("deleteTask", "task { id }", id=task["id"])
    await client.do("deleteCategory", "category { id }", id=category["id"])
    assert await _usage(gateway, ada) == (1, 4 + 5)
    assert await _usage(gateway, bob) == (0, 0)


async def test_rows_beyond_the_quota_are_rejected(options: DatabaseOptions) -> None:
    """All of a batch or nothing. An object that exists can be changed, and a category makes room when it is deleted."""
    async with connect_database(options, account_rows=5) as database:
        gateway, ada, bob = Gateway(database), await make_user(database), await make_user(database)
        client = gateway.client(ada)
        category = (await client.do("createCategory", "category { id }", name="Home", color="#00FF00"))["category"]
        titles = [{"title": f"Task {index}"} for index in range(5)]
        before = await life_lock_rows(database)
        error = user_error("QUOTA_EXCEEDED", f"An account may store 5 rows, {_DELETED}")
        assert await client.do("createTasks", "tasks { id }", tasks=titles) == {"tasks": None, "userErrors": [error]}
        assert await life_lock_rows(database) == before
        tasks = (await client.do("createTasks", "tasks { id version }", tasks=titles[:4]))["tasks"]
        assert (await client.do("createTask", "task { id }", title="x"))["userErrors"] == [error]
        changed = await client.do("updateTask", "task { title }", **tasks[0], title="A longer title")
        assert changed == {"task": {"title": "A longer title"}, "userErrors": []}
        await client.do("deleteTask", "task { id }", id=tasks[1]["id"])
        assert (await client.do("createTask", "task { id }", title="x"))["userErrors"] == [error]
        await client.do("deleteCategory", "category { id }", id=category["id"])
        assert (await client.do("createTask", "task { id }", title="x"))["userErrors"] == []
        assert (await gateway.client(bob).do("createTask", "task { id }", title="x"))["userErrors"] == []
        assert await _counted(database) == {ada.id: (5, 14 + 3 * 6 + 1), bob.id: (1, 1)}


async def test_bytes_beyond_the_quota_are_rejected(options: DatabaseOptions) -> None:
    """By a new row as by a longer text. Under a quota that is lower than what is stored, texts can become shorter."""
    async with connect_database(options, account_bytes=1000) as database:
        gateway, ada = Gateway(database), await make_user(database)
        client = gateway.client(ada)
        created = await client.do("createTask", "task { id version }", title="a", description="ü" * 400)
        error = user_error("QUOTA_EXCEEDED", f"An account may store 1,000 bytes of texts, {_DELETED}")
        before = await life_lock_rows(database)
        rejected = await client.do("createTask", "task { id }", title="b", description="x" * 199)
        assert rejected == {"task": None, "userErrors": [error]}
        changed = await client.do("updateTask", "task { id }", **created["task"], description="x" * 1000)
        assert changed == {"task": None, "userErrors": [error]}
        assert await life_lock_rows(database) == before
        assert (await client.do("createTask", "task { id }", title="b", description="x" * 198))["userErrors"] == []
        assert await _usage(gateway, ada) == (2, 1000)
    async with connect_database(options, account_bytes=100, account_rows=1) as database:
        client = Gateway(database).client(ada)
        assert (await client.do("updateTask", "task { id }", **created["task"], description="x"))["userErrors"] == []


async def test_clients_and_contacts_count(options: DatabaseOptions) -> None:
    async with connect_database(options, account_rows=3) as database:
        gateway, ada = Gateway(database), await make_user(database)
        client = gateway.client(ada)
        person = {"firstName": "Joan", "lastName": "Clarke"}
        contacts = [person | {"email": f"{index}@example.com"} for index in range(3)]
        given = {"companyName": "Acme", "contacts": contacts}
        error = user_error("QUOTA_EXCEEDED", f"An account may store 3 rows, {_DELETED}")
        assert (await client.do("createClient", "client { id }", **given))["userErrors"] == [error]
        assert await _counted(database) == {}
        given["contacts"] = contacts[:2]
        created = (await client.do("createClient", "client { id }", **given))["client"]
        assert await _counted(database) == await _stored(database)
        contact = person | {"email": "more@example.com", "clientId": created["id"]}
        assert (await client.do("addContact", "contact { id }", **contact))["userErrors"] == [error]


async def test_an_administrator_uses_the_quota_of_the_owner(options: DatabaseOptions) -> None:
    async with connect_database(options, account_bytes=100) as database:
        gateway, ada, admin = Gateway(database), await make_user(database), await make_user(database)
        created = (await gateway.client(ada).do("createClient", "client { id version }", companyName="Acme"))["client"]
        client = gateway.client(admin, RoleName.ADMIN)
        rejected = await client.do("updateClient", "client { id }", **created, companyName="x" * 101)
        assert [error["code"] for error in rejected["userErrors"]] == ["QUOTA_EXCEEDED"]
        await client.do("updateClient", "client { id }", **created, companyName="x" * 100)
        assert await _counted(database) == {ada.id: (1, 100)}


async def test_service_work_has_no_quota(options: DatabaseOptions) -> None:
    """An import may store more. What it stores counts afterwards."""
    async with connect_database(options, account_rows=1, account_bytes=1) as database:
        ada = await make_user(database)
        await make_tasks(database, ada, 3)
        assert await _counted(database) == {ada.id: (3, 18)}
        payload = await Gateway(database).client(ada).do("createTask", "task { id }", title="x")
        assert [error["code"] for error in payload["userErrors"]] == ["QUOTA_EXCEEDED"]


async def test_concurrent_mutations_share_the_quota(options: DatabaseOptions) -> None:
    """Each of them alone would be within it."""
    async with connect_database(options, account_rows=5) as database:
        ada = await make_user(database)
        client = Gateway(database).client(ada)
        tasks = [{"title": "a"}, {"title": "b"}]
        payloads = await asyncio.gather(*(client.do("createTasks", "tasks { id }", tasks=tasks) for _ in range(6)))
        assert sorted(payload["tasks"] is None for payload in payloads) == [False] * 2 + [True] * 4
        assert await _counted(database) == await _stored(database) == {ada.id: (4, 4)}


_TITLES = st.text("aü😀", min_size=1, max_size=3)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(_TITLES, min_size=1, max_size=3)),
        st.tuples(st.just("change"), st.integers(0, 9), _TITLES, st.none() | st.text("ß", max_size=2)),
        st.tuples(st.just("remove"), st.integers(0, 9)),
        st.tuples(st.just("purge"), st.integers(0, 9)),
        st.tuples(st.just("give"), _TITLES),
    ),
    max_size=8,
)


@pytest.fixture
def shared(options: DatabaseOptions) -> Any:
    database = SharedDatabase(options)
    yield database
    database.close()


def test_the_triggers_count_what_is_stored(shared: SharedDatabase) -> None:
    """After any changes of any rows of two accounts, by any number of rows per statement."""

    async def run(steps: list[tuple[Any, ...]]) -> None:
        database = shared.database
        ada, bob = await make_user(database), await make_user(database)
        rows: list[Task] = []
        async with database.transaction(SERVICE) as write:
            tasks = Tasks(write)
            for kind, *values in steps:
                if kind == "add":
                    given = [{"user_id": owner.id, "title": title} for title in values[0] for owner in (ada, bob)]
                    rows += await tasks.add_many(given)
                elif kind == "give":
                    await Categories(write).add(user_id=bob.id, name=values[0], color="#00FF00")
                elif rows:
                    row = rows.pop(values[0] % len(rows))
                    if kind == "purge":
                        await tasks.purge(row.id)
                    elif kind == "remove":
                        await tasks.remove(row)
                    else:
                        changes = {"title": values[1], "description": values[2]}
                        rows += await tasks.change_many([(row, changes)])
        stored, counted = await _stored(database), await _counted(database)
        assert {key: counted.get(key, (0, 0)) for key in (ada.id, bob.id)} == {
            key: stored.get(key, (0, 0)) for key in (ada.id, bob.id)
        }

    @examples(25)
    @given(_STEPS.filter(lambda steps: sum(step[0] == "give" for step in steps) < 2))
    def check(steps: list[tuple[Any, ...]]) -> None:
        shared.run(run(steps))

    check()
