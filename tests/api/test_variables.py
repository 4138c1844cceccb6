"""Variables: their number of values is limited, and those of fields that the caller may not use are not converted."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from graphql import GraphQLField, is_required_argument
from graphql.utilities import coerce_input_value

from gateway.execution import operation
from gateway.execution.root_permissions import required_permission
from gateway.settings import Settings
from gateway.transport import requests
from repositories.engines.database import Database
from repositories.tables.identity import User
from tests.api.client import Gateway
from tests.api.people import PASSWORD, make_member
from tests.api.sockets import serve_sockets
from tests.api.stored_rows import life_lock_rows
from tests.api.test_disclosure import GRAPH, complete_value, selection
from tests.databases import ON_SQLITE

FILTERED = "query($f: TaskFilter) { tasks(filter: $f) { totalCount } }"
TOO_MANY = "The variables have more than 10,000 values. Split them into several requests."


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The values of variables that are converted from now on."""
    values: list[Any] = []
    original = coerce_input_value

    def record(value: Any, kind: Any) -> Any:
        values.append(value)
        return original(value, kind)

    monkeypatch.setattr(operation, "coerce_input_value", record)
    return values


def nested(count: int) -> dict[str, Any]:
    """A filter with ``count`` values, with the variable itself."""
    return {"or": [{}] * (count - 2)}


@ON_SQLITE
async def test_variables_have_at_most_10000_values(gateway: Gateway, ada: User, converted: list[Any]) -> None:
    client = gateway.client(ada)
    values: list[dict[str, Any]] = [
        nested(10_900),
        nested(10_001),
        {"id": {"in": ["x"] * 9_998}},
        {"or": [{"or": [{}] * 9_997}]},
    ]
    for value in values:
        answer = await client.ask(FILTERED, f=value)
        assert [(error["message"], error["extensions"]["code"]) for error in answer.errors] == [
            (TOO_MANY, "QUERY_TOO_COMPLEX")
        ]
        assert answer.errors[0]["extensions"]["limit"] == 10_000
    assert converted == []
    assert (await client.ask(FILTERED, f=nested(9_000), g=nested(1001))).codes == ["QUERY_TOO_COMPLEX"]
    assert converted == []
    assert (await client.ask(FILTERED, f=nested(10_000))).codes == ["VALIDATION_ERROR"]  # too many conditions
    assert len(converted) == 1


@ON_SQLITE
@pytest.mark.parametrize("max_batch", [0, 3])
async def test_a_body_with_more_values_is_not_parsed(
    database: Database, ada: User, monkeypatch: pytest.MonkeyPatch, max_batch: int
) -> None:
    """Commas in strings do not count. A batch may have more."""
    settings = Settings(max_batch=max_batch)
    client = Gateway(database, settings=settings).client(ada)
    parsed: list[int] = []
    parse = orjson.loads

    def record(text: bytes) -> Any:
        parsed.append(len(text))
        return parse(text)

    monkeypatch.setattr(requests, "orjson", SimpleNamespace(loads=record, JSONDecodeError=orjson.JSONDecodeError))
    limit = 11_000 * (max_batch or 1)
    answer = await client.ask(FILTERED, f=nested(240_000))
    message = f"The body has more than {limit:,} values. Split it into several requests."
    assert [(error["message"], error["extensions"]["code"]) for error in answer.errors] == [
        (message, "QUERY_TOO_COMPLEX")
    ]
    assert answer.errors[0]["extensions"]["limit"] == limit
    assert parsed == []
    answer = await client.ask(FILTERED, f=None, unused='","\\' * 12_000)
    assert answer.codes == []
    assert len(parsed) == 1


@ON_SQLITE
async def test_the_number_of_values_is_a_setting(database: Database, ada: User) -> None:
    settings = Settings(max_variable_values=5)
    gateway = Gateway(database, settings=settings)
    assert await gateway.client(ada).data(FILTERED, f=nested(5)) == {"tasks": {"totalCount": 0}}
    answer = await gateway.client(ada).ask(FILTERED, f=nested(6))
    assert answer.codes == ["QUERY_TOO_COMPLEX"]
    async with serve_sockets(gateway, settings) as server, server.initialised_peer() as peer:
        errors = await peer.ask(FILTERED, variables={"f": nested(6)})
        assert [error["extensions"]["code"] for error in errors] == ["QUERY_TOO_COMPLEX"]


def guarded_fields() -> Iterator[tuple[str, str, GraphQLField]]:
    """The root fields that require a permission."""
    for kind in ("query", "mutation", "subscription"):
        root = getattr(GRAPH, f"{kind}_type")
        for name, field in root.fields.items():
            if required_permission(field) is not None and field.args:
                yield kind, name, field


@ON_SQLITE
async def test_nothing_is_converted_for_a_field_that_the_caller_may_not_use(
    database: Database, converted: list[Any]
) -> None:
    """Right and wrong values in all arguments, for every root field that requires a permission."""
    count = 0
    settings = Settings(max_cost=2**31 - 1, cost_per_minute=0)
    gateway = Gateway(database, settings=settings)
    async with serve_sockets(gateway, settings) as server, server.initialised_peer() as peer:
        for kind, name, field in guarded_fields():
            declared = ", ".join(f"${argument}: {value.type}" for argument, value in field.args.items())
            passed = ", ".join(f"{argument}: ${argument}" for argument in field.args)
            text = f"{kind}({declared}) {{ {name}({passed}) {selection(field)} }}"
            right = {argument: complete_value(value.type) for argument, value in field.args.items()}
            wrong: dict[str, Any] = {argument: [[5]] for argument in field.args}
            missing = {argument: None for argument, value in field.args.items() if not is_required_argument(value)}
            for variables in (right, wrong, missing):
                if kind == "subscription":
                    codes = [error["extensions"]["code"] for error in await peer.ask(text, variables=variables)]
                else:
                    codes = (await gateway.client().ask(text, **variables)).codes
                assert codes == ["UNAUTHENTICATED"], (name, variables)
                count += 1
    assert count > 200
    assert converted == []


@ON_SQLITE
async def test_variables_of_the_other_fields_are_converted(gateway: Gateway, ada: User, converted: list[Any]) -> None:
    """The other fields give their results, and their variables must be valid. Directives are converted, too."""
    text = """query($f: TaskFilter, $n: Int, $s: Boolean!, $t: String!) {
        auditLog(first: $n) @skip(if: $s) { totalCount }
        ...Rest
    }
    fragment Rest on Query { x: __type(name: $t) { name } ... @skip(if: $s) { tasks(filter: $f) { totalCount } } }"""
    anonymous, client = gateway.client(), gateway.client(ada)
    answer = await anonymous.ask(text, f=[5], n="x", s=False, t="Task")
    assert answer.data == {"auditLog": None, "x": {"name": "Task"}, "tasks": None}
    assert answer.codes == ["UNAUTHENTICATED"] * 2
    assert converted == [False, "Task"]
    converted.clear()
    assert (await anonymous.ask(text, f=[5], n="x", s="no", t="Task")).codes == ["GRAPHQL_VALIDATION_FAILED"]
    assert (await client.ask(text, f=[5], n="x", s=True, t="Task")).codes == ["GRAPHQL_VALIDATION_FAILED"]
    answer = await client.ask(text, f={}, n="x", s=False, t="Task")
    assert (answer.codes, answer.data["tasks"]) == (["FORBIDDEN"], {"totalCount": 0})


SIGN_IN_AND_CREATE = """mutation($who: SignInInput!, $task: CreateTaskInput!, $full: Boolean!, $n: Int) {
    signIn(input: $who) { viewer { email } }
    createTask(input: $task) { task { title @include(if: $full) category { tasks(first: $n) { totalCount } } } }
}"""


@ON_SQLITE
@pytest.mark.usefixtures("cheap_passwords")
async def test_variables_are_converted_after_an_earlier_field_has_signed_in(gateway: Gateway) -> None:
    await make_member(gateway.database)
    who = {"email": "ada@example.com", "password": PASSWORD}
    wrong = await gateway.client().ask(SIGN_IN_AND_CREATE, who=who, task={"title": 5}, full=True)
    assert wrong.data == {"signIn": {"viewer": {"email": "ada@example.com"}}, "createTask": None}
    assert [(error["message"], error["path"], error["extensions"]["code"]) for error in wrong.errors] == [
        (
            "Variable '$task' has invalid value at .title: Expected a string.",
            ["createTask"],
            "GRAPHQL_VALIDATION_FAILED",
        )
    ]
    assert (await life_lock_rows(gateway.database))[:3] == [[], [], []]
    for full in (True, False):
        data = await gateway.client().data(SIGN_IN_AND_CREATE, who=who, task={"title": "One"}, full=full)
        task = {"title": "One", "category": None} if full else {"category": None}
        assert data["createTask"] == {"task": task}
