"""Views, which are the GraphQL types of rows, and the kinds of their fields.

    @view(tables.Note, node=queries.note)
    class Note(Node):
        text: str = column("The text of the note, 1 to 10,000 characters.")
        author: User | None = edge(queries.author_of_note, "The user who wrote the note.")

A field is a **column** of the row, an **encrypted** column, an **edge** to other rows, or a field of a root type. The
module derived_types.py makes types and fields from annotations and docstrings of the lower layers.
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

from repositories.core.errors import InputError, NotFound, ValidationError
from repositories.permissions import Requirement
from resolvers.loading.edges import Edge
from resolvers.loading.encrypted import EncryptedField
from resolvers.request.context import Context
from resolvers.validation.global_ids import global_id, parse_global_id
from schema.types.costs import cost_directives

T = TypeVar("T", bound=type)
Info = strawberry.Info[Context, None]
Fetch = Callable[[Context, UUID], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class View:
    """The row class of a GraphQL type, and the function that loads a row by its primary key, for ``node(id:)``."""

    row: type
    fetch: Fetch | None


VIEWS: dict[type, View] = {}
"""Every view by its GraphQL type."""


def _type_check(row: type) -> Any:
    """Strawberry's ``is_type_of``: whether an object is a row of this class. The executor reads its ``row``."""

    def is_type_of(value: Any, _: Any) -> bool:
        return isinstance(value, row)

    is_type_of.row = row  # type: ignore[attr-defined]
    return staticmethod(is_type_of)


def view(row: type, *, node: Fetch | None = None) -> Callable[[T], T]:
    """Publishes a class as the GraphQL type of ``row``; its docstring is the description."""

    def publish(cls: T) -> T:
        cls.is_type_of = _type_check(row)  # type: ignore[attr-defined]
        published = strawberry.type(cls, description=inspect.cleandoc(cls.__doc__ or ""))
        VIEWS[published] = View(row, node)
        return published

    return publish


@cache
def _type_name(row: type) -> str:
    published = next(kind for kind, view in VIEWS.items() if issubclass(row, view.row) and view.fetch)
    definition: StrawberryObjectDefinition = published.__strawberry_definition__  # type: ignore[attr-defined]
    return definition.name


def _global_id(root: Any) -> strawberry.ID:
    return strawberry.ID(global_id(_type_name(root.__class__), root.id))


def _global_id_converter(row: type) -> Callable[[UUID], str]:
    return partial(global_id, _type_name(row))


def _resolve_node_type(value: Any, info: GraphQLResolveInfo[Context], _type: Any) -> str:
    del info
    return _type_name(value.__class__)


COLUMN = "column"
"""The key in a field's metadata for the name of its column, and a function or None.

The function takes the class of the rows and returns the converter of the column's values.
"""


@strawberry.interface(description="An object with a global id, with which `node` returns it.")
class Node:
    id: strawberry.ID = strawberry.field(
        resolver=_global_id,
        description="The global id: opaque, unique across all types, and permanent.",
        metadata={COLUMN: ("id", _global_id_converter)},
    )
    database_id: UUID = strawberry.field(
        resolver=lambda root: root.id,
        description="The UUID of the row, unique within its type.",
        metadata={COLUMN: ("id", None)},
    )

    resolve_type = staticmethod(_resolve_node_type)


def column(description: str, *, name: str | None = None, deprecated: str | None = None) -> Any:
    """A field with the value of the row's attribute of the same name."""
    return strawberry.field(description=description, name=name, deprecation_reason=deprecated)


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a field. ``convert`` makes the value that the resolver gets from the Python value.

    An InputError of ``convert`` has the path within the value. :class:`Resolution` puts the argument's name before it.
    """

    type: Any
    description: str
    default: Any = inspect.Parameter.empty
    convert: Callable[[Any], Any] = lambda value: value
    name: str | None = None

    def to_parameter(self, name: str) -> inspect.Parameter:
        """The parameter of a function, from which Strawberry reads the argument."""
        argument = strawberry.argument(description=self.description, name=self.name)
        annotation: Any = Annotated[self.type, argument]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=self.default, annotation=annotation)


def id_argument(type_name: str, description: str) -> Argument:
    """A global id, which the resolver gets as a UUID."""
    return Argument(strawberry.ID, description, convert=lambda text: _parse_id(type_name, text))


MAX_IDS = 100
"""How many ids a list of ids may have."""


def ids_argument(type_name: str, description: str) -> Argument:
    """Optional global ids, which the resolver gets as UUIDs."""

    def convert(texts: list[str] | None) -> list[UUID] | None:
        if texts is not None and not 1 <= len(texts) <= MAX_IDS:
            message = f"Give 1 to {MAX_IDS} ids, or leave out `ids`."
            raise ValidationError(message)
        return None if texts is None else [parse_item(index, text) for index, text in enumerate(texts)]

    def parse_item(index: int, text: str) -> UUID:
        try:
            return _parse_id(type_name, text)
        except InputError as error:
            raise error.prefix_path(index) from None

    return Argument(list[strawberry.ID] | None, description, strawberry.UNSET, convert)


def _parse_id(type_name: str, text: str) -> UUID:
    """The UUID in a global id. NotFound for an id of another type, because no row can have it."""
    try:
        actual, key = parse_global_id(text)
    except ValueError as error:
        raise ValidationError(str(error)) from None
    if actual != type_name:
        raise NotFound.of(type_name.lower(), path=())
    return key


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a field is resolved, for an executor that resolves it for many objects at once.

    ``resolve_one(context, row, **arguments)`` returns the value for one row.
    ``resolve_many(context, rows, **arguments)`` returns the list of values for all rows, with an exception in the place
    of each value that failed.
    """

    resolve_one: Callable[..., Awaitable[Any]]
    arguments: Mapping[str, Argument]
    requires: Requirement | None = None
    resolve_many: Callable[..., Awaitable[list[Any]]] | None = None

    def convert(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Applies the ``convert`` of each argument to its Python value.

        The path of an InputError starts with the name of the argument.
        """
        return {name: self._convert_one(name, value) for name, value in arguments.items()}

    def _convert_one(self, name: str, value: Any) -> Any:
        argument = self.arguments[name]
        try:
            return argument.convert(value)
        except InputError as error:
            raise error.prefix_path(argument.name or name) from None

    def authorise(self, context: Context) -> None:
        """Raises Forbidden, or Unauthenticated, if the viewer lacks the permission."""
        if self.requires is not None:
            context.authorise(self.requires)


def resolver(
    resolve_one: Callable[..., Any],
    arguments: Mapping[str, Argument],
    *,
    requires: Requirement | None = None,
    resolve_many: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """A resolver for Strawberry: checks the permission, then calls ``resolve_one(context, row, **arguments)``."""
    resolution = Resolution(resolve_one, arguments, requires, resolve_many)

    async def resolve(root: Any, info: Any, **values: Any) -> Any:
        context: Context = info.context
        resolution.authorise(context)
        if (idempotency := getattr(context, "idempotency", None)) is not None and info.path.prev is None:
            idempotency.field = info.path.key
        return await resolve_one(context, root, **resolution.convert(values))

    parameters = [
        inspect.Parameter("root", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Any),
        inspect.Parameter("info", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=strawberry.Info),
        *(argument.to_parameter(name) for name, argument in arguments.items()),
    ]
    resolve.__signature__ = inspect.Signature(parameters, return_annotation=Any)  # type: ignore[attr-defined]
    resolve.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": Any}
    resolve.resolution = resolution  # type: ignore[attr-defined]
    return resolve


def edge(edge: Edge[Any], description: str, *, kind: Any = None) -> Any:
    """A field with the row, or the rows, at the other end of an edge. ``kind`` is its type if its annotation is Any."""
    resolve = resolver(edge.load, {}, resolve_many=edge.load_many)
    return strawberry.field(resolver=resolve, graphql_type=kind, description=description)


def encrypted(column: Any, description: str) -> Any:
    """A field with the decrypted value of a column. It must be nullable, because decryption can fail."""
    field = EncryptedField(column)
    return strawberry.field(resolver=resolver(field.load, {}, resolve_many=field.load_many), description=description)


def root_field(  # noqa: PLR0913 (the properties of a field)
    resolve: Callable[..., Awaitable[Any]],
    description: str,
    kind: Any,
    arguments: Mapping[str, Argument],
    *,
    requires: Requirement | None = None,
    size: int | str | None = None,
    weight: int = 0,
) -> Any:
    """A field of type ``kind`` with the value of ``resolve(context, **arguments)``.

    ``size`` is the assumed size of its list, or the name of the argument that gives it if that is not ``first``.
    ``weight`` is the cost of a call in addition to the objects.
    """
    return strawberry.field(
        resolver=resolver(lambda context, _, **values: resolve(context, **values), arguments, requires=requires),
        graphql_type=kind,
        description=description,
        directives=cost_directives(arguments, size=size, weight=weight),
    )
