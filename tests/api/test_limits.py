"""Limits, costs and budgets as clients see them, over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from graphql import get_introspection_query

from gateway.execution import cost_limiter
from gateway.settings import Settings
from repositories.engines.database import Database
from repositories.tables.identity import User
from tests.api.client import Gateway, serve
from tests.databases import ON_SQLITE

PAGE = "query($n: Int!) { tasks(first: $n) { nodes { title category { name } } } }"
GRAPHQL = "application/graphql-response+json"


class Caller:
    """Sends operations to a gateway."""

    def __init__(self, http: httpx.AsyncClient, token: str | None) -> None:
        self.http = http
        self.headers = {"Accept": GRAPHQL} | ({"Authorization": f"Bearer {token}"} if token else {})

    async def ask(self, query: str, **parameters: Any) -> httpx.Response:
        return await self.http.post("/graphql", json={"query": query, **parameters}, headers=self.headers)


@asynccontextmanager
async def calling_gateway(database: Database, user: User | None = None, **given: Any) -> AsyncIterator[Caller]:
    """A caller of a gateway with the given settings."""
    gateway = Gateway(database, settings=Settings(**given))
    async with serve(gateway.app) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
        yield Caller(http, gateway.token(user) if user else None)
    await gateway.http.aclose()


@ON_SQLITE
async def test_cost_is_reported_on_request(database: Database, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_limiter, "COST_PER_SECOND", 1)  # a slow read costs no more than was computed
    async with calling_gateway(database, ada) as caller:
        plain = await caller.ask(PAGE, variables={"n": 20})
        with_cost = await caller.ask(PAGE, variables={"n": 20}, extensions={"cost": True})
    assert plain.json() == {"data": {"tasks": {"nodes": []}}}
    cost = with_cost.json()["extensions"]["cost"]
    assert 0 < cost["budget"].pop("reset") <= 60
    assert cost == {
        "requested": 1 + 20 * 2,
        "limit": 100_000,
        "budget": {"limit": 1_000_000, "remaining": 1_000_000 - 2 * 41},
    }


@ON_SQLITE
async def test_too_expensive_operation_is_rejected(database: Database, ada: User) -> None:
    async with calling_gateway(database, ada, max_cost=100) as caller:
        assert (await caller.ask(PAGE, variables={"n": 49})).status_code == 200
        response = await caller.ask(PAGE, variables={"n": 50})
    assert (response.status_code, response.json()) == (
        400,
        {
            "errors": [
                {
                    "message": "This operation costs 101; the limit is 100. "
                    "Request smaller pages, or select less in them.",
                    "locations": [{"line": 1, "column": 19}],
                    "extensions": {"code": "QUERY_TOO_COMPLEX", "requested": 101, "limit": 100},
                }
            ]
        },
    )


@ON_SQLITE
async def test_budget_is_counted_down_and_enforced(database: Database, ada: User, bob: User) -> None:
    async with calling_gateway(database, ada, cost_per_minute=100) as caller:
        first = await caller.ask(PAGE, variables={"n": 30})
        second = await caller.ask(PAGE, variables={"n": 30})
        third = await caller.ask("{ viewer { id } }")
    assert [each.status_code for each in (first, second, third)] == [200, 429, 429]
    assert {each.headers["RateLimit-Policy"] for each in (first, second)} == {'"cost";q=100;w=60;qu="cost"'}
    assert [each.headers["RateLimit"].split(";t=")[0] for each in (first, second)] == ['"cost";r=39', '"cost";r=0']
    seconds = int(second.headers["Retry-After"])
    assert 0 < seconds <= 60
    assert second.json() == {
        "errors": [
            {
                "message": "Your operations may cost 100 per minute, and this budget is used up. "
                f"Try again in {seconds} seconds.",
                "extensions": {"code": "RATE_LIMITED", "retryAfter": seconds},
            }
        ]
    }


@ON_SQLITE
async def test_anonymous_callers_share_the_budget_of_their_address(database: Database, ada: User) -> None:
    gateway = Gateway(database, settings=Settings(cost_per_minute=2))
    body = {"query": "{ viewer { id } }"}
    answers = []
    for address in ("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"):
        async with gateway.http_from(address) as http:
            answers.append(await http.post("/graphql", json=body))
    async with gateway.http_from("10.0.0.1") as http:
        headers = {"Authorization": f"Bearer {gateway.token(ada)}"}
        answers.append(await http.post("/graphql", json=body, headers=headers))
    await gateway.http.aclose()
    assert [each.status_code for each in answers] == [200, 200, 429, 200, 200]


@ON_SQLITE
async def test_each_operation_of_a_batch_is_charged(database: Database, ada: User) -> None:
    async with calling_gateway(database, ada, cost_per_minute=100, max_batch=3) as caller:
        batch = [{"query": PAGE, "variables": {"n": 30}}, {"query": PAGE, "variables": {"n": 30}}]
        answer = await caller.http.post("/graphql", json=batch, headers=caller.headers)
    first, second = answer.json()
    assert first == {"data": {"tasks": {"nodes": []}}}
    assert [each["extensions"]["code"] for each in second["errors"]] == ["RATE_LIMITED"]


@ON_SQLITE
async def test_no_budget_is_reported_if_budgets_are_switched_off(database: Database, ada: User) -> None:
    async with calling_gateway(database, ada, cost_per_minute=0) as caller:
        answer = await caller.ask(PAGE, variables={"n": 1}, extensions={"cost": True})
    assert not [name for name in answer.headers if name.startswith("ratelimit")]
    assert answer.json()["extensions"] == {"cost": {"requested": 3, "limit": 100_000, "budget": None}}


CLOSED = {
    "signed_in": ("UNAUTHENTICATED", "Introspection requires authentication: send an Authorization header."),
    "never": ("FORBIDDEN", "Introspection is disabled."),
}


@ON_SQLITE
@pytest.mark.parametrize(("setting", "is_open"), [("always", True), ("signed_in", False), ("never", False)])
async def test_introspection_and_suggestions_for_anonymous_callers(
    database: Database, setting: str, *, is_open: bool
) -> None:
    async with calling_gateway(database, introspection=setting) as caller:
        schema = await caller.ask(get_introspection_query())
        hidden = await caller.ask("{ ...F } fragment F on Query { x: __schema { queryType { name } } }")
        near = await caller.ask("{ taks { nodes { id } } }")
        value = await caller.ask(
            "mutation($i: SignInInput!) { signIn(input: $i) { userErrors { code } } }", variables={"i": {"emial": "x"}}
        )
    messages = [each.json()["errors"][-1]["message"] for each in (near, value)]
    if is_open:
        assert schema.json()["data"]["__schema"]["queryType"]["name"] == "Query"
        assert hidden.json() == {"data": {"x": {"queryType": {"name": "Query"}}}}
        assert all("Did you mean" in message for message in messages)
    else:
        code, message = CLOSED[setting]
        for answer in (schema, hidden):
            assert answer.status_code == {"UNAUTHENTICATED": 401, "FORBIDDEN": 403}[code]
            [error] = answer.json()["errors"]
            assert (error["message"], error["extensions"]) == (message, {"code": code})
        assert messages[0] == "Cannot query field 'taks' here."
        assert not any("Did you mean" in message for message in messages)


@ON_SQLITE
async def test_introspection_for_signed_in_viewers(database: Database, ada: User) -> None:
    for setting, status in (("signed_in", 200), ("never", 403)):
        async with calling_gateway(database, ada, introspection=setting) as caller:
            assert (await caller.ask(get_introspection_query())).status_code == status


@ON_SQLITE
@pytest.mark.parametrize(
    "query",
    [
        "{ tasks(first: 3, filter: {status: {eq: PENDING}}) { totalCount nodes { id title category { name } } } }",
        "{ lifeLockDashboard { totalTasks completedTasks overdueTasks weeklyProgress { date completed created } } }",
        "{ tasks(first: 500) { nodes { id title category { id name } user { id email } } } }",
        "{ categories(first: 20) { nodes { name tasks(first: 20) { totalCount nodes { title } } } } }",
        get_introspection_query(),
    ],
)
async def test_typical_operations_are_within_the_limits(gateway: Gateway, ada: User, query: str) -> None:
    assert (await gateway.client(ada).ask(query)).errors == []
