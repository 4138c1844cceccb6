"""Basic behaviour over HTTP: error codes, allowed methods, /health and the redirect to GraphiQL."""

from gateway.server.app import create_app
from gateway.settings import Settings
from repositories.tables.identity import User
from tests.api.client import Gateway
from tests.api.stored_rows import life_lock_rows
from tests.databases import ON_SQLITE


@ON_SQLITE
async def test_invalid_operations_have_specific_codes(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    for document, code in (
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("   ", "GRAPHQL_PARSE_FAILED"),
        ("{ nonsense }", "GRAPHQL_VALIDATION_FAILED"),
        ("query($x: Int!) { tasks(first: $x) { totalCount } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ task { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { tasks }", "GRAPHQL_VALIDATION_FAILED"),
    ):
        answer = await client.ask(document)
        assert answer.data is None
        assert answer.codes == [code], document


@ON_SQLITE
async def test_requests_without_an_operation_are_rejected(gateway: Gateway) -> None:
    for content, kind in (
        ('{"query": ""}', "application/json"),
        ("no json", "application/json"),
        ("[]", "application/json"),
        ("query=x", "text/plain"),
    ):
        response = await gateway.http.post("/graphql", content=content, headers={"Content-Type": kind})
        assert 400 <= response.status_code < 500, content
    assert (await gateway.http.delete("/graphql")).status_code == 405


@ON_SQLITE
async def test_get_does_not_run_mutations(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    document = 'mutation { createTask(input: {title: "x"}) { task { id } } }'
    response = await client.http.get("/graphql", params={"query": document}, headers=client.headers)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert await life_lock_rows(gateway.database) == [[], [], [], []]
    response = await client.http.get("/graphql", params={"query": "{ viewer { email } }"}, headers=client.headers)
    assert response.json() == {"data": {"viewer": {"email": "ada@example.com"}}}


async def test_no_redirect_leads_to_the_host_of_the_request(gateway: Gateway) -> None:
    for path in ("/health/", "/health//", "/explorer/start/", "/graphql/", "/nowhere/"):
        response = await gateway.http.get(path, headers={"Host": "evil.example"})
        assert (response.status_code, "location" in response.headers) == (404, False), path
    home = await gateway.http.get("/", headers={"Host": "evil.example"})
    assert home.headers["location"] == "/graphql"


async def test_unparsable_origins_and_hosts_are_not_trusted(gateway: Gateway) -> None:
    """They are rejected like those of other sites, on every route, with and without CORS."""
    gateway = Gateway(gateway.database, settings=Settings(cors_origins="https://app.example.com"))
    for value in ("http://[x", "[x", "a]:b", "http://\xbd", "a b", ""):
        for path in ("/graphql?query={__typename}", "/health", "/explorer/start", "/nowhere"):
            for headers in ({"Origin": value}, {"Host": value}, {"Origin": value, "Host": value}):
                encoded = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
                response = await gateway.http.get(path, headers=encoded)
                expected = {"/health": 200, "/explorer/start": 200, "/nowhere": 404}
                status = expected.get(path, 403 if "Origin" in headers else 200)
                assert response.status_code == status, (path, headers)
                assert "access-control-allow-origin" not in response.headers
            preflight = [(b"Origin", value.encode("latin-1")), (b"Access-Control-Request-Method", b"POST")]
            assert (await gateway.http.options(path, headers=preflight)).status_code == 400


async def test_health_and_redirect_to_graphiql(gateway: Gateway) -> None:
    """/health reports a fallback to SQLite as degraded."""
    health = await gateway.http.get("/health")
    size = health.json()["database"]["connections"]
    shown = {"engine": gateway.database.engine.value, "fallback": False, "connections": size, "in_use": 0}
    assert (health.status_code, health.json()) == (200, {"status": "ok", "database": shown})
    home = await gateway.http.get("/")
    assert (home.status_code, home.headers["location"]) == (307, "/graphql")
    page = await gateway.http.get("/graphql", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "graphiql" in page.text.lower()
    gateway.app = create_app(Settings(graphiql=False), gateway.database, gateway.tokens, fallback=True)
    gateway.http._transport.app = gateway.app  # type: ignore[attr-defined]
    health = await gateway.http.get("/health")
    assert (health.json()["status"], health.json()["database"]["fallback"]) == ("degraded", True)
    page = await gateway.http.get("/graphql", headers={"Accept": "text/html"})
    assert page.status_code == 406
