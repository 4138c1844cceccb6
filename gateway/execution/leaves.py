"""Leaf values: how generated code makes scalars and enums of plain values, and where it gives up.

A leaf is an expression of Python that is right for the values a column usually has, and a function for all others,
which does what graphql-core would do or raises :class:`Odd`.
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


class Odd(Exception):
    """A value that is not completed here: null where there must be a value, an exception, something to await."""


PLAIN: set[type] = {type(None), bool, int, float, str, bytes, list, tuple, dict, dt.datetime, dt.date, Decimal, UUID}
"""Classes whose instances are values: nothing to await, no error. Grows by what :func:`is_plain` finds out."""


_TEXTUAL: set[type] = {UUID, Decimal}
"""Classes that ``str`` writes as scalars; drivers bring their own subclasses of UUID, which are added when met."""


def is_plain(kind: type) -> bool:
    """Whether every instance of a class is a value, which is looked up once for each class."""
    if kind in PLAIN:
        return True
    if hasattr(kind, "__await__") or hasattr(kind, "__getattr__") or issubclass(kind, Exception):
        return False
    if isinstance(kind.__getattribute__, FunctionType) or kind in (CoroutineType, GeneratorType):
        return False
    PLAIN.add(kind)
    if issubclass(kind, UUID):
        _TEXTUAL.add(kind)
    return True


Coercer = Callable[[Any], Any]


def coercer(kind: GraphQLOutputType) -> Coercer:
    """The function that completes a value of a leaf type, or of lists of them, or raises :class:`Odd`."""
    if isinstance(kind, GraphQLNonNull):
        return _required(coercer(kind.of_type))
    if isinstance(kind, GraphQLList):
        return _listed(coercer(kind.of_type))
    return _leaf(kind)  # type: ignore[arg-type]


def _required(inner: Coercer) -> Coercer:
    def required(value: Any) -> Any:
        made = inner(value)
        if made is None:
            raise Odd
        return made

    return required


def _listed(inner: Coercer) -> Coercer:
    def listed(value: Any) -> Any:
        if value is None:
            return None
        if value.__class__ is list or value.__class__ is tuple:
            return [inner(item) for item in value]
        raise Odd

    return listed


def _leaf(kind: GraphQLLeafType) -> Coercer:
    coerce = kind.coerce_output_value

    def leaf(value: Any) -> Any:
        if value is None or value is Undefined:
            return None
        if value.__class__ not in PLAIN and not is_plain(value.__class__) and _is_odd(value):
            raise Odd
        made = coerce(value)
        if made is None or made is Undefined or (made.__class__ not in PLAIN and is_awaitable(made)):
            raise Odd
        return made

    return leaf


def _is_odd(value: Any) -> bool:
    return isinstance(value, Exception) or is_awaitable(value)


def as_it_is(kind: GraphQLOutputType) -> type | None:
    """The class whose instances are values of a leaf type without any change, if there is one."""
    return {GraphQLString: str, GraphQLID: str, GraphQLBoolean: bool}.get(get_nullable_type(kind))  # type: ignore[arg-type]


_INT = "{v} if {v}.__class__ is int and -2147483648 <= {v} <= 2147483647{null} else {x}({v})"
_SAME = {
    GraphQLString: "{v} if {v}.__class__ is str{null} else {x}({v})",
    GraphQLID: "{v} if {v}.__class__ is str{null} else {x}({v})",
    GraphQLBoolean: "{v} if {v} is True or {v} is False{null} else {x}({v})",
    GraphQLInt: _INT,
    GraphQLFloat: "{v} if {v}.__class__ is float and {v} - {v} == 0.0{null} else {x}({v})",
}

_SERIALISED: dict[Any, set[type]] = {
    dt.datetime.isoformat: {dt.datetime},
    dt.date.isoformat: {dt.date},
    str: _TEXTUAL,
}
"""Serialisers that make a text of every instance of these classes."""


def expression(kind: GraphQLOutputType, value: str, index: int, names: dict[str, Any], *, native: bool) -> str:
    """Python that completes the local ``value``; what it needs is put into ``names``, told apart by ``index``.

    ``native`` leaves moments in UTC as they are, for orjson, which writes them the same and faster.
    """
    names[f"x{index}"] = coercer(kind)
    nullable = not isinstance(kind, GraphQLNonNull)
    leaf = get_nullable_type(kind)
    spelled = {"v": value, "x": f"x{index}", "null": f" or {value} is None" if nullable else ""}
    if leaf in _SAME:
        return _SAME[leaf].format(**spelled)
    if native and getattr(leaf, "serialize", None) == dt.datetime.isoformat:
        names["utc"], names["datetime"] = dt.UTC, dt.datetime
        is_moment = f"{value}.__class__ is datetime and {value}.tzinfo is utc"
        return f"{value} if {is_moment}{spelled['null']} else x{index}({value})"
    quick = _quick(leaf, value, index, names)
    if quick is None:
        return f"x{index}({value})"
    made = f"{quick} else x{index}({value})"
    return f"None if {value} is None else {made}" if nullable else made


def _quick(leaf: Any, value: str, index: int, names: dict[str, Any]) -> str | None:
    """``made if usual``, for enums and for scalars that are written as text."""
    if isinstance(leaf, GraphQLEnumType):
        members = getattr(leaf, "wrapped_cls", None)
        if members is None or not issubclass(members, Enum):
            return None
        names[f"e{index}"] = members
        names[f"n{index}"] = {member._name_: leaf.coerce_output_value(member) for member in members}
        return f"n{index}[{value}._name_] if {value}.__class__ is e{index}"
    serialise = getattr(leaf, "serialize", None)
    kinds = _SERIALISED.get(serialise) if serialise.__hash__ else None
    if kinds is None:
        return None
    names[f"s{index}"], names[f"k{index}"] = serialise, kinds
    return f"s{index}({value}) if {value}.__class__ in k{index}"
