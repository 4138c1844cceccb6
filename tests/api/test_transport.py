"""GraphQL over HTTP: media types, status codes, methods, headers, origins and limits."""

import json
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway.settings import Settings
from repositories.engines.database import Database, DatabaseOptions
from tests.api.client import Gateway, connect_database
from tests.api.stored_rows import life_lock_rows
from tests.factories import make_user

GRAPHQL = "application/graphql-response+json"
JSON = "application/json"
UTF8 = "; charset=utf-8"
QUERY = "{ __typename }"
CREATE = 'mutation { createTask(input: {title: "x"}) { task { id } } }'
OPERATION = json.dumps({"query": QUERY})


@pytest_asyncio.fixture
async def sqlite_database(sqlite_only: DatabaseOptions) -> Any:
    """One engine is enough for tests that do not depend on it."""
    async with connect_database(sqlite_only) as database:
        yield database


@pytest_asyncio.fixture
async def http(sqlite_database: Database) -> httpx.AsyncClient:
    """An HTTP client of the gateway with default settings."""
    return Gateway(sqlite_database).http


def client_with_settings(sqlite_database: Database, **changes: Any) -> httpx.AsyncClient:
    """Requests to a gateway with other settings."""
    return Gateway(sqlite_database, settings=Settings(**changes)).http


async def post(http: httpx.AsyncClient, content: str | bytes = OPERATION, **headers: str) -> httpx.Response:
    named = {"Content-Type": JSON} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.post("/graphql", content=content, headers=named)


def status_and_code(response: httpx.Response) -> tuple[int, str]:
    """The status and the code of an error response, whose shape is checked."""
    body = response.json()
    (error,) = body["errors"]
    assert list(body) == ["errors"]
    assert isinstance(error["message"], str)
    return response.status_code, error["extensions"]["code"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (GRAPHQL, GRAPHQL),
        (f"{GRAPHQL}, {JSON}", GRAPHQL),
        (f"{JSON}, {GRAPHQL}", GRAPHQL),
        (f"{GRAPHQL}, {JSON};q=0.9", GRAPHQL),
        (f"{GRAPHQL};q=0.5, {JSON};q=0.9", JSON),
        (f"{GRAPHQL};q=0.5, */*;q=0.9", JSON),
        (f"{GRAPHQL}, */*", GRAPHQL),
        (f"{JSON}, */*", JSON),
        (f"{JSON};q=0, */*", GRAPHQL),
        ("Application/GraphQL-Response+JSON; charset=UTF-8; q=1.0", GRAPHQL),
        (f"text/plain, {JSON};q=0.1", JSON),
        (f"{GRAPHQL};charset=latin-1, {JSON};q=0.1", JSON),
        (f"{GRAPHQL};q=much, {JSON}", JSON),
        ("text/plain", None),
        ("multipart/mixed, text/*", None),
        (f"{JSON};q=0", None),
        (f"{JSON};charset=utf-16", None),
        ("nonsense;;;===", None),
    ],
)
async def test_response_has_the_preferred_media_type(
    http: httpx.AsyncClient, accept: str | None, media_type: str | None
) -> None:
    """A request that accepts none of the types is rejected."""
    http.headers.pop("accept")
    response = await post(http, **({"Accept": accept} if accept else {}))
    if media_type is None:
        assert status_and_code(response) == (406, "NOT_ACCEPTABLE")
    else:
        assert (response.status_code, response.json()) == (200, {"data": {"__typename": "Query"}})
        assert response.headers["content-type"] == media_type + UTF8


@pytest.mark.parametrize(
    ("document", "variables", "status", "has_data"),
    [
        ("{", {}, 400, False),
        ("{ nonsense }", {}, 400, False),
        ("query A { __typename } query B { __typename }", {}, 400, False),
        ("query($type: String!) { __type(name: $type) { name } }", {}, 400, False),
        ('{ task(id: "nonsense") { id } }', {}, 294, True),
        (CREATE, {}, 294, True),
        (QUERY, {"unknown": 1}, 200, True),
    ],
)
async def test_status_distinguishes_request_errors_from_partial_success(
    http: httpx.AsyncClient, document: str, variables: Any, status: int, *, has_data: bool
) -> None:
    """This applies to the media type application/graphql-response+json. With application/json, the status is 200."""
    content = json.dumps({"query": document, "variables": variables})
    for accept, expected in ((JSON, 200), (GRAPHQL, status)):
        response = await post(http, content, Accept=accept)
        assert (response.status_code, "data" in response.json()) == (expected, has_data), response.text


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY"])
async def test_other_methods_are_not_allowed(http: httpx.AsyncClient, method: str) -> None:
    response = await http.request(method, "/graphql", json={"query": QUERY})
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")
    assert method == "HEAD" or status_and_code(response) == (405, "METHOD_NOT_ALLOWED")


async def test_get_runs_queries_only(sqlite_database: Database) -> None:
    """No operation name and no header turns a GET into a mutation."""
    gateway = Gateway(sqlite_database)
    ada = await make_user(sqlite_database)
    client, http = gateway.client(ada), gateway.http
    query = "query Q($type: String!) { __type(name: $type) { name } }"
    query += " mutation M { signOut(input: {}) { userErrors { code } } }"
    given = {"query": query, "operationName": "Q", "variables": '{"type": "Task"}', "extensions": ""}
    assert (await http.get("/graphql", params=given)).json() == {"data": {"__type": {"name": "Task"}}}
    for params in ({"query": CREATE}, given | {"operationName": "M"}):
        for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            response = await http.get("/graphql", params=params, headers=client.headers | {header: "POST"})
            assert status_and_code(response) == (405, "METHOD_NOT_ALLOWED")
            assert response.headers["allow"] == "POST"
    assert await life_lock_rows(sqlite_database) == [[], [], [], []]


@pytest.mark.parametrize(
    "query_string",
    [
        "",
        "query=",
        "query=%ff",
        "query=%7B__typename%7D&query=%7B__typename%7D",
        "query=%7B__typename%7D&variables=%5B1%5D",
        "query=%7B__typename%7D&variables=nonsense",
        "query=%7B__typename%7D&extensions=1",
        "&".join(f"p{number}=1" for number in range(20)),
        "variables=" + "%5B" * 200 + "%5D" * 200,
    ],
)
async def test_invalid_query_strings_are_rejected(http: httpx.AsyncClient, query_string: str) -> None:
    assert status_and_code(await http.get(f"/graphql?{query_string}")) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json; charset=utf-16",
        "application/jsonp",
        "",
    ],
)
async def test_other_content_types_are_rejected(http: httpx.AsyncClient, content_type: str) -> None:
    """Among them are all types that a page of another site can send without a preflight."""
    response = await post(http, Content_Type=content_type)
    assert status_and_code(response) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert response.headers["accept-post"] == JSON


@pytest.mark.parametrize(
    ("headers", "is_taken"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://app.example"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Apollo-Require-Preflight": "1"}, True),
        ({"Sec-Fetch-Site": "cross-site", "GraphQL-Require-Preflight": "1"}, True),
        ({"Origin": "https://evil.example", "X-Apollo-Operation-Name": "Q"}, True),
    ],
)
async def test_cross_site_get_is_rejected(
    sqlite_database: Database, headers: dict[str, str], *, is_taken: bool
) -> None:
    """It is accepted if the request needed a preflight, or its origin is allowed."""
    http = client_with_settings(sqlite_database, cors_origins="https://app.example")
    response = await http.get("/graphql", params={"query": QUERY}, headers=headers)
    if is_taken:
        assert response.json() == {"data": {"__typename": "Query"}}
    else:
        assert status_and_code(response) == (403, "FORBIDDEN")


async def test_cors_allows_only_the_configured_origins(sqlite_database: Database) -> None:
    preflight_headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    preflight_headers["Access-Control-Request-Headers"] = "authorization, content-type"
    closed = await client_with_settings(sqlite_database).options("/graphql", headers=preflight_headers)
    assert closed.status_code == 405
    assert not [name for name in closed.headers if name.startswith("access-control")]
    http = client_with_settings(sqlite_database, cors_origins="https://app.example, https://other.example")
    preflight = await http.options("/graphql", headers=preflight_headers)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (
        200,
        preflight_headers["Origin"],
    )
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    response = await post(http, Origin="https://app.example")
    assert response.headers["access-control-allow-origin"] == "https://app.example"
    assert "X-Request-ID" in response.headers["access-control-expose-headers"]
    assert (
        await http.options("/graphql", headers=preflight_headers | {"Origin": "https://evil.example"})
    ).status_code == 400
    assert "access-control-allow-origin" not in (await post(http, Origin="https://evil.example")).headers


async def test_every_response_has_a_request_id(http: httpx.AsyncClient) -> None:
    """It is the client's id if that is safe to log, else a new one."""
    assert (await post(http, X_Request_ID="web-1/2:3")).headers["x-request-id"] == "web-1/2:3"
    new_ids = {
        (await post(http, X_Request_ID=given)).headers["x-request-id"] for given in ("", "a b", "x" * 129, "a\tb")
    }
    assert len(new_ids) == 4
    assert {len(one) for one in new_ids} == {16}
    assert (await http.put("/graphql", headers={"X-Request-ID": "seen"})).headers["x-request-id"] == "seen"


async def test_server_timing_is_sent_on_request(sqlite_database: Database) -> None:
    def steps(response: httpx.Response) -> list[str]:
        return [step.partition(";dur=")[0] for step in response.headers["server-timing"].split(", ")]

    http = client_with_settings(sqlite_database)
    assert "server-timing" not in (await post(http)).headers
    known = ["receive", "plan", "run", "encode"]
    assert steps(await post(http, X_Server_Timing="1")) == known
    fresh = json.dumps({"query": "{ a: __typename }"})
    assert steps(await post(http, fresh, X_Server_Timing="1")) == ["receive", "parse", "validate", *known[1:]]
    assert steps(await post(client_with_settings(sqlite_database, server_timing="always"))) == [
        "receive",
        "parse",
        "validate",
        *known[1:],
    ]


async def test_batches_are_off_by_default_and_limited(sqlite_database: Database) -> None:
    two = json.dumps([{"query": QUERY}, {"query": "{ nonsense }"}])
    assert status_and_code(await post(client_with_settings(sqlite_database), two)) == (400, "BAD_REQUEST")
    http = client_with_settings(sqlite_database, max_batch=2)
    response = await post(http, two)
    assert response.status_code == 200
    first, second = response.json()
    assert first == {"data": {"__typename": "Query"}}
    assert second["errors"][0]["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED"}
    for number in (0, 3):
        assert status_and_code(await post(http, json.dumps([{"query": QUERY}] * number))) == (400, "BAD_REQUEST")
    assert status_and_code(await post(http, json.dumps([[{"query": QUERY}]]))) == (400, "BAD_REQUEST")


async def test_body_size_is_limited(sqlite_database: Database) -> None:
    """A body without Content-Length is rejected while it is read."""
    http = client_with_settings(sqlite_database, max_request_size=1000)
    assert (await post(http, OPERATION + " " * (1000 - len(OPERATION)))).status_code == 200
    for length in ("1001", "99999999999999999999"):
        response = await post(http, b"", Content_Length=length)
        assert status_and_code(response) == (413, "PAYLOAD_TOO_LARGE")
    read = 0

    async def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield b" " * 100

    response = await http.post("/graphql", content=endless(), headers={"Content-Type": JSON})
    assert status_and_code(response) == (413, "PAYLOAD_TOO_LARGE")
    assert (response.headers["connection"], read) == ("close", 11)
    assert status_and_code(await http.get("/graphql", params={"query": QUERY + " " * 17_000})) == (414, "URI_TOO_LONG")


async def test_other_routes_return_errors_in_json(http: httpx.AsyncClient) -> None:
    assert status_and_code(await http.get("/nowhere")) == (404, "NOT_FOUND")
    response = await http.post("/health")
    assert status_and_code(response) == (405, "METHOD_NOT_ALLOWED")
    assert sorted(response.headers["allow"].split(", ")) == ["GET", "HEAD"]


async def test_invalid_token_is_rejected_before_the_body_is_read(
    http: httpx.AsyncClient,
) -> None:
    async def unread() -> Any:
        pytest.fail("the body must not be read")
        yield b""

    headers = {"Content-Type": JSON, "Authorization": "Bearer nonsense", "Accept": GRAPHQL}
    response = await http.post("/graphql", content=unread(), headers=headers)
    assert status_and_code(response) == (401, "UNAUTHENTICATED")
    assert (response.headers["www-authenticate"], response.headers["content-type"]) == ("Bearer", GRAPHQL + UTF8)
