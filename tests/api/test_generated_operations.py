"""No operation is answered with INTERNAL_SERVER_ERROR.

`GENERATED_OPERATIONS=10000 .venv/bin/pytest tests/api/test_generated_operations.py` runs 10,000 on each engine;
`GENERATED_SEED` is the number of the first one.
"""

import logging
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from graphql import get_named_type, is_required_argument

from gateway.settings import Settings
from gateway.transport.operation_service import format_errors
from repositories.core.viewer import SERVICE
from repositories.demo.seed import load_demo
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.permissions import RoleName
from repositories.sql.filters import SortKey
from repositories.tables.identity import User
from resolvers.validation.global_ids import parse_global_id
from tests.api.client import Client, Gateway
from tests.api.generated_operations import GRAPH, Generator, Operation
from tests.api.subscribing import SubscribingProcess

COUNT = int(os.environ.get("GENERATED_OPERATIONS", "200"))
SEED = int(os.environ.get("GENERATED_SEED", "0"))
log = logging.getLogger(__name__)
CHUNK = 500
"""Operations on one database: they change it, and deactivate its users."""


async def all_users(database: Database) -> list[User]:
    snapshot = database.snapshot(SERVICE)
    try:
        return await Users(snapshot).find(order=[SortKey("id")], limit=50)
    finally:
        await snapshot.close()


class ExistingRows(NamedTuple):
    """Global ids of rows by type, and the cursor of a row by the name of the list."""

    ids: dict[str, list[str]]
    cursors: dict[str, str]


async def existing_rows(clients: list[Client]) -> ExistingRows:
    """Rows of every list that needs no arguments."""
    assert GRAPH.query_type is not None
    found: defaultdict[str, set[str]] = defaultdict(set)
    cursors = {}
    for name, field in GRAPH.query_type.fields.items():
        rows = getattr(get_named_type(field.type), "fields", {}).get("nodes")
        is_node_list = rows is not None and bool(get_named_type(rows.type).interfaces)
        if not is_node_list or any(map(is_required_argument, field.args.values())):
            continue
        for client in clients:
            answer = await client.ask(f"{{ {name}(first: 20) {{ nodes {{ id }} pageInfo {{ startCursor }} }} }}")
            page = (answer.data or {}).get(name)
            if page is not None and page["nodes"]:
                cursors[name] = page["pageInfo"]["startCursor"]
                for node in page["nodes"]:
                    found[parse_global_id(node["id"])[0]].add(node["id"])
    return ExistingRows({kind: sorted(ids) for kind, ids in sorted(found.items())}, cursors)


async def subscribe(process: SubscribingProcess, user: User | None, operation: Operation) -> list[str]:
    """Starts and ends a subscription; returns the codes of its errors."""
    try:
        async with process.subscribe(user, operation.text, **operation.variables):
            return []
    except Exception as error:  # noqa: BLE001 (the gateway formats it)
        return [each["extensions"]["code"] for each in format_errors(error)]


def seeds() -> Iterator[range]:
    """The numbers of the operations, in chunks."""
    for start in range(SEED, SEED + COUNT, CHUNK):
        yield range(start, min(start + CHUNK, SEED + COUNT))


@pytest.mark.usefixtures("cheap_passwords")
@pytest.mark.parametrize("numbers", list(seeds()), ids=lambda numbers: f"{numbers.start}-{numbers.stop}")
async def test_no_operation_has_an_internal_error(
    database: Database, numbers: range, caplog: pytest.LogCaptureFixture
) -> None:
    await load_demo(database, users=4, tasks=20)
    gateway = Gateway(database, settings=Settings(cost_per_minute=0))
    users = await all_users(database)
    clients: list[tuple[User | None, Client]] = [(None, gateway.client())]
    clients += [(user, gateway.client(user)) for user in users]
    clients += [(user, gateway.client(user, *RoleName)) for user in users[-2:]]
    existing = await existing_rows([client for _, client in clients[1:]])
    assert len(existing.ids) > 8
    assert len(existing.cursors) > 8
    process = SubscribingProcess(database)
    codes: Counter[str] = Counter()
    failures: dict[str, str] = {}
    caplog.set_level(logging.ERROR, "gateway")
    async with process.feed.run():
        for number in numbers:
            source = random.Random(number)  # noqa: S311 (generates test cases)
            user, client = source.choices(clients, [1] + [3] * (len(clients) - 1))[0]
            operation = Generator(source, *existing).operation()
            if operation.kind == "subscription":
                found = await subscribe(process, user, operation)
            else:
                answer: Any = await client.ask(operation.text, **operation.variables)
                found = answer.codes
            codes.update(found or ["success"])
            if "INTERNAL_SERVER_ERROR" in found:
                failures[caplog.text[-200:]] = (
                    f"operation {number}: {operation.text} {operation.variables}\n{caplog.text}"
                )
                caplog.clear()
    log.info("%s", dict(codes))
    assert not failures, "\n".join(failures.values())
    assert codes["success"] > len(numbers) / 10
    assert database.pool_state().used == 0
