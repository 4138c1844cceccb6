"""Views and their fields: what clients see of rows, and how a field is answered.

    @view(rows.Task, node=life_lock.task)
    class Task(Node):
        title: str = column("What is to be done.")
        category: "Category | None" = edge(life_lock.category, "The category it belongs to.")

A field is one of five: a **column** of the row, what a **sealed** (encrypted) column says, an **edge** to other rows,
something **computed** by a method of the object, or a **query** at the root.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, TypeVar
from uuid import UUID

import strawberry
from graphql import GraphQLResolveInfo
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.lazy_type import LazyType

from repositories.core.errors import NotFound, ValidationError
from repositories.permissions import Permission
from resolvers.loading.edges import Edge
from resolvers.loading.encrypted import EncryptedField
from resolvers.request.context import Context
from resolvers.validation.global_ids import global_id, parse_global_id
from schema.types.costs import AGGREGATE, costs

T = TypeVar("T", bound=type)
Info = strawberry.Info[Context, None]
Fetch = Callable[[Context, UUID], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class View:
    """A GraphQL type and the row it shows; ``fetch`` finds a row by its key, for ``node(id:)``."""

    row: type
    fetch: Fetch | None


VIEWS: dict[type, View] = {}
"""Every view, for ``node`` and for the test that compares views with their rows."""


def _shows(row: type) -> Any:
    def is_type_of(value: Any, _: Any) -> bool:
        return isinstance(value, row)

    is_type_of.row = row  # type: ignore[attr-defined]
    return staticmethod(is_type_of)


def view(row: type, *, node: Fetch | None = None) -> Callable[[T], T]:
    """Publishes a class as the GraphQL type that shows ``row``; its docstring is the description."""

    def publish(cls: T) -> T:
        cls.is_type_of = _shows(row)  # type: ignore[attr-defined]
        made = strawberry.type(cls, description=inspect.cleandoc(cls.__doc__ or ""))
        VIEWS[made] = View(row, node)
        return made

    return publish


@cache
def _type_name(row: type) -> str:
    shown = next(made for made, view in VIEWS.items() if issubclass(row, view.row) and view.fetch)
    definition: StrawberryObjectDefinition = shown.__strawberry_definition__  # type: ignore[attr-defined]
    return definition.name


def _global_id(root: Any) -> strawberry.ID:
    return strawberry.ID(global_id(_type_name(root.__class__), root.id))


def _global_ids(row: type) -> Callable[[UUID], str]:
    return partial(global_id, _type_name(row))


def _resolve_node_type(value: Any, info: GraphQLResolveInfo[Context], _type: Any) -> str:
    del info
    return _type_name(value.__class__)


COLUMN = "column"
"""In a field's metadata: its column, and what makes, of a row's class, the function from the column to the value."""


@strawberry.interface(description="Anything that has an id and can be asked for by it.")
class Node:
    """Relay's Node."""

    id: strawberry.ID = strawberry.field(
        resolver=_global_id,
        description="The global id: opaque, unique over all types, and the same for ever.",
        metadata={COLUMN: ("id", _global_ids)},
    )
    database_id: UUID = strawberry.field(
        resolver=lambda root: root.id,
        description="The bare UUID, unique within its type.",
        metadata={COLUMN: ("id", None)},
    )

    resolve_type = staticmethod(_resolve_node_type)


def column(description: str, *, name: str | None = None, deprecated: str | None = None) -> Any:
    """A value of the row under the same name."""
    return strawberry.field(description=description, name=name, deprecation_reason=deprecated)


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a field: its type and description, its default if it has one, and what the resolver gets of it."""

    type: Any
    description: str
    default: Any = inspect.Parameter.empty
    convert: Callable[[Any], Any] = lambda value: value
    name: str | None = None

    def parameter(self, name: str) -> inspect.Parameter:
        """The argument as Strawberry reads it from a signature."""
        described = strawberry.argument(description=self.description, name=self.name)
        annotation: Any = Annotated[self.type, described]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=self.default, annotation=annotation)


FIRST = Argument(int, "How many at most, 1 to 500.", 50)
"""Of plain lists, which are not paged through."""

TIME_ZONE = Argument(
    str | None, "The IANA time zone that decides what a day is; by default the viewer's own.", strawberry.UNSET
)
"""Of fields that count by days."""


def key(type_name: str, description: str) -> Argument:
    """A global id, which reaches the resolver as a UUID."""
    return Argument(strawberry.ID, description, convert=lambda text: key_of(type_name, text))


_MOST_KEYS = 100


def keys(type_name: str, description: str) -> Argument:
    """Global ids, which reach the resolver as UUIDs; may be left out."""

    def convert(texts: list[str] | None) -> list[UUID] | None:
        if texts is not None and not 1 <= len(texts) <= _MOST_KEYS:
            message = f"Give 1 to {_MOST_KEYS} ids, or leave `ids` out."
            raise ValidationError(message, path=("ids",))
        return None if texts is None else [key_of(type_name, text) for text in texts]

    return Argument(list[strawberry.ID] | None, description, strawberry.UNSET, convert)


def key_of(type_name: str, text: str) -> UUID:
    """The key in a global id of that type. An id of another type is refused, for it can never be found here."""
    try:
        found, value = parse_global_id(text)
    except ValueError as error:
        raise ValidationError(str(error), path=("id",)) from None
    if found != type_name:
        raise NotFound.of(type_name.lower())
    return value


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a field is answered, spelled out for an executor that answers it for many objects at once.

    ``answer(context, row, **arguments)`` for one; ``many(context, rows, **arguments)`` for all, as a list of values
    and of the exceptions that stand for those that failed.
    """

    answer: Callable[..., Awaitable[Any]]
    arguments: Mapping[str, Argument]
    requires: Permission | None = None
    many: Callable[..., Awaitable[list[Any]]] | None = None

    def convert(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as ``answer`` takes them."""
        return {name: self.arguments[name].convert(value) for name, value in given.items()}

    def authorise(self, context: Context) -> None:
        """Refuses viewers without the permission."""
        if self.requires is not None:
            context.authorise(self.requires)


def resolver(
    answer: Callable[..., Any],
    arguments: Mapping[str, Argument],
    *,
    requires: Permission | None = None,
    many: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """A resolver for Strawberry: checks the permission, then calls ``answer(context, row, **arguments)``."""
    resolution = Resolution(answer, arguments, requires, many)

    async def resolve(root: Any, info: Any, **given: Any) -> Any:
        context: Context = info.context
        resolution.authorise(context)
        return await answer(context, root, **resolution.convert(given))

    parameters = [
        inspect.Parameter("root", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Any),
        inspect.Parameter("info", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=strawberry.Info),
        *(argument.parameter(name) for name, argument in arguments.items()),
    ]
    resolve.__signature__ = inspect.Signature(parameters, return_annotation=Any)  # type: ignore[attr-defined]
    resolve.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": Any}
    resolve.resolution = resolution  # type: ignore[attr-defined]
    return resolve


def defined_in(module: str, name: str) -> Any:
    """A type of a module that imports this one, for ``strawberry.field(graphql_type=...)``."""
    return LazyType(name, module)


def edge(followed: Edge[Any], description: str) -> Any:
    """The row, or rows, at the other end of an edge."""
    return strawberry.field(resolver=resolver(followed.load, {}, many=followed.load_many), description=description)


def derived(answer: Callable[..., Awaitable[Any]], description: str) -> Any:
    """What ``answer(context, row)`` makes of a row."""
    return strawberry.field(resolver=resolver(answer, {}), description=description)


def encrypted(column: Any, description: str) -> Any:
    """What an encrypted column says; nullable, so that a value that cannot be opened takes no other field with it."""
    value = EncryptedField(column)
    return strawberry.field(resolver=resolver(value.load, {}, many=value.load_many), description=description)


def computed(
    method: Callable[..., Awaitable[Any]], description: str, *, size: int | None = None, **arguments: Argument
) -> Any:
    """What a method of the object answers: a tile of a dashboard; ``size`` is how long its list is about."""
    return strawberry.field(
        resolver=resolver(lambda _, root, **given: method(root, **given), arguments),
        description=description,
        directives=costs(arguments, size=size, weight=AGGREGATE),
    )


def query(
    answer: Callable[..., Awaitable[Any]],
    description: str,
    *,
    requires: Permission | None = None,
    size: int | str | None = None,
    weight: int = 0,
    **arguments: Argument,
) -> Any:
    """A root field: what ``answer(context, **arguments)`` finds.

    ``size`` is how long its list is about, or the name of the argument that says it if that is not ``first``;
    ``weight`` is what a call costs beyond the objects.
    """
    return strawberry.field(
        resolver=resolver(lambda context, _, **given: answer(context, **given), arguments, requires=requires),
        description=description,
        directives=costs(arguments, size=size, weight=weight),
    )
