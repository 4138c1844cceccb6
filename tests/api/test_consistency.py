"""Read-your-writes consistency over HTTP with a real streaming replica: tokens, lag, and a replica that stops."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway.settings import Settings
from repositories.engines.database import Database, DatabaseOptions
from repositories.engines.position import parse_position
from repositories.life_lock.categories import Categories
from repositories.tables.identity import User
from tests.api.client import Gateway, connect_database, gid, serve
from tests.api.sockets import serve_sockets
from tests.databases import Standby
from tests.factories import make_category, make_task, make_user

HEADER = "X-Consistency-Token"
TITLES = "{ tasks(order: [{field: TITLE, direction: ASC}]) { nodes { title } } }"
CREATE = "mutation($t: String!) { createTask(input: {title: $t}) { task { title user { firstName } } } }"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'siso-gateway'"
END_SESSIONS = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = $1"


@pytest_asyncio.fixture
async def replicated_gateway(replicated: DatabaseOptions) -> AsyncIterator[Gateway]:
    """A gateway on a database with a replica."""
    async with connect_database(replicated) as database:
        made = Gateway(database, settings=Settings(cors_origins="https://app.example.com", max_batch=3))
        yield made
        await made.http.aclose()


class Person:
    """A user with a client that reads response headers."""

    def __init__(self, gateway: Gateway, user: User) -> None:
        self.gateway = gateway
        self.user = user
        self.headers = {"Authorization": f"Bearer {gateway.token(user)}", "Content-Type": "application/json"}

    async def post(self, body: Any, token: str | None = None, **headers: str) -> httpx.Response:
        headers = self.headers | headers | ({HEADER: token} if token is not None else {})
        return await self.gateway.http.post("/graphql", content=json.dumps(body), headers=headers)

    async def create(self, title: str) -> str:
        """Creates a task and returns the consistency token of the response."""
        response = await self.post({"query": CREATE, "variables": {"t": title}})
        assert response.json() == {"data": {"createTask": {"task": {"title": title, "user": {"firstName": "Ada"}}}}}
        return response.headers[HEADER]

    async def titles(self, token: str | None = None) -> list[str]:
        """The titles in the response to a query, which must have no token."""
        response = await self.post({"query": TITLES}, token)
        assert HEADER not in response.headers
        return titles_in(response.json())


def titles_in(body: Any) -> list[str]:
    assert list(body) == ["data"], body
    return [node["title"] for node in body["data"]["tasks"]["nodes"]]


async def person(gateway: Gateway, standby: Standby) -> Person:
    """A user that exists on the replica."""
    user = await make_user(gateway.database)
    await standby.catch_up()
    return Person(gateway, user)


async def test_a_query_with_the_token_sees_the_mutation(replicated_gateway: Gateway, standby: Standby) -> None:
    """While the replica lags: the old state without the token, the new one with it. Later the replica is used."""
    ada = await person(replicated_gateway, standby)
    await standby.pause()
    first = await ada.create("1")
    assert await ada.titles() == []
    assert await ada.titles(first) == ["1"]
    second = await ada.create("2")
    assert parse_position(second) > parse_position(first)
    assert await ada.titles(second) == await ada.titles(first) == ["1", "2"]
    await standby.resume()
    await standby.catch_up()
    await standby.pause()
    await ada.create("3")
    assert await ada.titles(second) == ["1", "2"]


async def test_changes_received_over_a_socket_are_visible_over_http(
    replicated_gateway: Gateway, standby: Standby
) -> None:
    """While the replica lags, mutations and deliveries have the token if the client requests it."""
    ada = await person(replicated_gateway, standby)
    await standby.pause()
    asks = {"extensions": {"consistencyToken": True}}
    changes = "subscription { taskChanged { task { title } } }"
    async with (
        serve_sockets(replicated_gateway) as site,
        site.initialised_peer(replicated_gateway.token(ada.user)) as peer,
    ):
        made = await peer.ask(CREATE, variables={"t": "1"}, **asks)
        assert await ada.titles() == []
        assert await ada.titles(made["extensions"]["consistencyToken"]) == ["1"]
        await peer.subscribe("changes", changes, **asks)
        await site.wait_for_subscribers(2)
        await ada.create("2")
        delivered = (await peer.receive())["payload"]
        assert delivered["data"] == {"taskChanged": {"task": {"title": "2"}}}
        assert await ada.titles(delivered["extensions"]["consistencyToken"]) == ["1", "2"]
        await peer.send("complete", id="changes")
        assert list(await peer.ask(CREATE, variables={"t": "3"})) == ["data"]
        assert list(await peer.ask(TITLES, **asks)) == ["data"]


async def test_a_request_sees_its_own_changes(replicated_gateway: Gateway, standby: Standby) -> None:
    """Later fields of the mutation and later operations of the batch see them, even while the replica lags."""
    ada = await person(replicated_gateway, standby)
    await standby.pause()
    category = await make_category(replicated_gateway.database, ada.user, name="New")
    within = (
        'mutation($c: ID!) { one: createTask(input: {title: "one", categoryId: $c}) { task { title } }'
        ' two: createTask(input: {title: "two", categoryId: $c})'
        " { task { category { name tasks { nodes { title } } } } } }"
    )
    response = await ada.post({"query": within, "variables": {"c": gid("Category", category)}})
    shown = response.json()["data"]["two"]["task"]["category"]
    assert (shown["name"], sorted(node["title"] for node in shown["tasks"]["nodes"])) == ("New", ["one", "two"])
    batch = [{"query": TITLES}, {"query": CREATE, "variables": {"t": "new"}}, {"query": TITLES}]
    response = await ada.post(batch)
    before, _, after = response.json()
    assert (titles_in(before), titles_in(after)) == ([], ["new", "one", "two"])
    assert await ada.titles(response.headers[HEADER]) == ["new", "one", "two"]


async def test_a_rejected_mutation_has_a_token_too(replicated_gateway: Gateway, standby: Standby) -> None:
    """A client that receives STALE_VERSION then reads the newer version."""
    ada = await person(replicated_gateway, standby)
    await ada.create("Old")
    await standby.catch_up()
    response = await ada.post({"query": "{ tasks { nodes { id version } } }"})
    task = response.json()["data"]["tasks"]["nodes"][0]
    await standby.pause()
    update = "mutation($i: UpdateTaskInput!) { updateTask(input: $i) { task { title } userErrors { code } } }"
    codes, tokens = [], []
    for title in ("New", "Late"):
        response = await ada.post({"query": update, "variables": {"i": task | {"title": title}}})
        codes.append([error["code"] for error in response.json()["data"]["updateTask"]["userErrors"]])
        tokens.append(response.headers[HEADER])
    assert codes == [[], ["STALE_VERSION"]]
    assert await ada.titles() == ["Old"]
    assert await ada.titles(tokens[1]) == ["New"]


async def test_the_token_in_the_body(replicated_gateway: Gateway, standby: Standby) -> None:
    """Clients that cannot read headers can request it. A query has none."""
    ada = await person(replicated_gateway, standby)
    token_request = {"extensions": {"consistencyToken": True}}
    response = await ada.post({"query": CREATE, "variables": {"t": "x"}} | token_request)
    assert response.json()["extensions"] == {"consistencyToken": response.headers[HEADER]}
    assert "extensions" not in (await ada.post({"query": TITLES} | token_request)).json()


async def test_pages_of_other_origins_may_use_the_token(replicated_gateway: Gateway, standby: Standby) -> None:
    """CORS exposes the header and allows it in requests."""
    ada = await person(replicated_gateway, standby)
    response = await ada.post({"query": TITLES}, Origin="https://app.example.com")
    assert HEADER in response.headers["Access-Control-Expose-Headers"].split(", ")
    request_headers = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    preflight = await replicated_gateway.http.options(
        "/graphql", headers=request_headers | {"Access-Control-Request-Headers": HEADER}
    )
    assert preflight.status_code == 200
    assert HEADER in preflight.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("token", ["", "x", "0/1, 0/2", "16B3748", "0/16B374800", "0/ü"])
async def test_a_malformed_token_is_rejected(gateway: Gateway, ada: User, token: str) -> None:
    """It is rejected with or without a replica, so that the mistake shows early. A mutation is not run."""
    body = json.dumps({"query": CREATE, "variables": {"t": "x"}})
    headers = [*Person(gateway, ada).headers.items(), (HEADER, token)]
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    response = await gateway.http.post("/graphql", content=body, headers=encoded)
    message = (
        "`X-Consistency-Token` must be a token from the response to a mutation. Send that token, or omit the header."
    )
    error = {"message": message, "extensions": {"code": "BAD_REQUEST"}}
    assert (response.status_code, response.json()) == (400, {"errors": [error]})
    assert await gateway.client(ada).data("{ tasks { totalCount } }") == {"tasks": {"totalCount": 0}}


async def test_there_are_no_tokens_without_a_replica(gateway: Gateway, ada: User) -> None:
    """Responses have no token, and a token from another deployment has no effect."""
    one = Person(gateway, ada)
    token_request = {"extensions": {"consistencyToken": True}}
    response = await one.post({"query": CREATE, "variables": {"t": "x"}} | token_request)
    assert HEADER not in response.headers
    assert list(response.json()) == ["data"]
    assert await one.titles("FFFFFFFF/FFFFFFFF") == ["x"]
    assert "replica" not in (await gateway.http.get("/health")).json()["database"]


async def test_rows_of_other_users_are_not_found_on_the_replica(replicated_gateway: Gateway, standby: Standby) -> None:
    """The replica applies row-level security. It lags, which proves that it answered."""
    database = replicated_gateway.database
    ada, bob = await make_user(database), await make_user(database)
    task = await make_task(database, ada, title="Ada's")
    await standby.pause()
    await make_task(database, ada, title="Later")
    document = f'{{ task(id: "{gid("Task", task)}") {{ title }} tasks {{ nodes {{ title }} }} }}'
    mine = await replicated_gateway.client(ada).data(document)
    assert mine == {"task": {"title": "Ada's"}, "tasks": {"nodes": [{"title": "Ada's"}]}}
    other = await replicated_gateway.client(bob).ask(document)
    assert (other.data, other.codes) == ({"task": None, "tasks": {"nodes": []}}, ["NOT_FOUND"])


async def test_a_query_is_run_again_if_the_replica_stops_during_it(
    replicated_gateway: Gateway, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completely, on the primary: no part of the response shows the replica's older state."""
    database = replicated_gateway.database
    ada = await make_user(database)
    await make_category(database, ada, name="Old")
    await standby.pause()
    await make_category(database, ada, name="New")
    page, shown = Categories.page, []

    async def then_end(self: Any, *arguments: Any, **named: Any) -> Any:
        found = await page(self, *arguments, **named)
        shown.append(sorted(row.name for row in found.rows))
        if len(shown) == 1:
            await standby.ask(END_SESSIONS, "siso-gateway")
        return found

    monkeypatch.setattr(Categories, "page", then_end)
    document = "{ categories { nodes { name tasks { totalCount } } totalCount } }"
    found = (await replicated_gateway.client(ada).data(document))["categories"]
    assert shown == [["Old"], ["New", "Old"]]
    assert sorted(node["name"] for node in found["nodes"]) == ["New", "Old"]
    assert found["totalCount"] == 2


async def test_the_replica_stops_under_load(replicated: DatabaseOptions, standby: Standby) -> None:
    """No request fails, /health reports it, and the replica is used again when it is available."""
    async with connect_database(replicated) as database:
        gateway = Gateway(database)
        ada = await make_user(database)
        await make_task(database, ada, title="Here")
        await standby.catch_up()
        async with serve(gateway.app) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
            load = Load(http, gateway.token(ada))
            await load.until(answers=50)
            assert await standby.ask(SESSIONS) > 0
            assert await health(http) == ("ok", "ok")
            await asyncio.to_thread(standby.stop)
            await load.until(answers=len(load.answers) + 50)
            assert await health(http) == ("degraded", "unavailable")
            await asyncio.to_thread(standby.start)
            while await health(http) != ("ok", "ok"):  # noqa: ASYNC110 (polled, as load balancers do)
                await asyncio.sleep(0.01)
            await load.until(answers=len(load.answers) + 50)
            assert await standby.ask(SESSIONS) > 0
            await load.end()
        assert set(load.answers) == {(200, '{"data":{"tasks":{"nodes":[{"title":"Here"}]}}}')}


async def health(http: httpx.AsyncClient) -> tuple[str, str]:
    """The status of the gateway and of the replica."""
    response = await http.get("/health")
    assert response.status_code == 200
    return response.json()["status"], response.json()["database"]["replica"]


class Load:
    """Five clients that send the same query continuously."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self.answers: list[tuple[int, str]] = []
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}
        self._is_over = False
        self._answered = asyncio.Condition()
        self._clients = [asyncio.ensure_future(self._ask()) for _ in range(5)]

    async def _ask(self) -> None:
        while not self._is_over:
            response = await self._http.post("/graphql", json={"query": TITLES}, headers=self._headers)
            async with self._answered:
                self.answers.append((response.status_code, response.text))
                self._answered.notify_all()

    async def until(self, answers: int) -> None:
        """Waits for a number of responses."""
        async with self._answered:
            await self._answered.wait_for(lambda: len(self.answers) >= answers)

    async def end(self) -> None:
        """Stops, and waits for the requests in flight."""
        self._is_over = True
        await asyncio.gather(*self._clients)


async def test_a_mutation_whose_position_cannot_be_read(
    replicated_gateway: Gateway, standby: Standby, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It succeeds without a token, and the log says so."""
    ada = await person(replicated_gateway, standby)
    database: Database = replicated_gateway.database
    original = database.fetch_position

    async def after_the_end() -> int | None:
        await database.close()
        return await original()

    monkeypatch.setattr(database, "fetch_position", after_the_end)
    response = await ada.post({"query": CREATE, "variables": {"t": "Done"}})
    assert response.json()["data"]["createTask"]["task"]["title"] == "Done"
    assert HEADER not in response.headers
    assert "without a consistency token" in caplog.text
