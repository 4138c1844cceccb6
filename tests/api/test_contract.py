"""The contract: what is committed, described, named and permitted; and that views show what their rows have."""

import datetime as dt
import inspect
import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

import strawberry
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    build_schema,
    get_named_type,
    is_specified_directive,
    is_specified_scalar_type,
)
from strawberry.types.base import StrawberryList, StrawberryOptional
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.field import StrawberryField

from repositories.permissions import PERMISSIONS, Permission, RoleName
from repositories.sql.table import Column, Table
from repositories.tables import life_lock as rows
from schema import schema
from schema.types.view import VIEWS, Node, column
from tests.api.client import ROOT

GRAPH: GraphQLSchema = schema._schema


def test_the_committed_contract_is_current() -> None:
    """If not: `siso schema export > schema/schema.graphql`, and read the difference."""
    assert (ROOT / "schema" / "schema.graphql").read_text("utf-8") == schema.as_str() + "\n"


def _undescribed(graph: GraphQLSchema) -> Iterator[str]:
    """Everything in a schema that has no description."""
    for name, kind in graph.type_map.items():
        if not name.startswith("__") and not is_specified_scalar_type(kind):
            if not kind.description:
                yield name
            yield from _undescribed_in(name, kind)
    for directive in graph.directives:
        if not is_specified_directive(directive) and not directive.description:
            yield f"@{directive.name}"


def _undescribed_in(name: str, kind: GraphQLNamedType) -> Iterator[str]:
    if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
        for field_name, field in kind.fields.items():
            if not field.description:
                yield f"{name}.{field_name}"
            yield from (f"{name}.{field_name}({each}:)" for each, given in field.args.items() if not given.description)
    if isinstance(kind, GraphQLInputObjectType):
        yield from (f"{name}.{each}" for each, given in kind.fields.items() if not given.description)
    if isinstance(kind, GraphQLEnumType):
        yield from (f"{name}.{each}" for each, value in kind.values.items() if not value.description)


def test_everything_has_a_description() -> None:
    assert list(_undescribed(GRAPH)) == []


def test_what_has_no_description_is_found() -> None:
    found = _undescribed(
        build_schema(
            'type Query { "it" good: String bad(arg: E): String } enum E { A } input I { a: Int } '
            "directive @d on FIELD scalar S"
        )
    )
    assert list(found) == ["Query", "Query.bad", "Query.bad(arg:)", "E", "E.A", "I", "I.a", "S", "@d"]


def test_every_scalar_names_its_specification() -> None:
    scalars = {
        name: kind
        for name, kind in GRAPH.type_map.items()
        if isinstance(kind, GraphQLScalarType) and not is_specified_scalar_type(kind)
    }
    assert set(scalars) == {"DateTime", "Date", "UUID", "Decimal", "JSON"}
    assert [name for name, kind in scalars.items() if not kind.specified_by_url] == []


def _without_null(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in {Union, types.UnionType}:
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return inner[0], len(inner) < len(get_args(annotation))
    return annotation, False


def _of_the_row(row: type, name: str) -> tuple[Any, bool] | None:
    """The type of a row's value and whether it may be missing; None if the row has no such value."""
    for base in row.__mro__:
        annotation = inspect.get_annotations(base, eval_str=True).get(name)
        if annotation is not None:
            origin: Any = get_origin(annotation)
            inner = get_args(annotation)[0] if origin is Column else annotation
            return _without_null(inner)
    return None


def _shown_type(kind: Any) -> Any:
    """The Python type behind a Strawberry type."""
    if isinstance(kind, StrawberryEnumDefinition):
        return kind.wrapped_cls
    return kind


def _misfits(views: dict[type, Any]) -> Iterator[str]:
    """Every plain column of every view that its row does not have, has of another type, or may be missing."""
    for view, shown in views.items():
        definition = view.__strawberry_definition__  # type: ignore[attr-defined]
        for field in definition.fields:
            if field.base_resolver is not None:
                continue
            place = f"{definition.name}.{field.python_name}"
            stored = _of_the_row(shown.row, field.python_name)
            if stored is None:
                yield f"{place} is not in {shown.row.__name__}"
                continue
            kind, is_optional = (
                (field.type.of_type, True) if isinstance(field.type, StrawberryOptional) else (field.type, False)
            )
            if stored[1] and not is_optional:
                yield f"{place} may be null"
            if not stored[1] and is_optional:
                yield f"{place} is never null"
            if not _fits(stored[0], _shown_type(kind)):
                yield f"{place} shows {stored[0]} as {kind}"


def _fits(stored: Any, shown: Any) -> bool:
    if shown in VIEWS:
        return VIEWS[shown].row is stored
    if getattr(shown, "__name__", "") == "JSON" or type(shown).__name__ == "NewType":
        return stored is Any or get_origin(stored) in {dict, list}
    return not isinstance(shown, StrawberryList) and stored is shown


def test_every_view_fits_its_row() -> None:
    """Columns exist, with the same type, nullable exactly where the row's are."""
    assert len(VIEWS) >= 9
    assert list(_misfits(dict(VIEWS))) == []


def test_a_view_that_does_not_fit_is_found() -> None:
    """The test above can fail: for a missing column, another type, and either mistake with null."""

    @strawberry.type
    class Wrong(Node):
        """Shows a task all wrong."""

        titel: str = column("Misspelled.")
        title: int = column("Of another type.")
        description: str = column("Null where it is promised not to be.")
        version: int | None = column("Never null.")
        due_date: dt.date | None = column("Of another type.")
        status: list[str] = column("A list.")
        priority_level: int = column("Right.")

    class Fake:
        row = rows.Task

    assert list(_misfits({Wrong: Fake})) == [
        "Wrong.titel is not in Task",
        "Wrong.title shows <class 'str'> as <class 'int'>",
        "Wrong.description may be null",
        "Wrong.version is never null",
        "Wrong.due_date shows <class 'datetime.datetime'> as <class 'datetime.date'>",
        f"Wrong.status shows {rows.TaskStatus} as {_list_of_text(Wrong)}",
    ]


def _list_of_text(view: type) -> Any:
    definition = view.__strawberry_definition__  # type: ignore[attr-defined]
    return next(field.type for field in definition.fields if field.python_name == "status")


def test_rows_that_tables_make_hold_what_they_say() -> None:
    """The annotations that the comparison reads are those the rows are made by."""
    for view, shown in VIEWS.items():
        fields = shown.row.__fields__ if issubclass(shown.row, Table) else shown.row._fields  # type: ignore[attr-defined]
        assert all(_of_the_row(shown.row, name) for name in fields), view


_NO_INPUT = {"refreshUserDashboardStats"}
"""Mutations that need no input: there is nothing a person could get wrong, so they answer no userErrors."""


_SIGNING_IN = {"signUp", "signIn", "refreshSession"}
_TOKENS = ["accessToken", "refreshToken", "expiresAt", "viewer"]


def test_mutations_are_named_alike() -> None:
    """``doThing(input: DoThingInput!): DoThingPayload!`` with a nullable result and userErrors."""
    assert GRAPH.mutation_type is not None
    for name, field in GRAPH.mutation_type.fields.items():
        spelled = name[0].upper() + name[1:]
        assert str(field.type) == f"{spelled}Payload!"
        assert {key: str(given.type) for key, given in field.args.items()} == (
            {} if name in _NO_INPUT else {"input": f"{spelled}Input!"}
        )
        payload = get_named_type(field.type)
        assert isinstance(payload, GraphQLObjectType)
        if name not in _NO_INPUT:
            *results, errors = payload.fields
            assert (errors, str(payload.fields[errors].type)) == ("userErrors", "[UserError!]!")
            assert results == _TOKENS if name in _SIGNING_IN else len(results) == 1
            assert not any(isinstance(payload.fields[result].type, GraphQLNonNull) for result in results)


def test_ids_in_inputs_are_global_ids() -> None:
    """``id`` and ``...Id`` are ``ID``; a bare UUID is only ever ``databaseId``; an update names the version it saw."""
    for name, kind in GRAPH.type_map.items():
        if not isinstance(kind, GraphQLInputObjectType) or not name.endswith("Input"):
            continue
        for key, given in kind.fields.items():
            assert (get_named_type(given.type).name == "ID") == (
                key == "id" or (key.endswith("Id") and key != "databaseId")
            ), key
            assert (get_named_type(given.type).name == "UUID") == (key == "databaseId"), key
    update = GRAPH.type_map["UpdateTaskInput"]
    assert isinstance(update, GraphQLInputObjectType)
    assert (str(update.fields["id"].type), str(update.fields["version"].type)) == ("ID!", "Int!")


def test_connections_are_relays() -> None:
    for name, kind in GRAPH.type_map.items():
        if not name.endswith("Connection"):
            continue
        assert isinstance(kind, GraphQLObjectType)
        node = name.removesuffix("Connection")
        assert {key: str(field.type) for key, field in kind.fields.items()} == {
            "edges": f"[{node}Edge!]!",
            "nodes": f"[{node}!]!",
            "pageInfo": "PageInfo!",
            "totalCount": "Int!",
        }
        edge = GRAPH.type_map[f"{node}Edge"]
        assert isinstance(edge, GraphQLObjectType)
        assert {key: str(field.type) for key, field in edge.fields.items()} == {"node": f"{node}!", "cursor": "String!"}


def _required(field: StrawberryField) -> Permission | None:
    """The permission that a field's resolver checks."""
    assert field.base_resolver is not None
    resolve: Any = field.base_resolver.wrapped_func
    found = resolve.resolution.requires
    assert found is None or isinstance(found, Permission)
    return found


_PUBLIC = {"viewer", *_SIGNING_IN}
_BY_ROW = {"node", "nodes"}
"""Need somebody signed in (see the tests of isolation); what is found is what its own field would show."""


def test_every_root_field_requires_a_permission() -> None:
    """Or is public on purpose."""
    required: dict[str, Permission | None] = {}
    for root in ("Query", "Mutation"):
        definition = schema.get_type_by_name(root)
        for field in definition.fields:  # type: ignore[union-attr]
            required[schema.config.name_converter.get_graphql_name(field)] = _required(field)
    assert {name for name, permission in required.items() if permission is None} == _PUBLIC | _BY_ROW
    assert GRAPH.mutation_type is not None
    writing = {name: required[name] for name in GRAPH.mutation_type.fields}
    assert [name for name, permission in writing.items() if permission is None and name not in _SIGNING_IN] == []


def test_every_role_has_its_permissions() -> None:
    """Admins have all, and whoever has another role may do what every user may."""
    assert PERMISSIONS[RoleName.ADMIN] == set(Permission)
    assert set(PERMISSIONS) == set(RoleName)
    assert all(PERMISSIONS[RoleName.USER] <= PERMISSIONS[role] for role in RoleName)
    assert {Permission.STATISTICS_READ, Permission.STATISTICS_REFRESH}.isdisjoint(PERMISSIONS[RoleName.USER])
    partnership = {Permission.PARTNERSHIP_READ, Permission.PARTNERSHIP_WRITE}
    assert {role for role in RoleName if PERMISSIONS[role] & partnership} == {
        RoleName.PARTNERSHIP_MANAGER,
        RoleName.ADMIN,
    }
