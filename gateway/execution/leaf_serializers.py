"""Serializers of scalars and enums, as functions and as expressions for generated code.

An expression handles the values that a column usually has. It calls the function for all others, which does what
graphql-core would do or raises :class:`UnexpectedValue`.
"""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from types import CoroutineType, FunctionType, GeneratorType
from typing import Any
from uuid import UUID

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLOutputType,
    GraphQLString,
    get_nullable_type,
)
from graphql.pyutils import Undefined, is_awaitable

from schema.types.scalars import serialize_date, serialize_date_time, serialize_decimal, serialize_uuid


class UnexpectedValue(Exception):
    """graphql-core must complete this value: null for a non-null type, an exception, an awaitable."""


PLAIN_CLASSES: set[type] = {
    type(None),
    bool,
    int,
    float,
    str,
    bytes,
    list,
    tuple,
    dict,
    dt.datetime,
    dt.date,
    Decimal,
    UUID,
}
"""Classes whose instances are never awaitable and never an error. :func:`register_if_plain` adds to them."""

_UUID_CLASSES: set[type] = {UUID}
"""UUID and its subclasses. Database drivers bring some, which are added when one is met."""


def register_if_plain(kind: type) -> bool:
    """Adds a class to ``PLAIN_CLASSES`` if no instance can be awaitable or an error; returns whether that is so."""
    if kind in PLAIN_CLASSES:
        return True
    if hasattr(kind, "__await__") or hasattr(kind, "__getattr__") or issubclass(kind, Exception):
        return False
    if isinstance(kind.__getattribute__, FunctionType) or kind in (CoroutineType, GeneratorType):
        return False
    PLAIN_CLASSES.add(kind)
    if issubclass(kind, UUID):
        _UUID_CLASSES.add(kind)
    return True


Serializer = Callable[[Any], Any]


def build_serializer(kind: GraphQLOutputType) -> Serializer:
    """The function that serializes a value of a leaf type, or of lists of it, or raises :class:`UnexpectedValue`."""
    if isinstance(kind, GraphQLNonNull):
        return _non_null(build_serializer(kind.of_type))
    if isinstance(kind, GraphQLList):
        return _list(build_serializer(kind.of_type))
    return _leaf(kind)  # type: ignore[arg-type]


def _non_null(serialize: Serializer) -> Serializer:
    def serialize_non_null(value: Any) -> Any:
        result = serialize(value)
        if result is None:
            raise UnexpectedValue
        return result

    return serialize_non_null


def _list(serialize: Serializer) -> Serializer:
    def serialize_list(value: Any) -> Any:
        if value is None:
            return None
        if value.__class__ is list or value.__class__ is tuple:
            return [serialize(item) for item in value]
        raise UnexpectedValue

    return serialize_list


def _leaf(kind: GraphQLLeafType) -> Serializer:
    coerce = kind.coerce_output_value

    def serialize_leaf(value: Any) -> Any:
        if value is None or value is Undefined:
            return None
        if value.__class__ not in PLAIN_CLASSES and not register_if_plain(value.__class__) and _is_unexpected(value):
            raise UnexpectedValue
        result = coerce(value)
        if result is None or result is Undefined or (result.__class__ not in PLAIN_CLASSES and is_awaitable(result)):
            raise UnexpectedValue
        return result

    return serialize_leaf


def _is_unexpected(value: Any) -> bool:
    return isinstance(value, Exception) or is_awaitable(value)


def unchanged_class(kind: GraphQLOutputType) -> type | None:
    """The class whose instances a leaf type serializes as they are, if there is one."""
    return {GraphQLString: str, GraphQLID: str, GraphQLBoolean: bool}.get(get_nullable_type(kind))  # type: ignore[arg-type]


_INT = "{v} if {v}.__class__ is int and -2147483648 <= {v} <= 2147483647{null} else {x}({v})"
_UNCHANGED = {
    GraphQLString: "{v} if {v}.__class__ is str{null} else {x}({v})",
    GraphQLID: "{v} if {v}.__class__ is str{null} else {x}({v})",
    GraphQLBoolean: "{v} if {v} is True or {v} is False{null} else {x}({v})",
    GraphQLInt: _INT,
    GraphQLFloat: "{v} if {v}.__class__ is float and {v} - {v} == 0.0{null} else {x}({v})",
}
"""Expressions that keep a value as it is; a float minus itself is zero unless it is infinite or not a number."""

_TEXT_SERIALIZERS: dict[Any, tuple[Callable[[Any], str], set[type]]] = {
    serialize_date: (dt.date.isoformat, {dt.date}),
    serialize_uuid: (str, _UUID_CLASSES),
    serialize_decimal: (serialize_decimal, {Decimal}),
}
"""The serializers of scalars, and functions that do the same for every instance of these classes."""


def build_expression(kind: GraphQLOutputType, value: str, index: int, names: dict[str, Any], *, native: bool) -> str:
    """The Python expression that serializes the local variable ``value``.

    The objects that it uses are added to ``names``; ``index``, that of the field, tells them apart. ``native`` leaves a
    datetime in UTC as it is, because orjson writes the same text for it, and faster.
    """
    names[f"x{index}"] = build_serializer(kind)
    nullable = not isinstance(kind, GraphQLNonNull)
    leaf = get_nullable_type(kind)
    parts = {"v": value, "x": f"x{index}", "null": f" or {value} is None" if nullable else ""}
    if leaf in _UNCHANGED:
        return _UNCHANGED[leaf].format(**parts)
    if getattr(leaf, "serialize", None) is serialize_date_time:
        names["utc"], names["datetime"] = dt.UTC, dt.datetime
        is_utc = f"{value}.__class__ is datetime and {value}.tzinfo is utc"
        if native:
            return f"{value} if {is_utc}{parts['null']} else x{index}({value})"
        expression = f"{value}.isoformat() if {is_utc} else x{index}({value})"
        return f"None if {value} is None else {expression}" if nullable else expression
    fast = _fast_expression(leaf, value, index, names)
    if fast is None:
        return f"x{index}({value})"
    expression = f"{fast} else x{index}({value})"
    return f"None if {value} is None else {expression}" if nullable else expression


def _fast_expression(leaf: Any, value: str, index: int, names: dict[str, Any]) -> str | None:
    """``result if condition``, for enums and for scalars that are serialized as text."""
    if isinstance(leaf, GraphQLEnumType):
        enum = getattr(leaf, "wrapped_cls", None)
        if enum is None or not issubclass(enum, Enum):
            return None
        names[f"e{index}"] = enum
        names[f"n{index}"] = {member._name_: leaf.coerce_output_value(member) for member in enum}
        return f"n{index}[{value}._name_] if {value}.__class__ is e{index}"
    serialize = getattr(leaf, "serialize", None)
    fast = _TEXT_SERIALIZERS.get(serialize) if serialize.__hash__ else None
    if fast is None:
        return None
    names[f"s{index}"], names[f"k{index}"] = fast
    return f"s{index}({value}) if {value}.__class__ in k{index}"
