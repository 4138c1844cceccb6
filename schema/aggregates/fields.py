"""The root fields of aggregates: one row, a list, mutations, and a subscription to changes.

:func:`derive_roots` returns classes with the derived fields of all aggregates, from which Query, Mutation and
Subscription inherit. A field of a domain with the same name replaces the derived one.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

import strawberry
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.utils.str_converters import to_camel_case

from repositories.aggregates.derived import derive_event_types, has_events, repository_of
from repositories.core.event import Updated, all_event_types
from repositories.permissions import RoleName
from repositories.sql.aggregate import Aggregate, Commands, aggregates
from repositories.sql.filters import NO_FILTER, Filter, SortKey
from repositories.sql.page import PageRequest
from repositories.tables.events import DomainEvent
from resolvers.aggregates.derived_commands import derive_commands
from resolvers.aggregates.row_changes import stream_changes
from resolvers.aggregates.row_queries import ListScope, Trash, load_list, load_row
from resolvers.loading.edges import one
from resolvers.request.context import Context
from resolvers.streaming.deliveries import Source
from resolvers.validation.global_ids import global_id
from schema.aggregates.list_inputs import filter_of, order_of
from schema.aggregates.objects import connection_type, derive_type
from schema.operations.mutation import mutation
from schema.operations.subscription import subscription
from schema.types.connections import connection
from schema.types.derived_types import row_type
from schema.types.enums import publish_enum
from schema.types.view import Argument, column, edge, id_argument, ids_argument, root_field, view

Handlers = Mapping[str, Callable[..., Any]]


def derive_roots(
    queries: Iterable[type],
    mutations: Iterable[type],
    subscriptions: Iterable[type],
    declared: Iterable[Aggregate] | None = None,
) -> tuple[Any, ...]:
    """The classes with the derived fields of Query, Mutation and Subscription, without those that the classes have.

    ``declared`` are the aggregates, by default all.
    """
    derive_event_types()
    for found in aggregates.values():
        derive_type(found)
    taken = [_fields_of(classes) for classes in (queries, mutations, subscriptions)]
    derived: list[dict[str, Any]] = [{}, {}, {}]
    for found in aggregates.values() if declared is None else declared:
        if found.roots != frozenset():
            derived[0] |= _query_fields(found)
        derived[1] |= _mutation_fields(found, taken[1])
        if has_events(found):
            derived[2] |= {f"{found.name}_changed": _change_field(found)}
    names = ("DerivedQueries", "DerivedMutations", "DerivedSubscriptions")
    return tuple(
        _publish(name, {key: field for key, field in fields.items() if key not in known})
        for name, fields, known in zip(names, derived, taken, strict=True)
    )


def _fields_of(classes: Iterable[type]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for kind in classes:
        definition: StrawberryObjectDefinition = kind.__strawberry_definition__  # type: ignore[attr-defined]
        fields |= {field.python_name: field for field in definition.fields}
    return fields


def _publish(name: str, fields: Mapping[str, Any]) -> Any:
    return strawberry.type(type(name, (), dict(fields)))


# queries


def _query_fields(aggregate: Aggregate) -> dict[str, Any]:
    readers = aggregate.readers if aggregate.roots is None else aggregate.roots
    requires = None if aggregate.is_public else readers
    noun = aggregate.noun
    single = root_field(
        partial(_load_one, aggregate),
        f"The {noun} with this id. Null, with the error NOT_FOUND, if it does not exist or the viewer may not see it."
        f"{_roles_text(readers)}",
        row_type(aggregate.row) | None,
        {"id": id_argument(aggregate.type_name, f"The id of the {noun}.")},
        requires=requires,
    )
    by_default = f" By default {aggregate.order_text}." if aggregate.order_text else ""
    many = connection(
        partial(_load_many, aggregate),
        description=f"{_rows_text(aggregate)}{by_default}{_roles_text(readers)}",
        requires=requires,
        filter=filter_of(aggregate),
        order=order_of(aggregate),
        kind=connection_type(aggregate) | None,
        **list_arguments(aggregate),
    )
    return {aggregate.name: single, aggregate.plural: many}


def _rows_text(aggregate: Aggregate) -> str:
    """Which rows the list has."""
    plural = aggregate.plural.replace("_", " ")
    if aggregate.assignee is not None:
        return f"The viewer's own {plural}, for administrators those of all users; see `scope`."
    return f"The {aggregate.rows_text or f'{plural} that the viewer may see'}."


_ROLES = {RoleName.ADMIN: "administrators", RoleName.PARTNERSHIP_MANAGER: "partnership managers"}


def _roles_text(roles: frozenset[RoleName]) -> str:
    """Who may use a field, in words; empty if every user may."""
    if RoleName.USER in roles:
        return ""
    return f" For {' and '.join(_ROLES[name] for name in sorted(roles))}."


def list_arguments(aggregate: Aggregate) -> dict[str, Argument]:
    """The arguments of lists of the aggregate: whose rows, and whether deleted ones."""
    arguments: dict[str, Argument] = {}
    if aggregate.has_owner and aggregate.owner != "id":  # a user is the only row of that user
        scope, text = publish_enum(ListScope, name="Scope"), f"Whose {aggregate.plural.replace('_', ' ')} the list has."
        if aggregate.assignee is None:
            text += " By default all that the viewer may see."
            arguments["scope"] = Argument(scope, text, ListScope.ALL)
        else:
            text += " By default the viewer's own, for administrators those of all users."
            arguments["scope"] = Argument(scope | None, text, strawberry.UNSET)
    if aggregate.is_soft_deleted:
        restorable = ", which can be restored or deleted permanently" if Commands.RESTORE in aggregate.commands else ""
        text = f"Whether the list has deleted objects{restorable}. By default not."
        arguments["deleted"] = Argument(publish_enum(Trash), text, Trash.EXCLUDE)
    return arguments


async def _load_one(aggregate: Aggregate, context: Context, id: UUID) -> Any:  # noqa: A002 (the name in the schema)
    return await load_row(context, aggregate, id)


async def _load_many(  # noqa: PLR0913 (the arguments of the field)
    aggregate: Aggregate,
    context: Context,
    request: PageRequest,
    where: Filter = NO_FILTER,
    order: tuple[SortKey, ...] = (),
    *,
    scope: ListScope | None = None,
    deleted: Trash = Trash.EXCLUDE,
) -> Any:
    return await load_list(context, aggregate, request, where, order, scope=scope, deleted=deleted)


# mutations


def _mutation_fields(aggregate: Aggregate, taken: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: handler for name, field in taken.items() if (handler := _handler_of(field)) is not None}
    return {
        name: mutation(
            derived.handler,
            row=aggregate.row,
            requires=aggregate.writers,
            many=derived.many,
            plural=to_camel_case(aggregate.plural),
        )
        for name, derived in derive_commands(aggregate, own).items()
    }


def _handler_of(field: Any) -> Callable[..., Any] | None:
    """The handler of a mutation field."""
    resolution = getattr(field.base_resolver.wrapped_func, "resolution", None)
    return getattr(getattr(resolution, "resolve_one", None), "handler", None)


# subscriptions


def _change_field(aggregate: Aggregate) -> Any:
    kind = _change_type(aggregate)
    plural = aggregate.plural.replace("_", " ")
    rows = f"to the viewer's own {plural}" if aggregate.has_owner else f"to all {plural} that the viewer may see"
    if aggregate.owner == "id":
        rows = "to the viewer"
    return subscription(
        partial(_open_changes, aggregate),
        kind,
        description=f"What happens to the {plural} with these ids that the viewer may see, or without ids {rows}.",
        resumable=True,
        requires=aggregate.readers,
        ids=ids_argument(aggregate.type_name, f"The ids of the {plural}, 1 to 100."),
    )


def _open_changes(aggregate: Aggregate, context: Context, ids: list[UUID] | None = None) -> Source:
    return stream_changes(context, aggregate, ids)


def _change_type(aggregate: Aggregate) -> Any:
    """The type of the results of the subscription: an event of a row, and the row as it is now."""
    name, noun, type_name = aggregate.name, aggregate.noun, aggregate.type_name
    row = one(repository_of(aggregate.row).by_id, key=DomainEvent.aggregate_id)
    namespace: dict[str, Any] = {
        "__doc__": f"Something that happened to {aggregate.a_noun}.",
        "__annotations__": {
            "id": UUID,
            "event_type": str,
            f"{name}_id": strawberry.ID,
            "aggregate_id": UUID,
            "timestamp": dt.datetime,
            name: row_type(aggregate.row) | None,
        },
        "id": column("The id of the event, after which an interrupted subscription can resume."),
        "event_type": column(f"What happened, such as {_example_event(aggregate)}."),
        f"{name}_id": strawberry.field(
            resolver=lambda root: strawberry.ID(global_id(type_name, root.aggregate_id)),
            description=f"The id of the {noun}, also after it was deleted and `{to_camel_case(name)}` is null.",
        ),
        "aggregate_id": column(f"The `databaseId` of the {noun}.", name=f"{to_camel_case(name)}DatabaseId"),
        "timestamp": column("The time of the event."),
        name: edge(row, f"The {noun} as it is now. Null if it has been deleted or the viewer may no longer see it."),
    }
    return view(DomainEvent)(type(f"{type_name}Change", (), namespace))


def _example_event(aggregate: Aggregate) -> str:
    """The name of an event of the aggregate: that of a change, if there is one."""
    kinds = [kind for kind in all_event_types() if kind.aggregate == aggregate.name]
    return next((kind for kind in kinds if issubclass(kind, Updated)), kinds[-1]).__name__
