"""Conversion of results to JSON and back, by their type: scalars, named tuples, rows, and lists of them."""

import datetime as dt
import operator
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import orjson

from repositories.core.errors import UnreadableValue
from repositories.sql.table import Table

JSONReader = Callable[[Any], Any]

_PLAIN = (int, str, bool)
_READERS: dict[Any, JSONReader] = {
    UUID: UUID,
    Decimal: Decimal,
    dt.datetime: dt.datetime.fromisoformat,
    dt.date: dt.date.fromisoformat,
}


def _identity(value: Any) -> Any:
    return value


def to_json(value: Any) -> bytes:
    """JSON with tuples as lists and decimals as strings. Raises TypeError for a value that is no data.

    Raises UnreadableValue for a value that could not be read.
    """
    try:
        return orjson.dumps(value, default=_default)
    except TypeError as error:
        if isinstance(error.__cause__, UnreadableValue):
            raise error.__cause__ from None
        raise


def _default(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Decimal | UUID):  # orjson knows UUID itself, but not the subclass of asyncpg
        return str(value)
    raise value if isinstance(value, UnreadableValue) else TypeError


def field_types(kind: Any) -> tuple[Any, ...] | None:
    """The types of the fields of a row or a named tuple, in their order; None for any other type."""
    if not (isinstance(kind, type) and issubclass(kind, tuple)):
        return None
    hints = get_type_hints(kind)
    if issubclass(kind, Table):
        return tuple(get_args(hints[name])[0] for name in kind.__fields__)
    return tuple(hints[name] for name in operator.attrgetter("_fields")(kind))


def type_signature(kind: Any) -> str:
    """Everything about a type that its JSON depends on. It differs after a deployment that changes the type."""
    fields = field_types(kind)
    if fields is not None:
        return f"{kind.__qualname__}({', '.join(map(type_signature, fields))})"
    inner = ", ".join(map(type_signature, get_args(kind)))
    return f"{getattr(kind, '__qualname__', get_origin(kind))}[{inner}]"


def json_reader(kind: Any) -> JSONReader:
    """The function that makes a value of a type from its JSON. Raises TypeError for a type that cannot be cached."""
    kind = getattr(kind, "__supertype__", kind)  # of a NewType, such as BigInt
    origin, inner = get_origin(kind), get_args(kind)
    if kind in _PLAIN or dict in {kind, origin}:
        return _identity
    if kind in _READERS or (isinstance(kind, type) and issubclass(kind, Enum)):
        known: JSONReader = _READERS.get(kind, kind)
        return known
    if origin is list:
        read = json_reader(inner[0])
        return lambda values: [read(value) for value in values]
    if origin in {Union, UnionType}:
        (present,) = (part for part in inner if part is not NoneType)
        return _optional(json_reader(present))
    fields = field_types(kind)
    if fields is None:
        raise TypeError(f"{kind} cannot be cached, because it cannot be written as JSON and read back")
    return _row_reader(kind._make, tuple(map(json_reader, fields)))


def _optional(read: JSONReader) -> JSONReader:
    return lambda value: None if value is None else read(value)


def _row_reader(make: Callable[[Iterable[Any]], Any], readers: tuple[JSONReader, ...]) -> JSONReader:
    return lambda values: make([read(value) for read, value in zip(readers, values, strict=True)])
