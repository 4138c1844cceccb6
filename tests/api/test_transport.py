"""GraphQL over HTTP, status by status: what is asked for how, by whom, and how the answer looks."""

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
async def only(sqlite_only: DatabaseOptions) -> Any:
    """A database for what has nothing to do with the engine."""
    async with connect_database(sqlite_only) as database:
        yield database


@pytest_asyncio.fixture
async def http(only: Database) -> httpx.AsyncClient:
    """Requests to the gateway with its default settings."""
    return Gateway(only).http


def set_to(only: Database, **changes: Any) -> httpx.AsyncClient:
    """Requests to a gateway with other settings."""
    return Gateway(only, settings=Settings(**changes)).http


async def post(http: httpx.AsyncClient, content: str | bytes = OPERATION, **headers: str) -> httpx.Response:
    named = {"Content-Type": JSON} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.post("/graphql", content=content, headers=named)


def told(response: httpx.Response) -> tuple[int, str]:
    """The status and the code of a refusal, after its shape was checked."""
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
async def test_the_answer_has_the_type_that_is_preferred(
    http: httpx.AsyncClient, accept: str | None, media_type: str | None
) -> None:
    """Or the request is refused, with the types that there are."""
    http.headers.pop("accept")
    response = await post(http, **({"Accept": accept} if accept else {}))
    if media_type is None:
        assert told(response) == (406, "NOT_ACCEPTABLE")
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
async def test_the_status_tells_a_request_error_from_a_partial_answer(
    http: httpx.AsyncClient, document: str, variables: Any, status: int, *, has_data: bool
) -> None:
    """In the type that clients can rely on; in plain JSON it is 200, because anybody could have sent another."""
    content = json.dumps({"query": document, "variables": variables})
    for accept, expected in ((JSON, 200), (GRAPHQL, status)):
        response = await post(http, content, Accept=accept)
        assert (response.status_code, "data" in response.json()) == (expected, has_data), response.text


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY"])
async def test_other_methods_are_not_allowed(http: httpx.AsyncClient, method: str) -> None:
    response = await http.request(method, "/graphql", json={"query": QUERY})
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")
    assert method == "HEAD" or told(response) == (405, "METHOD_NOT_ALLOWED")


async def test_get_is_for_queries(only: Database) -> None:
    """By any name or header; nothing is changed."""
    gateway = Gateway(only)
    ada = await make_user(only)
    client, http = gateway.client(ada), gateway.http
    query = "query Q($type: String!) { __type(name: $type) { name } }"
    query += " mutation M { signOut(input: {}) { userErrors { code } } }"
    given = {"query": query, "operationName": "Q", "variables": '{"type": "Task"}', "extensions": ""}
    assert (await http.get("/graphql", params=given)).json() == {"data": {"__type": {"name": "Task"}}}
    for params in ({"query": CREATE}, given | {"operationName": "M"}):
        for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            response = await http.get("/graphql", params=params, headers=client.headers | {header: "POST"})
            assert told(response) == (405, "METHOD_NOT_ALLOWED")
            assert response.headers["allow"] == "POST"
    assert await life_lock_rows(only) == [[], [], [], []]


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
async def test_a_query_string_that_is_none(http: httpx.AsyncClient, query_string: str) -> None:
    assert told(await http.get(f"/graphql?{query_string}")) == (400, "BAD_REQUEST")


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
async def test_other_bodies_are_not_taken(http: httpx.AsyncClient, content_type: str) -> None:
    """Among them all that a page of another site can send without asking."""
    response = await post(http, Content_Type=content_type)
    assert told(response) == (415, "UNSUPPORTED_MEDIA_TYPE")
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
async def test_a_get_that_another_site_made_is_refused(
    only: Database, headers: dict[str, str], *, is_taken: bool
) -> None:
    """Unless it was preflighted, or its origin is one of ours."""
    http = set_to(only, cors_origins="https://app.example")
    response = await http.get("/graphql", params={"query": QUERY}, headers=headers)
    if is_taken:
        assert response.json() == {"data": {"__typename": "Query"}}
    else:
        assert told(response) == (403, "FORBIDDEN")


async def test_other_origins_may_only_what_is_set(only: Database) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization, content-type"
    closed = await set_to(only).options("/graphql", headers=asked)
    assert closed.status_code == 405
    assert not [name for name in closed.headers if name.startswith("access-control")]
    http = set_to(only, cors_origins="https://app.example, https://other.example")
    preflight = await http.options("/graphql", headers=asked)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, asked["Origin"])
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    response = await post(http, Origin="https://app.example")
    assert response.headers["access-control-allow-origin"] == "https://app.example"
    assert "X-Request-ID" in response.headers["access-control-expose-headers"]
    assert (await http.options("/graphql", headers=asked | {"Origin": "https://evil.example"})).status_code == 400
    assert "access-control-allow-origin" not in (await post(http, Origin="https://evil.example")).headers


async def test_a_request_has_an_id(http: httpx.AsyncClient) -> None:
    """The client's, if it can stand in a log, else one of ours; refusals have one too."""
    assert (await post(http, X_Request_ID="web-1/2:3")).headers["x-request-id"] == "web-1/2:3"
    made = {(await post(http, X_Request_ID=given)).headers["x-request-id"] for given in ("", "a b", "x" * 129, "a\tb")}
    assert len(made) == 4
    assert {len(one) for one in made} == {16}
    assert (await http.put("/graphql", headers={"X-Request-ID": "seen"})).headers["x-request-id"] == "seen"


async def test_the_times_are_told_when_asked_for(only: Database) -> None:
    def steps(response: httpx.Response) -> list[str]:
        return [step.partition(";dur=")[0] for step in response.headers["server-timing"].split(", ")]

    http = set_to(only)
    assert "server-timing" not in (await post(http)).headers
    known = ["receive", "plan", "run", "encode"]
    assert steps(await post(http, X_Server_Timing="1")) == known
    fresh = json.dumps({"query": "{ a: __typename }"})
    assert steps(await post(http, fresh, X_Server_Timing="1")) == ["receive", "parse", "validate", *known[1:]]
    assert steps(await post(set_to(only, server_timing="always"))) == ["receive", "parse", "validate", *known[1:]]


async def test_batches_are_off_and_bounded(only: Database) -> None:
    two = json.dumps([{"query": QUERY}, {"query": "{ nonsense }"}])
    assert told(await post(set_to(only), two)) == (400, "BAD_REQUEST")
    http = set_to(only, max_batch=2)
    response = await post(http, two)
    assert response.status_code == 200
    first, second = response.json()
    assert first == {"data": {"__typename": "Query"}}
    assert second["errors"][0]["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED"}
    for number in (0, 3):
        assert told(await post(http, json.dumps([{"query": QUERY}] * number))) == (400, "BAD_REQUEST")
    assert told(await post(http, json.dumps([[{"query": QUERY}]]))) == (400, "BAD_REQUEST")


async def test_a_body_has_a_size(only: Database) -> None:
    """Also one whose length is not told, which is refused while it is read."""
    http = set_to(only, max_request_size=1000)
    assert (await post(http, OPERATION + " " * (1000 - len(OPERATION)))).status_code == 200
    for length in ("1001", "99999999999999999999"):
        refused = await post(http, b"", Content_Length=length)
        assert told(refused) == (413, "PAYLOAD_TOO_LARGE")
    read = 0

    async def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield b" " * 100

    refused = await http.post("/graphql", content=endless(), headers={"Content-Type": JSON})
    assert told(refused) == (413, "PAYLOAD_TOO_LARGE")
    assert (refused.headers["connection"], read) == ("close", 11)
    assert told(await http.get("/graphql", params={"query": QUERY + " " * 1000})) == (414, "URI_TOO_LONG")


async def test_whatever_else_is_asked_for_is_refused_in_json(http: httpx.AsyncClient) -> None:
    assert told(await http.get("/nowhere")) == (404, "NOT_FOUND")
    refused = await http.post("/health")
    assert told(refused) == (405, "METHOD_NOT_ALLOWED")
    assert sorted(refused.headers["allow"].split(", ")) == ["GET", "HEAD"]


async def test_a_token_that_is_not_valid_is_refused_before_the_body_is_read(
    http: httpx.AsyncClient,
) -> None:
    async def unread() -> Any:
        pytest.fail("nobody may read this")
        yield b""

    headers = {"Content-Type": JSON, "Authorization": "Bearer nonsense", "Accept": GRAPHQL}
    refused = await http.post("/graphql", content=unread(), headers=headers)
    assert told(refused) == (401, "UNAUTHENTICATED")
    assert (refused.headers["www-authenticate"], refused.headers["content-type"]) == ("Bearer", GRAPHQL + UTF8)
