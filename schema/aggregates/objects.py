"""GraphQL types of aggregates, derived from their published columns and references.

    @aggregate_view(rows.Task)
    class Task(Node):
        priority: Priority = ...

has the derived fields and those of the class, which replace derived ones of the same name. An aggregate without such a
class has the derived fields only.
"""

import inspect
from collections.abc import Callable
from types import new_class
from typing import Any, TypeVar
from uuid import UUID

from strawberry.scalars import JSON
from strawberry.types.lazy_type import LazyType

from repositories.aggregates.derived import has_events, repository_of
from repositories.sql.aggregate import Aggregate, Reference, aggregates, inverses_of
from repositories.sql.table import Table, declared
from resolvers.aggregates.row_queries import History, load_row
from resolvers.loading.edges import one
from resolvers.loading.edges import pages as pages_edge
from resolvers.request.context import Context
from schema.aggregates.list_inputs import connection_of, filter_of, order_of
from schema.types.connections import ConnectionView, history_connection, pages
from schema.types.derived_types import row_type
from schema.types.enums import publish_enum
from schema.types.view import VIEWS, Fetch, Node, column, edge, encrypted, view

T = TypeVar("T", bound=type)


def derive_type(aggregate: Aggregate) -> None:
    """Publishes the GraphQL type of an aggregate that has no class of its own."""
    if not any(shown.row is aggregate.row and shown.fetch for shown in VIEWS.values()):
        name, text = aggregate.type_name, description_of(aggregate)
        aggregate_view(aggregate.row)(new_class(name, (Node,), {}, lambda namespace: namespace.update(__doc__=text)))


def description_of(aggregate: Aggregate) -> str:
    """The first paragraph of the docstring of the table's class."""
    return " ".join((aggregate.row.__doc__ or "").partition("\n\n")[0].split())


def aggregate_view(row: type[Table], *, node: Fetch | None = None) -> Callable[[T], T]:
    """Publishes a class as the GraphQL type of an aggregate, with the derived fields before its own.

    ``node`` loads the object with an id if that is not just the row with this id.
    """
    found = aggregates[row]

    async def fetch(context: Context, key: UUID) -> Any:
        return await load_row(context, found, key)

    def publish(cls: T) -> T:
        own = dict(inspect.get_annotations(cls))
        annotations: dict[str, Any] = {}
        for name, (annotation, field) in _derived_fields(found).items():
            if name not in vars(cls):
                annotations[name] = annotation
                setattr(cls, name, field)
            elif name in own:
                annotations[name] = own.pop(name)
        cls.__annotations__ = annotations | own
        if not cls.__dict__.get("__doc__"):
            cls.__doc__ = description_of(found)
        return view(row, node=node or fetch)(cls)

    return publish


def _derived_fields(aggregate: Aggregate) -> dict[str, tuple[Any, Any]]:
    """The annotation and the definition of each derived field, in the order of the columns."""
    fields: dict[str, tuple[Any, Any]] = {}
    for published in aggregate.published:
        reference = aggregate.references.get(published.name)
        if reference is not None:
            fields[reference.field] = _reference_field(reference)
        else:
            fields[published.name] = _column_field(published)
    for source, reference in inverses_of(aggregate.row):
        assert reference.inverse is not None  # noqa: S101 (inverses_of returns only these)
        fields[reference.inverse.field] = _inverse_field(aggregate, source, reference)
    if has_events(aggregate):
        fields["history"] = _history_field(aggregate)
    return fields


def _column_field(published: Any) -> tuple[Any, Any]:
    facts = declared(published)
    if facts.encrypted:
        text = f"{facts.description} It is stored encrypted. Null, with an error, if it cannot be decrypted."
        return str | None, encrypted(published, text)
    kind = JSON if facts.kind in {dict, list} else publish_enum(facts.kind) if _is_enum(facts.kind) else facts.kind
    return (kind | None if published.nullable else kind), column(facts.description)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "__members__")


def _reference_field(reference: Reference) -> tuple[Any, Any]:
    text = declared(reference.column).description
    reasons = {
        "there is none": reference.column.nullable,
        "it was deleted": "deleted_at" in reference.target.__table__.c,
        "the viewer may not see it": True,
    }
    missing = f"Null if {' or if '.join(reason for reason, is_possible in reasons.items() if is_possible)}."
    loaded = one(repository_of(reference.target).by_id, key=reference.column)
    return row_type(reference.target) | None, edge(loaded, f"{text} {missing}")


def _inverse_field(aggregate: Aggregate, source: Aggregate, reference: Reference) -> tuple[Any, Any]:
    assert reference.inverse is not None  # noqa: S101 (as above)
    loaded = pages_edge(repository_of(source.row), column=reference.column, key=aggregate.row.id)
    by_default = f" By default {source.order_text}." if source.order_text else ""
    field = pages(loaded, reference.inverse.description + by_default, filter=filter_of(source), order=order_of(source))
    return connection_type(source), field


def connection_type(aggregate: Aggregate) -> Any:
    """The connection type of an aggregate."""
    return connection_of(aggregate, row_type(aggregate.row))


_HISTORY_ENTRY: Any = LazyType("HistoryEntry", "schema.events")


def _history_field(aggregate: Aggregate) -> tuple[Any, Any]:
    entries: Any = ConnectionView
    text = (
        f"The events of the {aggregate.noun}, the newest first: who changed it, when, and which values. "
        "Contains only events that the viewer may see. Contains no texts and no encrypted values."
    )
    return entries[_HISTORY_ENTRY], history_connection(History(aggregate), text)
