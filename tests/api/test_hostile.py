"""Hostile and malformed requests: each is rejected with the right 4xx status, after a bounded amount of work.

The tests replace the later steps of processing with failures, which shows how early a request is rejected: invalid
bytes are never parsed, invalid texts are never validated, and nothing runs.
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


def doubled_fragments(count: int, fragment: str, last: str) -> str:
    """Fragments that each spread the next one twice."""
    fragments = [fragment.replace("#", str(number)).replace("+", str(number + 1)) for number in range(count)]
    return f"{' '.join(fragments)} {last.replace('#', str(count))}"


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
        doubled_fragments(
            30, "fragment f# on Query { ...f+ ...f+ }", "fragment f# on Query { viewer { id } } { ...f0 }"
        ),
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
async def attacked_gateway(sqlite_only: DatabaseOptions) -> AsyncIterator[tuple[Gateway, User]]:
    """The gateway and a signed-in user. Asserts afterwards that nothing has been written."""
    async with connect_database(sqlite_only) as database:
        yield Gateway(database), await make_user(database)
        assert await life_lock_rows(database) == [[], [], [], []]


def _forbid_steps(monkeypatch: pytest.MonkeyPatch, *steps: tuple[object, str]) -> None:
    for owner, name in steps:

        def unreachable(*_: Any, **__: Any) -> Any:
            pytest.fail("the request must be rejected before this step")

        monkeypatch.setattr(owner, name, unreachable)


async def _post_rejected(gateway: Gateway, user: User, content: bytes, **headers: str) -> tuple[int, str]:
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
async def test_invalid_bytes_are_rejected_before_parsing(
    attacked_gateway: tuple[Gateway, User], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, status, code = BYTES[name]
    _forbid_steps(monkeypatch, (OperationProcessor, "prepare"))
    assert await _post_rejected(*attacked_gateway, content) == (status, code)


@pytest.mark.parametrize("name", TEXTS)
async def test_invalid_texts_are_rejected_before_validation(
    attacked_gateway: tuple[Gateway, User], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, code = TEXTS[name]
    _forbid_steps(monkeypatch, (documents, "validate"), (OperationProcessor, "run"))
    assert await _post_rejected(*attacked_gateway, json.dumps({"query": text}).encode()) == (400, code)


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_invalid_documents_are_rejected_before_execution(
    attacked_gateway: tuple[Gateway, User], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, code = DOCUMENTS[name]
    _forbid_steps(monkeypatch, (OperationProcessor, "run"))
    assert await _post_rejected(*attacked_gateway, json.dumps({"query": text}).encode()) == (400, code)


async def test_bodies_are_rejected_by_their_headers(
    attacked_gateway: tuple[Gateway, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compressed bodies, forms and other charsets."""
    _forbid_steps(monkeypatch, (OperationProcessor, "prepare"))
    operation = b'{"query": "{ viewer { id } }"}'
    bomb = gzip.compress(b" " * 10_000_000)
    for encoding in ("gzip", "GZIP", "br", "deflate", "zstd", "identity, gzip"):
        assert await _post_rejected(*attacked_gateway, bomb, Content_Encoding=encoding) == (415, MEDIA)
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json;charset=x",
    ):
        assert await _post_rejected(*attacked_gateway, operation, Content_Type=kind) == (415, MEDIA)
    assert await _post_rejected(*attacked_gateway, operation.decode().encode("utf-16")) == (400, BAD)


async def test_variables_out_of_range_are_rejected(attacked_gateway: tuple[Gateway, User]) -> None:
    """A request error if GraphQL coerces the value, an error of the field if only the field can check it."""
    gateway, user = attacked_gateway
    cases: dict[str, Any] = {
        "query($v: Int!) { tasks(first: $v) { totalCount } }": 10**18,
        "query($v: [ID!]!) { nodes(ids: $v) { id } }": [[["x"]]],
        "query($v: TaskFilter!) { tasks(filter: $v) { totalCount } }": {"title": "x" * 100_000},
    }
    for query, value in cases.items():
        content = json.dumps({"query": query, "variables": {"v": value}}).encode()
        assert await _post_rejected(gateway, user, content) == (400, INVALID)
    client = gateway.client(user)
    for field in ("tasks(first: 99999999) { totalCount }", 'tasks(filter: {title: {eq: "\\u0000"}}) { totalCount }'):
        assert {error["extensions"]["code"] for error in (await client.ask(f"{{ {field} }}")).errors} <= {
            "VALIDATION_ERROR",
            "QUERY_TOO_COMPLEX",
        }


async def test_long_invalid_values_are_not_echoed(attacked_gateway: tuple[Gateway, User]) -> None:
    gateway, user = attacked_gateway
    secret = "s" * 5000
    query = "query($v: Int!) { tasks(first: $v) { totalCount } }"
    for content in ({"query": f"{{ {secret} }}"}, {"query": query, "variables": {"v": secret}}):
        answer = await gateway.client(user).http.post("/graphql", json=content)
        assert len(answer.content) < 700


async def test_rejected_documents_are_cached(
    attacked_gateway: tuple[Gateway, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeating an invalid document costs one cache lookup."""
    gateway, user = attacked_gateway
    content = json.dumps({"query": "{ " + " ".join(f"unknown{number}" for number in range(300)) + " }"}).encode()
    assert await _post_rejected(gateway, user, content) == (400, INVALID)
    _forbid_steps(monkeypatch, (documents, "parse"), (documents, "validate"))
    assert await _post_rejected(gateway, user, content) == (400, INVALID)
