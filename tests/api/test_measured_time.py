"""The time for which reads hold a database connection is charged to the viewer's budget, after the operation."""

import pytest

from gateway.execution import cost_limiter
from gateway.settings import Settings
from repositories.engines.database import Database
from repositories.tables.identity import User
from tests.api.client import Gateway
from tests.api.sockets import serve_sockets

TASKS = "{ tasks { nodes { id } } }"


def _remaining(headers: str) -> int:
    return int(headers.split("r=")[1].split(";", maxsplit=1)[0])


async def test_fast_operations_cost_what_was_computed(
    database: Database, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here every read is fast: the computed cost covers 20 seconds and more."""
    monkeypatch.setattr(cost_limiter, "COST_PER_SECOND", 1)
    gateway = Gateway(database, settings=Settings(cost_per_minute=1000))
    client = gateway.client(ada)
    costs = []
    for _ in range(3):
        answer = await client.http.post(
            "/graphql", json={"query": TASKS, "extensions": {"cost": True}}, headers=client.headers
        )
        costs.append((answer.json()["extensions"]["cost"]["requested"], _remaining(answer.headers["ratelimit"])))
    computed = costs[0][0]
    assert costs == [(computed, 1000 - computed * count) for count in (1, 2, 3)]


@pytest.mark.parametrize("transport", ["http", "websocket"])
async def test_slow_reads_use_up_the_budget(
    database: Database, ada: User, bob: User, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """Here every read is slow. The operation itself succeeds; the next one of the viewer does not, others do."""
    monkeypatch.setattr(cost_limiter, "COST_PER_SECOND", 10**12)
    gateway = Gateway(database, settings=Settings(cost_per_minute=1_000_000))
    if transport == "http":
        assert (await gateway.client(ada).ask(TASKS)).codes == []
    else:
        async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(ada)) as peer:
            assert (await peer.ask(TASKS))["data"] == {"tasks": {"nodes": []}}
    answer = await gateway.client(ada).ask(TASKS)
    assert (answer.status, answer.codes) == (429, ["RATE_LIMITED"])
    assert (await gateway.client(bob).ask(TASKS)).codes == []


async def test_an_operation_without_statements_is_not_charged_more(
    database: Database, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_limiter, "COST_PER_SECOND", 10**12)
    gateway = Gateway(database, settings=Settings(cost_per_minute=1_000_000))
    for _ in range(3):
        assert (await gateway.client(ada).ask("{ __typename }")).codes == []


async def test_a_slow_unit_of_work_is_charged(
    database: Database, ada: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The payload is a scalar, so that nothing is read besides."""
    monkeypatch.setattr(cost_limiter, "COST_PER_SECOND", 10**12)
    gateway = Gateway(database, settings=Settings(cost_per_minute=1_000_000))
    document = 'mutation { createTask(input: {title: "x"}) { userErrors { code } } }'
    assert await gateway.client(ada).data(document) == {"createTask": {"userErrors": []}}
    answer = await gateway.client(ada).ask(document)
    assert (answer.status, answer.codes) == (429, ["RATE_LIMITED"])
    assert (await gateway.client(bob).ask(document)).codes == []


async def test_a_slow_delivery_is_charged(
    database: Database, ada: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first delivery of a live query is sent. It uses up the budget, so the viewer's next operation is rejected."""
    monkeypatch.setattr(cost_limiter, "COST_PER_SECOND", 10**12)
    gateway = Gateway(database, settings=Settings(cost_per_minute=1_000_000))
    async with serve_sockets(gateway) as site, site.initialised_peer(gateway.token(ada)) as peer:
        await peer.subscribe("1", "subscription { lifeLockDashboard { totalTasks } }")
        delivered = await peer.receive()
        assert delivered["payload"]["data"] == {"lifeLockDashboard": {"totalTasks": 0}}
        assert (await gateway.client(ada).ask(TASKS)).codes == ["RATE_LIMITED"]
        assert (await gateway.client(bob).ask(TASKS)).codes == []
