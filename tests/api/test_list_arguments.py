"""An error of a value in a list names the place of the value, for every list that a client can send.

The cases are generated from the schema: every argument, and every field of an input, in which a text or an id is in a
list. The text is NUL, which nothing accepts, and the id is no id.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from graphql import (
    GraphQLField,
    GraphQLObjectType,
    get_named_type,
    is_enum_type,
    is_input_object_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
    is_required_input_field,
)
from strawberry.utils.str_converters import to_camel_case

from gateway.execution.request_errors import RequestError
from gateway.settings import Settings
from repositories.aggregates.derived import has_events
from repositories.core.errors import InputError
from repositories.core.ids import new_id
from repositories.engines.database import Database
from repositories.sql.aggregate import Commands, aggregates
from repositories.tables.administration import Role
from repositories.tables.identity import User, UserPreferences
from resolvers.aggregates.derived_inputs import plural_type
from schema import schema
from tests.api.client import Gateway, gid
from tests.api.subscribing import SubscribingProcess
from tests.factories import (
    make_category,
    make_client,
    make_order,
    make_partner,
    make_product,
    make_product_category,
    make_task,
)

_TYPES = schema._schema.type_map
_PARENTS = {
    "Category": "categories { nodes { %s } }",
    "Client": "clients { nodes { %s } }",
    "Order": "orders { nodes { %s } }",
    "Partner": "partners { nodes { %s } }",
    "Product": "products { nodes { %s } }",
    "ProductCategory": "productCategories { nodes { %s } }",
    "Role": "roles { %s }",
    "User": "viewer { %s }",
}
"""A query for each type with a field that takes lists."""
_VALID: Mapping[str, Any] = {
    "ID": gid("Task", new_id()),
    "String": "x",
    "Int": 1,
    "Boolean": True,
    "UUID": str(new_id()),
    "Decimal": "1",
    "Date": "2026-06-15",
    "DateTime": "2026-06-15T12:00:00Z",
}
_VALID_FIELDS: Mapping[str, Any] = {"email": "ada@example.org", "criteria": {"count": 1}, "priceCurrency": "EUR"}
_REPORTED_TOO = {"id", "clientId", "email", "name", "code", "slug", "sku"}
"""Fields of the simplest valid values: rows that do not exist, and values that must be unique."""
_MAX_DEPTH = 2
"""How often a type may be nested in itself."""
_MAX_LEVELS = 3
"""How many inputs may be nested in each other."""

Path = tuple[str | int, ...]


class Case(NamedTuple):
    """A field with an invalid value, and the place of the value in the field's arguments."""

    parent: str
    field: str
    document: str
    value: Any
    path: list[str]


def _valid(kind: Any) -> Any:
    """The simplest valid value."""
    if is_non_null_type(kind):
        return _valid(kind.of_type)
    if is_list_type(kind):
        return [_valid(kind.of_type)]
    if is_enum_type(kind):
        return next(iter(kind.values))
    if is_input_object_type(kind):
        fields = {name: field for name, field in kind.fields.items() if is_required_input_field(field)}
        return {name: _VALID_FIELDS.get(name, _valid(field.type)) for name, field in fields.items()}
    return _VALID[kind.name]


def _invalid_values(kind: Any, outer: tuple[Any, ...] = ()) -> Iterator[tuple[Path, Any]]:
    """Every value of the type with one invalid text or id, and the place of that text or id."""
    if is_non_null_type(kind):
        yield from _invalid_values(kind.of_type, outer)
    elif is_list_type(kind):
        item = kind.of_type.of_type if is_non_null_type(kind.of_type) else kind.of_type
        before = [_valid(item)] if is_input_object_type(item) else []
        for path, value in _invalid_values(item, outer):
            yield (len(before), *path), [*before, value]
    elif is_input_object_type(kind):
        if outer.count(kind) < _MAX_DEPTH and len(outer) < _MAX_LEVELS:
            for name, field in kind.fields.items():
                for path, value in _invalid_values(field.type, (*outer, kind)):
                    yield (name, *path), {**_valid(kind), name: value}
    elif kind.name in {"ID", "String"}:
        yield (), "no id" if kind.name == "ID" else "\0"


def _cases(parent: GraphQLObjectType, name: str, field: GraphQLField) -> Iterator[Case]:
    for argument, declared in field.args.items():
        others = {
            other: _valid(given.type)
            for other, given in field.args.items()
            if other != argument and is_required_argument(given)
        }
        for path, value in _invalid_values(declared.type):
            if any(isinstance(step, int) for step in path):
                given = ", ".join([f"{argument}: $v", *(f"{other}: {text}" for other, text in others.items())])
                selection = "" if is_leaf_type(get_named_type(field.type)) else "{ __typename }"
                if parent.name == "Mutation":
                    selection = "{ userErrors { field } }"
                document = f"({'$v'}: {declared.type}) {{ %s }}" % _PARENTS.get(parent.name, "%s")
                yield Case(
                    parent.name,
                    name,
                    document % f"{name}({given}) {selection}",
                    value,
                    [str(step) for step in (argument, *path)],
                )


def _all_cases() -> list[Case]:
    found: list[Case] = []
    for kind in _TYPES.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            for name, field in kind.fields.items():
                found += _cases(kind, name, field)
    return found


CASES = _all_cases()


def _lists_of_aggregates() -> Iterator[str]:
    """The fields that are derived for aggregates and take lists of texts or ids."""
    for aggregate in aggregates.values():
        if aggregate.row not in (Role, UserPreferences):  # they have no list with filters
            yield f"Query.{to_camel_case(aggregate.plural)}"
        for command in (Commands.CREATE, Commands.UPDATE, Commands.DELETE, Commands.RESTORE):
            if command in aggregate.commands:
                yield f"Mutation.{aggregate.verb(command)}{plural_type(aggregate)}"
        if has_events(aggregate):
            yield f"Subscription.{to_camel_case(aggregate.name)}Changed"


def test_every_list_is_generated() -> None:
    """The fields with lists of texts or ids, nested ones included."""
    assert sorted({f"{case.parent}.{case.field}" for case in CASES}) == sorted(
        [
            *_lists_of_aggregates(),
            "Category.tasks",
            "Client.contacts",
            "Mutation.createClient",
            "Order.items",
            "Partner.referrals",
            "Product.stockMovements",
            "ProductCategory.children",
            "ProductCategory.products",
            "Query.auditLog",
            "Query.myOrders",
            "Query.nodes",
            "Role.grants",
            "Subscription.domainEvents",
            "Subscription.myEvents",
            "User.sessions",
        ]
    )


async def test_the_error_of_a_value_in_a_list_names_its_place(gateway: Gateway, admin: User) -> None:
    """In ``extensions.field`` of queries, and in ``userErrors`` of mutations. Values of filters are in lists, too.

    Mutations also report that ids do not exist, and ids and e-mail addresses that are given twice.
    """
    database = gateway.database
    await make_category(database, admin)
    await make_client(database, admin)
    await make_partner(database, admin)
    await make_product_category(database)
    await make_order(database, admin, await make_product(database))
    client = Gateway(database, settings=Settings(cost_per_minute=0)).client(admin)
    for case in CASES:
        if case.parent == "Mutation":
            answer = await client.data(f"mutation{case.document}", v=case.value)
            errors = [error["field"] for error in answer[case.field]["userErrors"]]
            assert errors.count(case.path[1:]) == 1, case
            assert {field[-1] for field in errors if field != case.path[1:]} <= _REPORTED_TOO, case
        elif case.parent != "Subscription":
            (error,) = (await client.ask(f"query{case.document}", v=case.value)).errors
            assert error["extensions"] == {"code": "VALIDATION_ERROR", "field": case.path}, case


async def test_the_error_of_a_value_in_a_list_of_a_subscription_names_its_place(
    database: Database, admin: User
) -> None:
    process = SubscribingProcess(database)
    for case in CASES:
        if case.parent == "Subscription":
            with pytest.raises(RequestError) as rejected:
                async with process.subscribe(admin, f"subscription{case.document}", v=case.value) as deliveries:
                    await anext(deliveries)
            (error,) = rejected.value.errors
            cause: Any = error.original_error
            assert isinstance(cause, InputError), case
            assert list(map(str, cause.path)) == [_snake(case.path[0]), *case.path[1:]], case


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


async def test_each_id_that_is_not_found_is_named_by_its_index(gateway: Gateway, ada: User, bob: User) -> None:
    """Ids of rows of other users, of unknown types, of another type, and texts that are no ids."""
    own, other = await make_task(gateway.database, ada), await make_task(gateway.database, bob)
    ids = [gid("Task", own), "no id", gid("Task", other), gid("Nothing", own), gid("Task", own), gid("Category", own)]
    answer = await gateway.client(ada).ask("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids)
    assert answer.data == {"nodes": [{"id": ids[0]}, None, None, None, {"id": ids[0]}, None]}
    assert [(error["path"], error["extensions"]) for error in answer.errors] == [
        (["nodes", index], {"code": code, "field": ["ids", str(index)]})
        for index, code in ((1, "VALIDATION_ERROR"), (2, "NOT_FOUND"), (3, "NOT_FOUND"), (5, "NOT_FOUND"))
    ]


async def test_the_error_of_a_single_id_names_its_argument(gateway: Gateway, ada: User) -> None:
    client = gateway.client(ada)
    for field in ("task", "category", "client", "taskEvents", "node"):
        for text, code in (("no id", "VALIDATION_ERROR"), (gid("Partner", ada.id), "NOT_FOUND")):
            answer = await client.ask(f"query($id: ID!) {{ {field}(id: $id) {{ __typename }} }}", id=text)
            (error,) = answer.errors
            assert error["extensions"] == {"code": code, "field": ["id"]}, (field, text)
