"""Texts are stored, compared and sorted in the same way wherever they come from."""

import asyncio
import unicodedata
from uuid import uuid4

import asyncpg
import pytest

from repositories.engines.database import DatabaseOptions
from repositories.tables.identity import User
from tests.api.client import Gateway, connect_database, user_error
from tests.databases import Server, create_template, database_of, drop, postgres_options
from tests.factories import make_category, make_tasks, make_user

NFC, NFD = "Caf\u00e9", "Cafe\u0301"
NAMES = ["b", "A", "C", "\u00e4", "\u00c4b", "Z", "a b", "\u00e9", "1"]


def test_the_texts_differ() -> None:
    assert (unicodedata.normalize("NFD", NFC), NFC == NFD) == (NFD, False)


@pytest.mark.parametrize("given", [NFC, NFD], ids=["NFC", "NFD"])
async def test_accents_are_equal_however_they_are_written(gateway: Gateway, ada: User, given: str) -> None:
    client = gateway.client(ada)
    payload = await client.do("createTask", "task { title description }", title=given, description=f"{given}\n{given}")
    assert payload["task"] == {"title": NFC, "description": f"{NFC}\n{NFC}"}
    document = "query($filter: TaskFilter) { tasks(filter: $filter) { nodes { title } } }"
    for text in (NFC, NFD):
        for condition in (
            {"title": {"eq": text}},
            {"title": {"in": ["x", text]}},
            {"title": {"contains": text[1:].upper()}},
            {"title": {"startsWith": text.lower()}},
            {"title": {"like": f"%{text}"}},
            {"search": text.upper()},
        ):
            assert await client.data(document, filter=condition) == {"tasks": {"nodes": [{"title": NFC}]}}, condition


async def test_search_does_not_depend_on_the_locale_of_the_database(server: Server) -> None:
    name, locale = f"locale_{uuid4().hex[:8]}", "LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
    await asyncio.to_thread(create_template, server, name, locale=locale)
    try:
        async with connect_database(postgres_options(server, name)) as database:
            user = await make_user(database)
            await make_tasks(database, user, 1, title=NFC)
            document = "query($filter: TaskFilter) { tasks(filter: $filter) { nodes { title } } }"
            for condition in (
                {"search": "CAF\u00c9"},
                {"title": {"contains": "F\u00c9"}},
                {"title": {"like": "%\u00c9"}},
            ):
                data = await Gateway(database).client(user).data(document, filter=condition)
                assert data == {"tasks": {"nodes": [{"title": NFC}]}}, condition
    finally:
        await asyncio.to_thread(drop, server, name)


async def test_fold_is_inlined(postgres_only: DatabaseOptions, server: Server) -> None:
    """PostgreSQL evaluates no function of ours for each row."""
    connection = await asyncpg.connect(server.login("postgres", database_of(postgres_only)))
    plan = await connection.fetch("EXPLAIN VERBOSE SELECT public.fold(title) FROM life_lock.tasks")
    source = await connection.fetchval("SELECT prosrc FROM pg_proc WHERE oid = 'public.fold(text)'::regprocedure")
    await connection.close()
    assert source == "SELECT lower($1 COLLATE pg_catalog.pg_c_utf8)"
    assert plan[1][0].strip() == "Output: lower((title)::text)"  # EXPLAIN does not print the collation


async def test_categories_are_unique_however_accents_are_written(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    assert (await client.do("createCategory", "category { name }", name=NFD))["category"] == {"name": NFC}
    for name in (NFC, NFD):
        payload = await client.do("createCategory", "category { name }", name=name)
        assert (payload["category"], [error["code"] for error in payload["userErrors"]]) == (None, ["CONFLICT"])


async def test_lengths_are_those_of_the_stored_text(gateway: Gateway, ada: User) -> None:
    """A title has at most 255 characters. Each of these has two code points before it is converted."""
    client = gateway.client(ada)
    payload = await client.do("createTask", "task { title }", title="e\u0301" * 255)
    assert payload == {"task": {"title": "\u00e9" * 255}, "userErrors": []}
    payload = await client.do("createTask", "task { title }", title="e\u0301" * 256)
    assert [error["field"] for error in payload["userErrors"]] == [["title"]]


async def test_dashboards_sort_like_lists(gateway: Gateway, ada: User) -> None:
    for name in NAMES:
        await make_category(gateway.database, ada, name=name)
    data = await gateway.client(ada).data("""{
        categories(first: 50, order: [{field: NAME}]) { nodes { name } }
        lifeLockDashboard { categoryBreakdown { category { name } } } }""")
    listed = [node["name"] for node in data["categories"]["nodes"]]
    assert listed == ["1", "A", "a b", "b", "C", "Z", "\u00e4", "\u00c4b", "\u00e9"]
    assert [each["category"]["name"] for each in data["lifeLockDashboard"]["categoryBreakdown"]] == listed


async def test_industries_sort_like_lists(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    for industry in ("b", "A", None, "\u00e4", "Z"):
        await client.do("createClient", "client { id }", companyName=f"{industry}", industry=industry)
    data = await client.data("{ clientDashboard { byIndustry { industry } } }")
    assert [each["industry"] for each in data["clientDashboard"]["byIndustry"]] == ["A", "b", "Z", "\u00e4", None]


@pytest.mark.parametrize(
    "given",
    [
        "+49\u00a030\u00a01234567",
        "+49 30\u20131234567",
        "+49\u202f30\u20101234\u2014567",
        "+49 30 \u2212 1234567",
        "\uff0b\uff14\uff19\u3000\uff13\uff10\u3000\uff11\uff12\uff13\uff14\uff15\uff16\uff17",
        " +49 (30) 123.45/67 ",
    ],
    ids=ascii,
)
async def test_phone_numbers_with_any_spaces_and_dashes(gateway: Gateway, ada: User, given: str) -> None:
    payload = await gateway.client(ada).do("updateProfile", "user { phone }", version=1, phone=given)
    assert payload == {"user": {"phone": "+49301234567"}, "userErrors": []}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("030 1234567", "A phone number starts with + and the code of its country, such as +49 30 1234567."),
        ("+49 30 1234567 x1", "A phone number starts with + and the code of its country, such as +49 30 1234567."),
        (
            "+49 (0)30 1234567",
            "Leave out the (0) of the phone number, because it is not dialled after the code of the country.",
        ),
    ],
)
async def test_invalid_phone_numbers(gateway: Gateway, ada: User, given: str, message: str) -> None:
    payload = await gateway.client(ada).do("updateProfile", "user { phone }", version=1, phone=given)
    assert payload == {"user": None, "userErrors": [user_error("VALIDATION_ERROR", message, "phone")]}
