"""Error messages contain no value of the client and, where introspection is not allowed, no name of the schema."""

import json
import logging
import os
import random
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)

from gateway.settings import Settings
from repositories.engines.database import Database, DatabaseOptions
from repositories.tables.identity import UserRole
from schema import schema
from tests.api.client import Client, Gateway, connect_database
from tests.databases import ON_SQLITE
from tests.factories import make_user

GRAPH = schema._schema
SECRET = "hunter2correcthorse"  # noqa: S105 (a text to search for)
NUMBER = 90210777
EXHAUSTIVE = "SISO_TEST_EXHAUSTIVE" in os.environ
ROOTS = {"query": GRAPH.query_type, "mutation": GRAPH.mutation_type}
NAMES = {
    name
    for kind in GRAPH.type_map.values()
    for name in (
        kind.name,
        *getattr(kind, "fields", ()),
        *getattr(kind, "values", ()),
        *(argument for field in getattr(kind, "fields", {}).values() for argument in getattr(field, "args", ())),
    )
}
"""The names of all types, fields, arguments and enum values."""

Value = Any
Steps = tuple[str | int, ...]


def complete_value(kind: GraphQLInputType, depth: int = 0) -> Value:
    """A value with all fields of its objects, in which every text is the secret and every number is the number."""
    nullable: Any = get_nullable_type(kind)
    if isinstance(nullable, GraphQLList):
        return [complete_value(nullable.of_type, depth)]
    if isinstance(nullable, GraphQLInputObjectType):
        return {
            name: complete_value(field.type, depth + 1)
            for name, field in nullable.fields.items()
            if is_required_input_field(field) or (depth < 3 and get_named_type(field.type) is not nullable)
        }
    return {"Int": NUMBER, "Boolean": True}.get(nullable.name, SECRET)


def positions(value: Value, steps: Steps = ()) -> Iterator[Steps]:
    """The places of all values inside a value."""
    yield steps
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in children:
        yield from positions(inner, (*steps, key))


OMITTED = object()
MISTAKES: tuple[Value, ...] = (SECRET, NUMBER, {SECRET: SECRET}, [[SECRET]], {"tilte": SECRET}, None, OMITTED)


def changed(value: Value, steps: Steps, mistake: Value) -> Value:
    """A copy of a value with another one at a place."""
    if not steps:
        return mistake
    first, *rest = steps
    copy: Any = value.copy()
    if mistake is OMITTED and not rest:
        del copy[first]
    else:
        copy[first] = changed(copy[first], tuple(rest), mistake)
    return copy


def wrong_values(kind: GraphQLInputType) -> Iterator[Value]:
    """Values with one mistake at one place, for every place and every mistake."""
    whole = complete_value(kind)
    yield whole
    for steps in positions(whole):
        for mistake in MISTAKES:
            if steps or mistake is not OMITTED:
                yield changed(whole, steps, mistake)


def literal(value: Value) -> str:
    """A value as a literal. Keys that are no names cannot be written."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return json.dumps(value)


def arguments() -> Iterator[tuple[str, str, GraphQLField, str, GraphQLArgument]]:
    """An argument of each type, with its field and the type of the operation."""
    found: set[str] = set()
    for operation, root in ROOTS.items():
        assert root is not None
        for field_name, field in root.fields.items():
            for name, argument in field.args.items():
                if str(argument.type) in found:
                    continue
                found.add(str(argument.type))
                yield operation, field_name, field, name, argument


def selection(field: GraphQLField) -> str:
    named = get_named_type(field.type)
    if is_leaf_type(named):
        return ""
    has_user_errors = "userErrors" in getattr(named, "fields", {})
    return "{ __typename userErrors { message field } }" if has_user_errors else "{ __typename }"


def others(field: GraphQLField, name: str) -> str:
    """The other arguments that a field requires."""
    return "".join(
        f", {other}: {literal(complete_value(argument.type))}"
        for other, argument in field.args.items()
        if other != name and is_required_argument(argument)
    )


@pytest_asyncio.fixture(params=["always", "never"])
async def admin_client(
    request: pytest.FixtureRequest, sqlite_only: DatabaseOptions
) -> AsyncIterator[tuple[Client, bool]]:
    """A client with every permission, and whether it may introspect the schema."""
    settings = Settings(introspection=request.param, cost_per_minute=0)
    async with connect_database(sqlite_only) as database:
        gateway = Gateway(database, settings=settings)
        yield gateway.client(await make_user(database, role=UserRole.ADMIN)), request.param == "always"


def messages(answer: Any) -> list[str]:
    return [error["message"] for error in answer.errors]


def disclosed_names(answer: Any, text: str) -> set[str]:
    """The names of the schema in the messages that the request does not contain."""
    words = {
        word
        for message in messages(answer)
        for quoted in re.findall(r"['`]([^'`]*)['`]", message) + re.findall(r"\b\w*[a-z_]+[A-Z]\w*\b", message)
        for word in re.findall(r"\w+", quoted)
    }
    return (words & NAMES) - {"id"} - set(re.findall(r"\w+", text))


SECRETS = re.compile("password|token|secret", re.IGNORECASE)


def requests() -> Iterator[tuple[str, dict[str, Value]]]:
    """Operations with every mistake at every place of every argument, as a variable and as a literal.

    All of them for arguments with secrets, and a sample of the others unless the tests are exhaustive.
    """
    rest: list[tuple[str, dict[str, Value]]] = []
    for operation, field_name, field, name, argument in arguments():
        end = f"{others(field, name)}) {selection(field)} }}"
        has_secret = SECRETS.search(str(getattr(get_named_type(argument.type), "fields", "")))
        for value in wrong_values(argument.type):
            pair = [
                (f"{operation}($v: {argument.type}) {{ {field_name}({name}: $v{end}", {"v": value}),
                (f"{operation} {{ {field_name}({name}: {literal(value)}{end}", {}),
            ]
            if has_secret:
                yield from pair
            else:
                rest += pair
    yield from rest if EXHAUSTIVE else random.Random(13).sample(rest, 300)  # noqa: S311 (a sample of test cases)


@pytest.mark.usefixtures("cheap_passwords")
async def test_no_message_contains_a_value_or_a_hidden_name(
    admin_client: tuple[Client, bool], caplog: pytest.LogCaptureFixture
) -> None:
    client, may_introspect = admin_client
    caplog.set_level(logging.DEBUG, "gateway")
    for text, variables in requests():
        answer = await client.ask(text, **variables)
        body = json.dumps(answer.body)
        assert SECRET not in body.replace(f"Unknown field '{SECRET}'", ""), (text, variables, body)
        if answer.codes != ["QUERY_TOO_COMPLEX"]:  # which has the requested cost
            assert str(NUMBER) not in body, (text, variables, body)
        assert "INTERNAL_SERVER_ERROR" not in answer.codes, (text, variables)
        if not may_introspect:
            assert disclosed_names(answer, text + json.dumps(variables)) == set(), body
    assert SECRET not in caplog.text


SIGN_UP = "mutation($i: SignUpInput!) { signUp(input: $i) { userErrors { message } } }"


@ON_SQLITE
async def test_a_missing_field_does_not_repeat_the_input(gateway: Gateway) -> None:
    answer = await gateway.client().ask(SIGN_UP, i={"email": "ada@example.com", "password": SECRET, "firstName": 5})
    assert messages(answer) == [
        "Variable '$i' has invalid value at .firstName: Expected a string.",
        "Variable '$i' has invalid value: The required field 'lastName' is missing.",
    ]
    assert (answer.status, answer.codes) == (200, ["GRAPHQL_VALIDATION_FAILED"] * 2)


SYNTAX = {
    f'{{ a(b "{SECRET}" c) }}': "Expected ':', found String.",
    f'{{ a(b: "x"{SECRET}) }}': "Expected ':', found ')'.",
    f'{{ a(b: """{SECRET}""": 4) }}': "Expected Name, found ':'.",
    f'{{ a(b: "\\u{{{SECRET}}}") }}': "Invalid Unicode escape sequence.",
    f"{{ a }} {SECRET}": "Unexpected Name.",
    f"{{ a(b: {NUMBER} 5) }}": "Expected Name, found Int.",
    f"{{ a(b: c {NUMBER}.5) }}": "Expected Name, found Float.",
    f"query($a: {SECRET}[) {{ a }}": "Expected '$', found '['.",
}


@ON_SQLITE
async def test_a_syntax_error_quotes_nothing_of_the_document(gateway: Gateway) -> None:
    for text, message in SYNTAX.items():
        answer = await gateway.client().ask(text)
        assert messages(answer) == [f"Syntax Error: {message}"], text
        assert answer.errors[0]["locations"][0]["line"] == 1


HIDDEN: dict[str, list[str]] = {
    "mutation { signUp(input: {}) { userErrors { code } } }": ["A required field is missing."] * 4,
    "mutation { signUp(input: 5) { userErrors { code } } }": ["An object is expected here."],
    "mutation { signUp { userErrors { code } } }": ["A required argument of the field 'signUp' is missing."],
    "mutation { signUp(input: null) { userErrors { code } } }": ["This must not be null."],
    "mutation { signUp(inputs: 5, input: {emial: 5}) { x } }": [
        "Unknown argument 'inputs'.",
        *["A required field is missing."] * 4,
        "Too many validation errors, error limit reached. Validation aborted.",
    ],
    "{ viewer }": ["Field 'viewer' must have a selection of subfields."],
    "{ viewer { email { x } } }": ["A field that has no subfields must not have a selection."],
    "{ viewer { taks } }": ["Cannot query field 'taks' here."],
    "{ tasks(frist: 5) { totalCount } }": ["Unknown argument 'frist'."],
    "{ tasks(filter: {status: {eq: DON}}) { totalCount } }": ["This value does not have the expected type."],
    "{ tasks(first: PENDING) { totalCount } }": ["This value does not have the expected type."],
    "query($a: String) { tasks(first: $a) { totalCount } }": ["Variable '$a' does not have the type expected here."],
    "{ viewer { ... on Task { id } } }": ["This fragment cannot match any object here."],
    "{ a: viewer { id } a: tasks { totalCount } }": [
        "Fields 'a' conflict. Use different aliases on the fields to fetch both."
    ],
    "query($a: Taks) { viewer { id } }": ["Variable '$a' is never used.", "Unknown type 'Taks'."],
    "{ viewer @skpi(if: true) { id } }": ["Unknown directive '@skpi'."],
    "{ viewer @skip { id } }": ["A required argument of the directive 'skip' is missing."],
    "{ dueTasks { id } }": ["A required argument of the field 'dueTasks' is missing."],
}


@ON_SQLITE
async def test_anonymous_callers_learn_no_names_if_they_may_not_introspect(database: Database) -> None:
    caller = Gateway(database, settings=Settings(introspection="signed_in")).client()
    for text, expected in HIDDEN.items():
        answer = await caller.ask(text)
        assert messages(answer) == expected, text
        assert disclosed_names(answer, text) == set()
    answer = await caller.ask(SIGN_UP, i={"emial": 5})
    assert messages(answer) == [
        *["Variable '$i' has invalid value: A required field is missing."] * 4,
        "Variable '$i' has invalid value: Unknown field 'emial'.",
    ]
