"""Types, arguments and fields that are derived from the functions and classes of the lower layers.

    class DayCount(NamedTuple):
        "The number of notes of one day."
        date: Annotated[dt.date, "The day."]
        count: Annotated[int, "The number of notes."]

    async def notes_per_day(context: Context, first: First = 50) -> list[DayCount]:
        "The viewer's notes by day, the latest day first."

    notes_per_day = query(queries.notes_per_day, requires=Permission.NOTE_READ)

- The docstring of a function, and of a class, is the description.
- The annotation of a function's result is the type of the field. A row stands for its view, a named tuple for a type
  with its described fields, a dataclass for a dashboard: a type with a field for each public method.
- A parameter with a description is an argument (resolvers/request/annotations.py). ``None`` as its default means that
  clients may leave it out. Its name has an underscore at the end if it would be a keyword of Python, as in ``from_``.
"""

import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import Enum
from functools import partial
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import strawberry
from strawberry.types.base import has_object_definition

from repositories.permissions import Requirement
from repositories.sql.aggregate import aggregates
from repositories.sql.table import Table, declared
from resolvers.request.annotations import EACH_FIELD
from resolvers.validation.global_ids import GlobalKey
from schema.types.costs import AGGREGATE, cost_directives
from schema.types.enums import publish_enum
from schema.types.references import later
from schema.types.view import VIEWS, Argument, column, id_argument, resolver, root_field, view

T = TypeVar("T", bound=type)


def docstring_of(documented: Any) -> str:
    """The docstring of a function or a class, with each paragraph on one line."""
    paragraphs = inspect.cleandoc(documented.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


# types


def graphql_type(annotation: Any) -> Any:
    """The GraphQL type of the values of an annotation."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return graphql_type(parts[0])
    if origin is list:
        list_of: Any = list
        return list_of[graphql_type(parts[0])]
    if origin in {Union, UnionType}:
        (present,) = (part for part in parts if part is not type(None))
        return graphql_type(present) | None
    return _published(annotation) if isinstance(annotation, type) else annotation


def _published(kind: type) -> Any:
    if issubclass(kind, tuple):
        return row_type(kind)
    if issubclass(kind, Enum):
        return publish_enum(kind)
    if dataclasses.is_dataclass(kind) and not has_object_definition(kind):
        return _DASHBOARDS.get(kind) or publish_dashboard(kind)
    return kind


def row_type(row: type) -> Any:
    """A reference to the GraphQL type of a row or a named tuple: the domain's class, or the derived one."""
    return later(row.__name__, lambda: _find_view(row))


def _find_view(row: type) -> type:
    found = next((kind for kind, shown in VIEWS.items() if shown.row is row), None)
    if found is None and row in aggregates:
        message = f"The type of {row.__name__} is not derived yet"
        raise LookupError(message)
    return found or result_view(row)(type(row.__name__, (), {}))


def result_view(row: type) -> Callable[[T], T]:
    """Publishes a class as the GraphQL type of ``row``, with the described fields of the row after its own.

    A field of the class with the name of a field of the row replaces it. A row without such a class has the fields of
    the row only.
    """

    def publish(cls: T) -> T:
        own, annotations = dict(inspect.get_annotations(cls)), {}
        for name, annotation, description in described_fields(row):
            annotations[name] = own.pop(name, None) or graphql_type(annotation)
            if name not in vars(cls):
                setattr(cls, name, column(description))
        cls.__annotations__ = own | annotations
        cls.__doc__ = cls.__doc__ or docstring_of(row)
        return view(row)(cls)

    return publish


def described_fields(row: type) -> Iterator[tuple[str, Any, str]]:
    """The name, the annotation and the description of each field of the class itself that has a description."""
    for name, annotation in inspect.get_annotations(row).items():
        if not issubclass(row, Table) and description_in(annotation):
            yield name, annotation, description_in(annotation)
        elif issubclass(row, Table) and declared(getattr(row, name)).description:
            yield name, get_args(annotation)[0], declared(getattr(row, name)).description


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return annotation.__metadata__ if get_origin(annotation) is Annotated else ()


def description_in(annotation: Any) -> str:
    return next((item for item in _metadata(annotation) if isinstance(item, str)), "")


# dashboards

_DASHBOARDS: dict[type, type] = {}


def publish_dashboard(kind: type, **weights: int) -> type:
    """The GraphQL type of a dashboard. ``weights`` are the costs of fields whose cost is not that of a count.

    Call it only for a dashboard with such fields, before a field of a root type returns it.
    """
    fields = dict(_dashboard_fields(kind, weights))
    if kind in _DASHBOARDS or weights.keys() - fields.keys():
        message = f"{kind.__name__} is published already, or has no {', '.join(weights)}"
        raise TypeError(message)
    _DASHBOARDS[kind] = strawberry.type(type(kind.__name__, (), fields), description=docstring_of(kind))
    return _DASHBOARDS[kind]


def _dashboard_fields(kind: type, weights: Mapping[str, int]) -> Iterator[tuple[str, Any]]:
    for name, method in vars(kind).items():
        if name.startswith("_") or not inspect.iscoroutinefunction(method):
            continue
        returned = get_type_hints(method, include_extras=True)["return"]
        if EACH_FIELD in _metadata(returned):
            for part, annotation, description in described_fields(get_args(returned)[0]):
                weight = weights.get(part, AGGREGATE)
                yield part, _dashboard_field(_part_of(method, part), annotation, description, {}, weight)
        else:
            arguments, weight = _arguments_of_all(method), weights.get(name, AGGREGATE)
            yield name, _dashboard_field(method, returned, docstring_of(method), arguments, weight)


def _part_of(method: Callable[[Any], Awaitable[Any]], name: str) -> Callable[[Any], Awaitable[Any]]:
    async def resolve(subject: Any) -> Any:
        return getattr(await method(subject), name)

    return resolve


def _dashboard_field(
    method: Callable[..., Awaitable[Any]],
    annotation: Any,
    description: str,
    arguments: Mapping[str, Argument],
    weight: int,
) -> Any:
    return strawberry.field(
        resolver=resolver(lambda _, root, **values: method(root, **values), arguments),
        graphql_type=graphql_type(annotation),
        description=description,
        directives=cost_directives(arguments, weight=weight),
    )


# fields


def _arguments_of_all(function: Callable[..., Any]) -> dict[str, Argument]:
    """The arguments of a function all of whose parameters but the first are arguments. TypeError for any other."""
    arguments = arguments_of(function)
    if others := [name for name in [*inspect.signature(function).parameters][1:] if name not in arguments]:
        message = f"The parameters {', '.join(others)} of {function.__qualname__} have no description"
        raise TypeError(message)
    return arguments


def arguments_of(function: Callable[..., Any]) -> dict[str, Argument]:
    """The arguments of a field: the parameters of its resolver that have a description."""
    hints = get_type_hints(function.func if isinstance(function, partial) else function, include_extras=True)
    return {
        parameter.name: _argument(hints[parameter.name], parameter)
        for parameter in inspect.signature(function).parameters.values()
        if description_in(hints.get(parameter.name))
    }


def _argument(annotation: Any, parameter: inspect.Parameter) -> Argument:
    description = description_in(annotation)
    name = parameter.name.rstrip("_") if parameter.name.endswith("_") else None
    for item in _metadata(annotation):
        if isinstance(item, GlobalKey):
            return dataclasses.replace(id_argument(item.type_name, description), name=name)
    default = strawberry.UNSET if parameter.default is None else parameter.default
    argument = Argument(graphql_type(annotation), description, default, name=name)
    convert = next((item for item in _metadata(annotation) if callable(item)), None)
    return dataclasses.replace(argument, convert=convert) if convert else argument


def query(
    resolve: Callable[..., Awaitable[Any]],
    *,
    requires: Requirement | None = None,
    size: int | None = None,
    weight: int = 0,
) -> Any:
    """The nullable root field of a function that takes the context and the arguments of the field.

    ``size`` is the assumed size of its list, ``weight`` the cost of a call in addition to the objects.
    """
    return root_field(
        resolve,
        docstring_of(resolve),
        graphql_type(get_type_hints(resolve)["return"]) | None,
        _arguments_of_all(resolve),
        requires=requires,
        size=size,
        weight=weight,
    )


def resolved_by(resolve: Callable[..., Awaitable[Any]], *, requires: Requirement | None = None) -> Any:
    """A field with the value of ``resolve(context, row)``. It is nullable if it requires a permission."""
    kind = graphql_type(get_type_hints(resolve)["return"])
    return strawberry.field(
        resolver=resolver(resolve, {}, requires=requires),
        graphql_type=kind if requires is None else kind | None,
        description=docstring_of(resolve),
    )
