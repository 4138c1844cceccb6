"""The schema: the committed SDL, descriptions, names and permissions, and that views match their rows."""

import datetime as dt
import inspect
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

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
from strawberry.types.lazy_type import LazyType
from strawberry.utils.str_converters import to_camel_case

from repositories.aggregates.derived import has_events
from repositories.core.event import all_event_types
from repositories.permissions import PERMISSIONS, Permission, Requirement, RoleName
from repositories.sql.aggregate import aggregates
from repositories.sql.table import Column, Table
from repositories.tables import life_lock as rows
from schema import schema
from schema.types.view import VIEWS, Node, column
from tests.api.client import ROOT

GRAPH: GraphQLSchema = schema._schema


def test_the_committed_sdl_is_current() -> None:
    """If it fails, run `siso schema export schema/schema.graphql` and review the difference."""
    assert (ROOT / "schema" / "schema.graphql").read_text("utf-8") == schema.as_str() + "\n"


def _find_undescribed(graph: GraphQLSchema) -> Iterator[str]:
    """The names of the schema's elements that have no description."""
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
            yield from (
                f"{name}.{field_name}({each}:)" for each, argument in field.args.items() if not argument.description
            )
    if isinstance(kind, GraphQLInputObjectType):
        yield from (f"{name}.{each}" for each, field in kind.fields.items() if not field.description)
    if isinstance(kind, GraphQLEnumType):
        yield from (f"{name}.{each}" for each, value in kind.values.items() if not value.description)


def test_everything_has_a_description() -> None:
    assert list(_find_undescribed(GRAPH)) == []


def test_descriptions_name_fields_as_clients_write_them() -> None:
    text = schema.as_str()
    assert re.findall("`[a-z]+_[a-z_]+`", text) == []
    assert re.findall(r"\badmins?\b", text) == []


def test_each_subscription_to_changes_names_an_event_of_its_aggregate() -> None:
    found = {}
    for aggregate in filter(has_events, aggregates.values()):
        change: Any = GRAPH.type_map[f"{aggregate.type_name}Change"]
        name = change.fields["eventType"].description.removeprefix("What happened, such as ").removesuffix(".")
        assert name in {kind.__name__ for kind in all_event_types() if kind.aggregate == aggregate.name}
        found[aggregate.type_name] = name
    assert found["Task"] == "TaskUpdated"
    assert found["User"] == "ProfileUpdated"
    assert found["Session"] == "SessionRevoked"


def test_descriptions_of_derived_fields_say_what_null_and_whose_rows() -> None:
    roots: Any = (GRAPH.query_type, GRAPH.mutation_type)
    queries, mutations = (root.fields for root in roots)
    assert queries["tasks"].description == (
        "The viewer's own tasks, for administrators those of all users; see `scope`. By default the most urgent first, "
        "then by due date."
    )
    assert queries["pointHistory"].description == (
        "The points that were awarded to or deducted from the viewer, for administrators those of all users. By "
        "default the newest first."
    )
    reward: Any = GRAPH.type_map["UpdateRewardInput"]
    assert reward.fields["stock"].description.endswith("Null makes the number unlimited.")
    assert reward.fields["description"].description.endswith("Null removes it.")
    assert mutations["restoreClients"].description == (
        "Restores deleted clients as `restoreClient` does, all or none. Possible errors: VALIDATION_ERROR, NOT_FOUND, "
        "CONFLICT as for `restoreClient`, with the index in `field`."
    )
    taken = "CONFLICT if the `name` is taken, with the index in `field`; QUOTA_EXCEEDED."
    swap = " Two categories cannot swap their `name`: this is a CONFLICT."
    assert mutations["updateCategories"].description.endswith(taken + swap)
    assert "is taken" not in mutations["updateReferrals"].description


def test_missing_descriptions_are_found() -> None:
    undescribed = _find_undescribed(
        build_schema(
            'type Query { "it" good: String bad(arg: E): String } enum E { A } input I { a: Int } '
            "directive @d on FIELD scalar S"
        )
    )
    assert list(undescribed) == ["Query", "Query.bad", "Query.bad(arg:)", "E", "E.A", "I", "I.a", "S", "@d"]


def test_every_scalar_has_a_specification() -> None:
    scalars = {
        name: kind
        for name, kind in GRAPH.type_map.items()
        if isinstance(kind, GraphQLScalarType) and not is_specified_scalar_type(kind)
    }
    assert set(scalars) == {"DateTime", "Date", "UUID", "Decimal", "JSON", "BigInt"}
    assert [name for name, kind in scalars.items() if not kind.specified_by_url] == []


def _without_null(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in {Union, types.UnionType}:
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return inner[0], len(inner) < len(get_args(annotation))
    return annotation, False


def _row_type(row: type, name: str) -> tuple[Any, bool] | None:
    """The type of a row's attribute and whether it is nullable, None if the row has no such attribute."""
    for base in row.__mro__:
        annotation = inspect.get_annotations(base, eval_str=True).get(name)
        if annotation is not None:
            origin: Any = get_origin(annotation)
            inner = get_args(annotation)[0] if origin in {Column, Annotated} else annotation
            return _without_null(inner)
    return None


def _python_type(kind: Any) -> Any:
    """The Python type of a Strawberry type."""
    if isinstance(kind, StrawberryEnumDefinition):
        return kind.wrapped_cls
    return kind.resolve_type() if isinstance(kind, LazyType) else kind


def _mismatches(views: dict[type, Any]) -> Iterator[str]:
    """Describes each plain column of a view that its row lacks, or has with another type or nullability."""
    for kind, view in views.items():
        definition = kind.__strawberry_definition__  # type: ignore[attr-defined]
        for field in definition.fields:
            if field.base_resolver is not None:
                continue
            place = f"{definition.name}.{field.python_name}"
            stored = _row_type(view.row, field.python_name)
            if stored is None:
                yield f"{place} is not in {view.row.__name__}"
                continue
            shown, is_optional = (
                (field.type.of_type, True) if isinstance(field.type, StrawberryOptional) else (field.type, False)
            )
            if stored[1] and not is_optional:
                yield f"{place} may be null"
            if not stored[1] and is_optional:
                yield f"{place} is never null"
            if not _matches(stored[0], _python_type(shown)):
                yield f"{place} shows {stored[0]} as {shown}"


def _matches(stored: Any, shown: Any) -> bool:
    if shown in VIEWS:
        return VIEWS[shown].row is stored
    if getattr(shown, "__name__", "") == "JSON" or type(shown).__name__ == "NewType":
        return stored is shown or stored is Any or get_origin(stored) in {dict, list}
    return not isinstance(shown, StrawberryList) and stored is shown


def test_every_view_matches_its_row() -> None:
    """Its columns exist in the row, with the same type and nullability."""
    assert len(VIEWS) >= 9
    assert list(_mismatches(dict(VIEWS))) == []


def test_mismatches_are_found() -> None:
    """The test above can fail: for a missing column, another type, and either mistake with null."""

    @strawberry.type
    class Wrong(Node):
        """A view of a task with every kind of mismatch."""

        titel: str = column("Misspelled.")
        title: int = column("Of another type.")
        description: str = column("Null where it is promised not to be.")
        version: int | None = column("Never null.")
        due_date: dt.date | None = column("Of another type.")
        status: list[str] = column("A list.")
        priority_level: int = column("Right.")

    class Fake:
        row = rows.Task

    assert list(_mismatches({Wrong: Fake})) == [
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


def test_every_field_of_a_row_is_annotated() -> None:
    """Otherwise the comparison of views with their rows would skip it."""
    for kind, view in VIEWS.items():
        fields = view.row.__fields__ if issubclass(view.row, Table) else view.row._fields  # type: ignore[attr-defined]
        assert all(_row_type(view.row, name) for name in fields), kind


_NO_INPUT = {"refreshUserDashboardStats"}
"""Mutations without an input, and so without userErrors."""


_SIGNING_IN = {"signUp", "signIn", "refreshSession"}
_TOKENS = ["accessToken", "refreshToken", "deviceToken", "expiresAt", "viewer"]


def test_mutations_follow_the_naming_convention() -> None:
    """``doThing(input: DoThingInput!): DoThingPayload`` with a nullable result and userErrors."""
    assert GRAPH.mutation_type is not None
    for name, field in GRAPH.mutation_type.fields.items():
        prefix = name[0].upper() + name[1:]
        assert str(field.type) == f"{prefix}Payload"
        assert {key: str(argument.type) for key, argument in field.args.items()} == (
            {} if name in _NO_INPUT else {"input": f"{prefix}Input!"}
        )
        payload = get_named_type(field.type)
        assert isinstance(payload, GraphQLObjectType)
        if name not in _NO_INPUT:
            *results, errors = payload.fields
            assert (errors, str(payload.fields[errors].type)) == ("userErrors", "[UserError!]!")
            assert results == _TOKENS if name in _SIGNING_IN else len(results) == 1
            assert not any(isinstance(payload.fields[result].type, GraphQLNonNull) for result in results)


def test_ids_in_inputs_are_global_ids() -> None:
    """``id`` and ``...Id`` are ``ID``, only ``databaseId`` is a UUID, and an update requires the version."""
    for name, kind in GRAPH.type_map.items():
        if not isinstance(kind, GraphQLInputObjectType) or not name.endswith("Input"):
            continue
        for key, field in kind.fields.items():
            assert (get_named_type(field.type).name == "ID") == (
                key in {"id", "ids"} or (key.endswith("Id") and key != "databaseId")
            ), key
            assert (get_named_type(field.type).name == "UUID") == (key == "databaseId"), key
    update = GRAPH.type_map["UpdateTaskInput"]
    assert isinstance(update, GraphQLInputObjectType)
    assert (str(update.fields["id"].type), str(update.fields["version"].type)) == ("ID!", "Int!")


def test_aggregates_without_events_have_no_history_and_no_subscription() -> None:
    """Their rows never change, or an event of another object tells about a change."""
    assert GRAPH.subscription_type is not None
    for aggregate in aggregates.values():
        kind: Any = GRAPH.type_map[aggregate.type_name]
        has_events = aggregate.type_name not in {"JobRun", "PointEntry", "Role", "RoleGrant"}
        assert ("history" in kind.fields) == has_events, aggregate.type_name
        changes = to_camel_case(f"{aggregate.name}_changed")
        assert (changes in GRAPH.subscription_type.fields) == has_events, aggregate.type_name


def test_only_preferences_have_no_root_fields() -> None:
    """They are a field of their user."""
    assert GRAPH.query_type is not None
    names = {aggregate.type_name: to_camel_case(aggregate.name) for aggregate in aggregates.values()}
    missing = {kind for kind, name in names.items() if name not in GRAPH.query_type.fields}
    assert missing == {"UserPreferences"}


def test_connections_have_the_fields_of_relay() -> None:
    for name, kind in GRAPH.type_map.items():
        if not name.endswith("Connection"):
            continue
        assert isinstance(kind, GraphQLObjectType)
        node = name.removesuffix("Connection")
        groups = {"groups": "[Group!]!"} if f"{node}GroupField" in GRAPH.type_map else {}
        assert {key: str(field.type) for key, field in kind.fields.items()} == {
            **groups,
            "edges": f"[{node}Edge!]!",
            "nodes": f"[{node}!]!",
            "pageInfo": "PageInfo!",
            "totalCount": "Int!",
        }
        edge = GRAPH.type_map[f"{node}Edge"]
        assert isinstance(edge, GraphQLObjectType)
        assert {key: str(field.type) for key, field in edge.fields.items()} == {"node": f"{node}!", "cursor": "String!"}


def _required(field: StrawberryField) -> Requirement | None:
    """The permission that a field's resolver requires."""
    assert field.base_resolver is not None
    resolve: Any = field.base_resolver.wrapped_func
    permission = resolve.resolution.requires
    assert permission is None or isinstance(permission, Permission) or (permission and permission <= set(RoleName))
    return permission


_BY_MAIL = {"verifyEmail", "requestPasswordReset", "resetPassword", "confirmEmailChange"}
"""Mutations of people who cannot sign in, or who have opened a link on another device."""
_CATALOG = {"product", "products", "productCategory", "productCategories", "productCategoryTree"}
_PUBLIC = {"viewer", *_CATALOG, *_SIGNING_IN, *_BY_MAIL}
_BY_ROW = {"node", "nodes"}
"""Require a signed-in viewer (see tests/api/test_isolation.py), and return what the object's own root field returns."""


def test_every_root_field_requires_a_permission() -> None:
    """The only exceptions are the public fields."""
    required: dict[str, Requirement | None] = {}
    for root in ("Query", "Mutation"):
        definition = schema.get_type_by_name(root)
        for field in definition.fields:  # type: ignore[union-attr]
            required[schema.config.name_converter.get_graphql_name(field)] = _required(field)
    assert {name for name, permission in required.items() if permission is None} == _PUBLIC | _BY_ROW
    assert GRAPH.mutation_type is not None
    writing = {name: required[name] for name in GRAPH.mutation_type.fields}
    assert {name for name, permission in writing.items() if permission is None} == _SIGNING_IN | _BY_MAIL


def test_every_role_has_its_permissions() -> None:
    """Admins have all permissions, and every role has those of users."""
    assert PERMISSIONS[RoleName.ADMIN] == set(Permission)
    assert set(PERMISSIONS) == set(RoleName)
    assert all(PERMISSIONS[RoleName.USER] <= PERMISSIONS[role] for role in RoleName)
    assert {Permission.STATISTICS_READ, Permission.STATISTICS_REFRESH}.isdisjoint(PERMISSIONS[RoleName.USER])
    partnership = {Permission.PARTNERSHIP_READ, Permission.PARTNERSHIP_WRITE}
    assert {role for role in RoleName if PERMISSIONS[role] & partnership} == {
        RoleName.PARTNERSHIP_MANAGER,
        RoleName.ADMIN,
    }
    of_roles = {
        Permission.CATALOG_WRITE: RoleName.CATALOG_MANAGER,
        Permission.ORDER_MANAGE: RoleName.ORDER_MANAGER,
        Permission.COMMERCE_READ: RoleName.ORDER_MANAGER,
    }
    for permission, name in of_roles.items():
        assert {role for role in RoleName if permission in PERMISSIONS[role]} == {name, RoleName.ADMIN}
