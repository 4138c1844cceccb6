"""GraphiQL as browsers load it: the page, its files, the examples, and the accounts of a demo."""

import asyncio
import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import OperationDefinitionNode, OperationType, parse, print_ast
from strawberry.utils.str_converters import to_camel_case

from gateway import explorer
from gateway.server.app import create_app
from gateway.settings import Settings
from repositories.core.viewer import SERVICE
from repositories.demo.seed import load_demo
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.sql.aggregate import aggregates
from repositories.tables.identity import User, UserStatus
from schema import schema
from tests.api.client import ROOT, Gateway, serve
from tests.api.event_streams import create, open_event_stream, run_gateway
from tests.api.mailbox import Mailbox, MailGateway
from tests.databases import ON_SQLITE

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; font-src data:; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
NO_DOMAINS = {"__init__", "node"}


@pytest.fixture
def built_explorer() -> Path:
    """The built files. The tests do not build them."""
    if not (explorer.DIST / "index.html").exists():
        pytest.fail("GraphiQL is not built: run `make explorer`.")
    return explorer.DIST


def client_for_settings(gateway: Gateway, settings: Settings, *, demo: bool = False) -> httpx.AsyncClient:
    app = create_app(settings, gateway.database, gateway.tokens, demo=demo)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def has_security_headers(response: httpx.Response) -> bool:
    headers = response.headers
    return (headers["content-security-policy"], headers["x-content-type-options"]) == (POLICY, "nosniff")


@ON_SQLITE
async def test_browser_gets_the_page_and_its_files(gateway: Gateway, built_explorer: Path) -> None:
    """Every file that the page names exists, compressed as the browser accepts it, and may be cached forever."""
    page = await gateway.http.get("/graphql", headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert has_security_headers(page)
    assert "<title>siso-gateway</title>" in page.text
    names = re.findall(r'(?:href|src)="explorer/([^"]+)"', page.text)
    assert [name.rpartition(".")[2] for name in names] == ["css", "js"]
    for name in names:
        plain = await gateway.http.get(f"/explorer/{name}", headers={"Accept-Encoding": "identity"})
        assert plain.content == (built_explorer / name).read_bytes()
        assert "content-encoding" not in plain.headers
        assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert has_security_headers(plain)
        small = await gateway.http.get(f"/explorer/{name}", headers={"Accept-Encoding": "gzip"})
        assert small.content == plain.content
        assert (small.headers["content-encoding"], small.headers["vary"]) == ("gzip", "Accept-Encoding")
        assert small.headers["content-type"] == plain.headers["content-type"]
        assert gzip.decompress((built_explorer / f"{name}.gz").read_bytes()) == plain.content
        smaller = await gateway.http.head(f"/explorer/{name}", headers={"Accept-Encoding": "gzip, deflate, br"})
        assert smaller.headers["content-encoding"] == "br"


@ON_SQLITE
async def test_other_files_are_not_served(gateway: Gateway) -> None:
    for name in ("missing.js", "%2e%2e", "%2e%2e%2f__init__.py", "..%5c__init__.py", ".hidden", "%00", "a/b", ""):
        answer = await gateway.http.get(f"/explorer/{name}")
        assert answer.status_code == 404, name


@ON_SQLITE
async def test_page_without_a_build_explains_how_to_build(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer, "DIST", tmp_path)
    page = await gateway.http.get("/graphql", headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert has_security_headers(page) is True
    assert "make explorer" in page.text
    assert await gateway.client().data("{ __typename }") == {"__typename": "Query"}


@ON_SQLITE
async def test_graphiql_can_be_switched_off(gateway: Gateway) -> None:
    async with client_for_settings(gateway, Settings(graphiql=False), demo=True) as http:
        assert (await http.get("/explorer/start")).status_code == 404
        assert "<title>" not in (await http.get("/graphql", headers=BROWSER)).text


async def test_only_a_demo_offers_its_accounts(gateway: Gateway, ada: User) -> None:
    """Demo accounts are found by id: another account with the same e-mail address is not offered."""
    assert (await gateway.http.get("/explorer/start")).json()["accounts"] == []
    async with client_for_settings(gateway, Settings(), demo=True) as http:
        assert (await http.get("/explorer/start")).json()["accounts"] == []


async def test_demo_accounts_are_offered_with_valid_tokens(database: Database, gateway: Gateway) -> None:
    await load_demo(database, users=3, tasks=0)
    async with client_for_settings(gateway, Settings(), demo=True) as http:
        answer = await http.get("/explorer/start")
        assert answer.headers["cache-control"] == "no-store"
        accounts = answer.json()["accounts"]
        assert [(account["email"], account["name"]) for account in accounts] == [
            ("ada@example.com", "Ada Byron"),
            ("grace@example.com", "Grace Hopper"),
            ("manager@example.com", "Mary Jackson (partnership manager)"),
            ("admin@example.com", "Margaret Hamilton (admin)"),
        ]
        for header in ({"Host": "127.0.0.1:8000"}, {"Host": "[::1]:8000"}, {"Origin": "http://localhost"}):
            response = await http.get("/explorer/start", headers={"Host": "localhost", **header})
            again = response.json()["accounts"]
            assert [account | {"token": ""} for account in again] == [account | {"token": ""} for account in accounts]
        for account in accounts:
            data = await gateway.client_with_token(account["token"]).data("{ viewer { email } }")
            assert data == {"viewer": {"email": account["email"]}}
        assert await gateway.client_with_token(accounts[-1]["token"]).data("{ roles { name } }")
        async with database.transaction(SERVICE) as write:
            grace = await Users(write).of_email("grace@example.com")
            assert grace is not None
            await Users(write).change(grace, status=UserStatus.SUSPENDED)
        offered = (await http.get("/explorer/start")).json()["accounts"]
        assert [account["email"].partition("@")[0] for account in offered] == ["ada", "manager", "admin"]


@ON_SQLITE
async def test_demo_accounts_are_offered_to_this_machine_only(database: Database, gateway: Gateway) -> None:
    await load_demo(database, users=3, tasks=0)

    async def is_offered(address: str = "127.0.0.1", **headers: str) -> bool:
        app = create_app(Settings(trusted_proxies="127.0.0.1"), gateway.database, gateway.tokens, demo=True)
        transport = httpx.ASGITransport(app, client=(address, 1))
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            response = await http.get("/explorer/start", headers=sent)
        assert response.json()["examples"]
        return bool(response.json()["accounts"])

    assert await is_offered()
    for address in ("::1", "127.0.0.9", "::ffff:127.0.0.1"):
        assert await is_offered(address), address
    for address in ("192.0.2.1", "::ffff:192.0.2.1", "172.17.0.1", "testclient", ""):
        assert not await is_offered(address), address
    for host in (
        "gateway.example",
        "localhost.gateway.example",
        "203.0.113.7",
        "[x",
        "localhost@evil",
        "localhost:1@a",
    ):
        assert not await is_offered(Host=host), host
    for name, value in FORWARDING_HEADERS.items():
        assert not await is_offered(**{name: value}), name
    for origin in ("https://evil.example", "http://localhost.evil.example", "null", "http://[x"):
        assert not await is_offered(Origin=origin), origin


FORWARDING_HEADERS = {
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "localhost",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Port": "8000",
    "X-Forwarded-Server": "proxy",
    "X-Forwarded": "for=127.0.0.1",
    "Forwarded": "for=127.0.0.1",
    "Forwarded-For": "127.0.0.1",
    "Via": "1.1 proxy",
    "X-Real-IP": "127.0.0.1",
    "X-Client-IP": "127.0.0.1",
    "X-Cluster-Client-IP": "127.0.0.1",
    "True-Client-IP": "127.0.0.1",
    "CF-Connecting-IP": "127.0.0.1",
    "Fastly-Client-IP": "127.0.0.1",
    "Fly-Client-IP": "127.0.0.1",
    "X-Envoy-External-Address": "127.0.0.1",
    "X-Original-Forwarded-For": "127.0.0.1",
    "X-Amzn-Trace-Id": "Root=1",
    "CDN-Loop": "cdn",
}
"""Headers that proxies add, each with a value that names this machine."""


@ON_SQLITE
async def test_demo_shows_the_messages_that_are_not_sent(database: Database, gateway: Gateway, ada: User) -> None:
    """The newest first, to this machine only, and not if the gateway has a mail server."""
    app = create_app(Settings(), database, gateway.tokens, demo=True)
    mutation = """mutation { requestEmailVerification(input: {email: "ada@example.com"}) { email } }"""
    headers = {"Authorization": f"Bearer {gateway.token(ada)}"}
    async with serve(app, lifespan="on") as address, httpx.AsyncClient(base_url=address) as http:
        start = (await http.get("/explorer/start")).json()
        assert start["hasMessages"] is True
        assert (await http.get("/explorer/messages")).json() == {"messages": []}
        for count in (1, 2):
            await http.post("/graphql", json={"query": mutation}, headers=headers)
            while len((messages := await http.get("/explorer/messages")).json()["messages"]) < count:  # noqa: ASYNC110 (no event announces it)
                await asyncio.sleep(0.005)
        assert messages.headers["cache-control"] == "no-store"
        assert has_security_headers(messages)
        newest, oldest = messages.json()["messages"]
        assert newest["id"] > oldest["id"]
        assert (newest["recipient"], newest["subject"]) == ("ada@example.com", "Verify your e-mail address")
        (token,) = re.findall(r"^[\w-]{43}$", newest["text"], re.MULTILINE)
        verify = """mutation($input: VerifyEmailInput!) { verifyEmail(input: $input) { userErrors { message } } }"""
        verified = await http.post("/graphql", json={"query": verify, "variables": {"input": {"token": token}}})
        assert verified.json() == {"data": {"verifyEmail": {"userErrors": []}}}
        for refused in ({"Host": "evil.example"}, {"X-Forwarded-For": "10.0.0.1"}, {"Origin": "https://evil.example"}):
            assert (await http.get("/explorer/messages", headers=refused)).status_code == 404
            assert (await http.get("/explorer/start", headers=refused)).json()["hasMessages"] is False
    mail = Settings(smtp_url="smtp://127.0.0.1:1", mail_from="no-reply@example.com")
    for settings, demo in ((mail, True), (Settings(), False)):
        async with client_for_settings(gateway, settings, demo=demo) as http:
            assert (await http.get("/explorer/start")).json()["hasMessages"] is False
            assert (await http.get("/explorer/messages")).status_code == 404


def test_every_domain_has_examples() -> None:
    domains = {path.stem for path in (ROOT / "schema").glob("*.py")} - NO_DOMAINS
    assert {path.stem for path in explorer.EXAMPLES.iterdir()} == domains, "gateway/explorer/examples/DOMAIN.graphql"


async def test_examples_return_demo_data(database: Database, mailbox: Mailbox) -> None:
    """Runs as the demo's administrator. No example returns an empty list, which would be a poor first impression."""
    gateway = MailGateway(database, mailbox)
    await load_demo(database, users=2, tasks=40)
    async with client_for_settings(gateway, Settings(), demo=True) as http:
        start = (await http.get("/explorer/start")).json()
    admin = gateway.client_with_token(start["accounts"][-1]["token"])
    for example in start["examples"]:
        assert 2 <= len(parse(example["source"]).definitions) <= 6, example["domain"]
        for name, text in _operations_of_types(example["source"], *SINGLE):
            assert list(_empty_paths(await admin.data(text))) == [], (example["domain"], name)
    await gateway.http.aclose()


async def test_example_subscriptions_deliver_events(gateway: Gateway, admin: User) -> None:
    """The examples cover every subscription field; of the derived ones, that of tasks stands for all."""
    sources = [path.read_text("utf-8") for path in explorer.EXAMPLES.iterdir()]
    texts = [text for source in sources for _, text in _operations_of_types(source, OperationType.SUBSCRIPTION)]
    answered = set()
    async with run_gateway(gateway) as address:
        for text in texts:
            async with open_event_stream(gateway, address, text, admin) as stream:
                await create(gateway, admin, "Seen")
                response = (await stream.next())[1]
                assert "errors" not in response, response
                assert list(_empty_paths(response["data"])) == [], text
                answered |= set(response["data"])
    assert schema._schema.subscription_type is not None
    derived = {f"{to_camel_case(aggregate.name)}Changed" for aggregate in aggregates.values()}
    assert answered == set(schema._schema.subscription_type.fields) - derived | {"taskChanged"}


SINGLE = (OperationType.QUERY, OperationType.MUTATION)


def _operations_of_types(source: str, *types: OperationType) -> Iterator[tuple[str, str]]:
    """The names and texts of the operations of the given types."""
    for operation in parse(source).definitions:
        assert isinstance(operation, OperationDefinitionNode)
        assert operation.name is not None
        if operation.operation in types:
            yield operation.name.value, print_ast(operation)


def _empty_paths(data: Any, path: str = "") -> Any:
    """The paths of null root fields, empty lists and user errors."""
    for name, value in data.items():
        here = f"{path}.{name}"
        if name == "userErrors":
            if value:
                yield here, value
        elif value in (None, []) and (not path or isinstance(value, list)):
            yield here, value
        elif isinstance(value, dict):
            yield from _empty_paths(value, here)


@ON_SQLITE
async def test_demo_accounts_are_not_offered_over_http_1_0(database: Database, gateway: Gateway) -> None:
    """Some proxies forward requests so, without any header that tells. Browsers use HTTP/1.1."""
    await load_demo(database, users=3, tasks=0)
    app = create_app(Settings(), gateway.database, gateway.tokens, demo=True)

    async def with_version(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "http_version": "1.0"}, receive, send)

    for served, is_offered in ((app, True), (with_version, False)):
        transport = httpx.ASGITransport(served, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            assert bool((await http.get("/explorer/start")).json()["accounts"]) is is_offered
