"""Values as JSON and back, by their declared type: plain ones, named tuples, rows, and lists of them."""

import datetime as dt
import operator
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import orjson

from repositories.sql.table import Table

Reader = Callable[[Any], Any]

_PLAIN = (int, str, bool)
_READERS: dict[Any, Reader] = {
    UUID: UUID,
    Decimal: Decimal,
    dt.datetime: dt.datetime.fromisoformat,
    dt.date: dt.date.fromisoformat,
}


def _same(value: Any) -> Any:
    return value


def written(value: Any) -> bytes:
    """JSON, with tuples as lists and decimals as texts; TypeError for what is no data."""
    return orjson.dumps(value, default=_written)


def _written(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Decimal | UUID):  # orjson knows UUID itself, not the subclass that a driver makes
        return str(value)
    raise TypeError


def parts_of(kind: Any) -> tuple[Any, ...] | None:
    """The types of what a row or a named tuple has, in order; None for any other type."""
    if not (isinstance(kind, type) and issubclass(kind, tuple)):
        return None
    hints = get_type_hints(kind)
    if issubclass(kind, Table):
        return tuple(get_args(hints[name])[0] for name in kind.__fields__)
    return tuple(hints[name] for name in operator.attrgetter("_fields")(kind))


def shape(kind: Any) -> str:
    """Everything about a type that its JSON depends on, so that what was written for another can be told."""
    parts = parts_of(kind)
    if parts is not None:
        return f"{kind.__qualname__}({', '.join(map(shape, parts))})"
    inner = ", ".join(map(shape, get_args(kind)))
    return f"{getattr(kind, '__qualname__', get_origin(kind))}[{inner}]"


def reader(kind: Any) -> Reader:
    """What makes a value of this type of its JSON; TypeError for a type that cannot be kept."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in _PLAIN or dict in {kind, origin}:
        return _same
    if kind in _READERS or (isinstance(kind, type) and issubclass(kind, Enum)):
        known: Reader = _READERS.get(kind, kind)
        return known
    if origin is list:
        read = reader(inner[0])
        return lambda values: [read(value) for value in values]
    if origin in {Union, UnionType}:
        (present,) = (part for part in inner if part is not NoneType)
        return _optional(reader(present))
    parts = parts_of(kind)
    if parts is None:
        raise TypeError(f"{kind} is nothing that can be written as JSON and read back")
    return _row_reader(kind._make, tuple(map(reader, parts)))


def _optional(read: Reader) -> Reader:
    return lambda value: None if value is None else read(value)


def _row_reader(make: Callable[[Iterable[Any]], Any], readers: tuple[Reader, ...]) -> Reader:
    return lambda values: make([read(value) for read, value in zip(readers, values, strict=True)])
