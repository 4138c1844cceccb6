"""Hostile and malformed requests one by one: the right 4xx in JSON, after work that does not grow with them.

How far each may come is told by which steps are taken away while it is answered: what is refused by its bytes is never
parsed, what is refused by its text is never validated, and nothing of this ever runs.
"""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.execution import documents
from gateway.execution.processor import OperationProcessor
from repositories.engines.database import DatabaseOptions
from repositories.tables.identity import User
from tests.api.client import Gateway, connect_database
from tests.api.stored_rows import life_lock_rows
from tests.factories import make_user

GRAPHQL = "application/graphql-response+json"
BAD, PARSE, INVALID = "BAD_REQUEST", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"
COMPLEX = "QUERY_TOO_COMPLEX"
MEDIA, LARGE = "UNSUPPORTED_MEDIA_TYPE", "PAYLOAD_TOO_LARGE"


def doubled(count: int, fragment: str, last: str) -> str:
    """Fragments that each spread the next one twice."""
    made = [fragment.replace("#", str(number)).replace("+", str(number + 1)) for number in range(count)]
    return f"{' '.join(made)} {last.replace('#', str(count))}"


BYTES: dict[str, tuple[bytes, int, str]] = {
    "nested 100,000 deep": (b'{"query": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, BAD),
    "nested 100 deep": (b'{"query": "{a}", "variables": {"a": ' + b"[" * 100 + b"]" * 100 + b"}}", 400, BAD),
    "never closed": (b'{"variables":' * 10_000, 400, BAD),
    "5,000 digits": (b'{"query": "{a}", "variables": {"a": ' + b"9" * 5000 + b"}}", 400, BAD),
    "invalid UTF-8": (b'{"query": "{ a(b: \\"\xff\xfe\\") }"}', 400, BAD),
    "NaN": (b'{"query": "{a}", "variables": {"a": NaN}}', 400, BAD),
    "infinity": (b'{"query": "{a}", "variables": {"a": 1e999}}', 400, BAD),
    "a string": (b'"{ __typename }"', 400, BAD),
    "null": (b"null", 400, BAD),
    "true": (b"true", 400, BAD),
    "a number": (b"1", 400, BAD),
    "a list": (b"[]", 400, BAD),
    "nothing": (b"", 400, BAD),
    "a byte order mark": (b'\xef\xbb\xbf{"query": "{a}"}', 400, BAD),
    "a lone surrogate": (b'{"query": "{a}", "variables": {"a": "\\ud800"}}', 400, BAD),
    "12 MB of blanks": (b" " * 12_000_000, 413, LARGE),
    "12 MB of text": (b'{"query": "' + b"a" * 12_000_000 + b'"}', 413, LARGE),
}

TEXTS: dict[str, tuple[str, str]] = {
    "20,000 unknown fields": ("{ " + " ".join(f"unknown{number}" for number in range(20_000)) + " }", COMPLEX),
    "a name of 900,000 letters": ("{ " + "a" * 900_000 + " }", COMPLEX),
    "900,000 blanks": (" " * 900_000 + "{ viewer { id } }", COMPLEX),
    "100,000 escaped quotes": ('{ a(b: """' + '\\"""' * 100_000, COMPLEX),
    "10,000 escaped quotes": ('{ a(b: """' + '\\"""' * 10_000, PARSE),
    "20,000 comments": ("#\n" * 20_000 + "{ viewer { id } }", COMPLEX),
    "1,000 directives": ("{ viewer { id " + "@skip(if: false) " * 1000 + "} }", COMPLEX),
    "1,000 unknown directives": ("{ viewer { id " + " ".join(f"@d{number}" for number in range(1000)) + "} }", COMPLEX),
    "a list 10,000 deep": ("{ tasks(first: " + "[" * 10_000 + "]" * 10_000 + ") { totalCount } }", COMPLEX),
    "a list 1,000 deep": ("{ tasks(first: " + "[" * 1000 + "]" * 1000 + ") { totalCount } }", PARSE),
    "selections 1,000 deep": ("{ viewer " * 1000 + "}" * 1000, PARSE),
    "the same field 400 times": ("{ " + "tasks { totalCount } " * 400 + "}", COMPLEX),
    "1,000 fragments": (" ".join(f"fragment f{number} on Query {{ a }}" for number in range(1000)), COMPLEX),
    "300 fragments in a place": (
        "{ " + " ".join(f"...f{n}" for n in range(300)) + " } fragment f0 on Query { viewer { id } }",
        COMPLEX,
    ),
    "doubled fragments": (
        doubled(30, "fragment f# on Query { ...f+ ...f+ }", "fragment f# on Query { viewer { id } } { ...f0 }"),
        COMPLEX,
    ),
    "a number of 5,000 digits": ("{ tasks(first: " + "9" * 5000 + ") { totalCount } }", INVALID),
    "a fraction of 5,000 digits": ("{ tasks(first: -0." + "9" * 5000 + ") { totalCount } }", INVALID),
    "NUL": ("{ viewer \0 { id } }", PARSE),
    "a lone surrogate": ('{ task(id: "\\ud800") { id } }', PARSE),
    "nothing": ("   ", PARSE),
}

DOCUMENTS: dict[str, tuple[str, str]] = {
    "a list 100 deep": ("{ tasks(first: " + "[" * 100 + "1" + "]" * 100 + ") { totalCount } }", INVALID),
    "a fragment in itself": (
        "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a viewer { id } }",
        INVALID,
    ),
    "300 unknown fields": ("{ " + " ".join(f"unknown{number}" for number in range(300)) + " }", INVALID),
    "a name of 10,000 letters": ("{ " + "a" * 10_000 + " }", INVALID),
    "an unknown argument of 10,000 letters": ("{ viewer(" + "a" * 10_000 + ": 1) { id } }", INVALID),
    "a definition of types": ("type Query { a: Int }", INVALID),
    "several operations": ("query A { viewer { id } } query B { viewer { id } }", "OPERATION_RESOLUTION_FAILURE"),
}


@pytest_asyncio.fixture
async def attacked(sqlite_only: DatabaseOptions) -> AsyncIterator[tuple[Gateway, User]]:
    """The gateway and somebody who is signed in; afterwards nothing has changed."""
    async with connect_database(sqlite_only) as database:
        yield Gateway(database), await make_user(database)
        assert await life_lock_rows(database) == [[], [], [], []]


def _taken_away(monkeypatch: pytest.MonkeyPatch, *steps: tuple[object, str]) -> None:
    for owner, name in steps:

        def unreachable(*_: Any, **__: Any) -> Any:
            pytest.fail("this is refused before")

        monkeypatch.setattr(owner, name, unreachable)


async def _refused(gateway: Gateway, user: User, content: bytes, **headers: str) -> tuple[int, str]:
    sent = {"Content-Type": "application/json", "Accept": GRAPHQL, **gateway.client(user).headers}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await gateway.http.post("/graphql", content=content, headers=sent | named)
    body = response.json()
    assert list(body) == ["errors"]
    assert 1 <= len(body["errors"]) <= 6
    assert len(response.content) < 4000
    assert response.headers["content-type"] == f"{GRAPHQL}; charset=utf-8"
    (code,) = {error["extensions"]["code"] for error in body["errors"]}
    return response.status_code, code


@pytest.mark.parametrize("name", BYTES)
async def test_bytes_that_are_no_request(
    attacked: tuple[Gateway, User], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, status, code = BYTES[name]
    _taken_away(monkeypatch, (OperationProcessor, "prepare"))
    assert await _refused(*attacked, content) == (status, code)


@pytest.mark.parametrize("name", TEXTS)
async def test_texts_that_are_not_worth_validating(
    attacked: tuple[Gateway, User], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, code = TEXTS[name]
    _taken_away(monkeypatch, (documents, "validate"), (OperationProcessor, "run"))
    assert await _refused(*attacked, json.dumps({"query": text}).encode()) == (400, code)


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_documents_that_are_not_run(
    attacked: tuple[Gateway, User], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, code = DOCUMENTS[name]
    _taken_away(monkeypatch, (OperationProcessor, "run"))
    assert await _refused(*attacked, json.dumps({"query": text}).encode()) == (400, code)


async def test_bodies_that_are_not_read(attacked: tuple[Gateway, User], monkeypatch: pytest.MonkeyPatch) -> None:
    """By their headers alone: bombs, forms, and the other encodings of text."""
    _taken_away(monkeypatch, (OperationProcessor, "prepare"))
    operation = b'{"query": "{ viewer { id } }"}'
    bomb = gzip.compress(b" " * 10_000_000)
    for encoding in ("gzip", "GZIP", "br", "deflate", "zstd", "identity, gzip"):
        assert await _refused(*attacked, bomb, Content_Encoding=encoding) == (415, MEDIA)
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json;charset=x",
    ):
        assert await _refused(*attacked, operation, Content_Type=kind) == (415, MEDIA)
    assert await _refused(*attacked, operation.decode().encode("utf-16")) == (400, BAD)


async def test_values_that_nothing_can_hold(attacked: tuple[Gateway, User]) -> None:
    """Request errors where GraphQL coerces them, errors of their field where only the field knows."""
    gateway, user = attacked
    cases: dict[str, Any] = {
        "query($v: Int!) { tasks(first: $v) { totalCount } }": 10**18,
        "query($v: [ID!]!) { nodes(ids: $v) { id } }": [[["x"]]],
        "query($v: TaskFilter!) { tasks(filter: $v) { totalCount } }": {"title": "x" * 100_000},
    }
    for query, value in cases.items():
        content = json.dumps({"query": query, "variables": {"v": value}}).encode()
        assert await _refused(gateway, user, content) == (400, INVALID)
    client = gateway.client(user)
    for field in ("tasks(first: 99999999) { totalCount }", 'tasks(filter: {title: {eq: "\\u0000"}}) { totalCount }'):
        assert {error["extensions"]["code"] for error in (await client.ask(f"{{ {field} }}")).errors} <= {
            "VALIDATION_ERROR",
            "QUERY_TOO_COMPLEX",
        }


async def test_what_is_wrong_is_not_echoed_at_length(attacked: tuple[Gateway, User]) -> None:
    gateway, user = attacked
    secret = "s" * 5000
    query = "query($v: Int!) { tasks(first: $v) { totalCount } }"
    for content in ({"query": f"{{ {secret} }}"}, {"query": query, "variables": {"v": secret}}):
        answer = await gateway.client(user).http.post("/graphql", json=content)
        assert len(answer.content) < 700


async def test_the_same_refusal_is_made_once(attacked: tuple[Gateway, User], monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends the same nonsense again and again costs a look into the memory."""
    gateway, user = attacked
    content = json.dumps({"query": "{ " + " ".join(f"unknown{number}" for number in range(300)) + " }"}).encode()
    assert await _refused(gateway, user, content) == (400, INVALID)
    _taken_away(monkeypatch, (documents, "parse"), (documents, "validate"))
    assert await _refused(gateway, user, content) == (400, INVALID)
