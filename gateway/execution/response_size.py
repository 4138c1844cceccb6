"""The size of a response while it is built, so that it never takes more memory than its limit allows.

The size is that of the JSON text, escapes included, or a little more: values of a fixed form count with their longest
one. Measuring texts takes time, so it is put off while the response is within the limit

- even with the longest texts that the columns allow, and then
- even if each character of its texts is escaped.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import orjson
from graphql import GraphQLEnumType, GraphQLList, GraphQLOutputType, GraphQLString, get_nullable_type

_LARGEST = {"Boolean": 5, "Date": 12, "DateTime": 34, "Decimal": 24, "Float": 24, "ID": 96, "Int": 11, "UUID": 38}
"""The most bytes of a value in JSON, by the name of its scalar. 96 are those of a global id of a type whose name has 32
letters."""
_ESCAPED = 6
"""The most bytes of a character in JSON, which is written as ``\\u001f``."""
_NULL = len("null")
_PUNCTUATION = 6
"""Bytes around a key and its value: the quotation marks of the key, a colon and a comma, and two in reserve."""


def value_size(value: Any) -> int:
    """The bytes of a scalar in JSON, or of a list or an object of scalars."""
    try:
        return len(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS))
    except TypeError:  # a lone surrogate
        return _ESCAPED * len(str(value))


class ObjectSize:
    """The sizes of the result dicts of one selection.

    ``fields`` are the keys, types and greatest lengths of the leaf fields in the dicts; a length is None if it is not a
    text of a column with one. ``other_keys`` are those of the fields that are added later. ``bound`` is the most bytes
    of one dict, or None if it is unknown because a field is no such text.
    """

    __slots__ = ("_fixed", "_others", "_texts", "bound")

    def __init__(self, fields: Iterable[tuple[str, GraphQLOutputType, int | None]], other_keys: Iterable[str]) -> None:
        self._fixed = 3 + sum(_PUNCTUATION + len(key) for key in other_keys)
        self._texts: list[Callable[[Any], Any]] = []
        self._others: list[Callable[[Any], Any]] = []
        self.bound: int | None = 0
        for key, kind, length in fields:
            self._fixed += _PUNCTUATION + len(key)
            largest = _largest_value(kind)
            if largest is not None:
                self._fixed += largest
                continue
            is_text = get_nullable_type(kind) is GraphQLString
            (self._texts if is_text else self._others).append(itemgetter(key))
            self.bound = None if self.bound is None or length is None else self.bound + _ESCAPED * length + _NULL
        if self.bound is not None:
            self.bound += self._fixed

    @property
    def has_texts(self) -> bool:
        """Whether :meth:`estimate` is faster than :meth:`measure`."""
        return bool(self._texts)

    def estimate(self, results: Sequence[dict[str, Any]]) -> int:
        """The most bytes of the dicts, by the lengths of their texts."""
        size = (self._fixed + _NULL * len(self._texts)) * len(results) + _sum_sizes(self._others, results)
        for value_of in self._texts:
            size += _ESCAPED * sum(map(len, filter(None, map(value_of, results))))
        return size

    def measure(self, results: Sequence[dict[str, Any]]) -> int:
        """The bytes of the dicts."""
        return self._fixed * len(results) + _sum_sizes(self._texts + self._others, results)


def _sum_sizes(fields: Iterable[Callable[[Any], Any]], results: Sequence[dict[str, Any]]) -> int:
    return sum(sum(map(value_size, map(value_of, results))) for value_of in fields)


def _largest_value(kind: GraphQLOutputType) -> int | None:
    """The most bytes of a value of a fixed form, None if there is no such limit."""
    leaf: Any = get_nullable_type(kind)
    if isinstance(leaf, GraphQLEnumType):
        return max(map(len, leaf.values)) + 2
    return None if isinstance(leaf, GraphQLList) else _LARGEST.get(leaf.name)


class ResponseSize:
    """Adds up the bytes of one response. ``limit`` is the most that it may have, None for no limit."""

    __slots__ = ("_at_most", "_bounded", "_estimated", "_limit", "is_exceeded")

    def __init__(self, limit: int | None) -> None:
        self._limit = sys.maxsize if limit is None else limit
        self.is_exceeded = False
        """Whether the response has more bytes than are allowed."""
        self._at_most = 0
        self._bounded: list[tuple[ObjectSize, Sequence[dict[str, Any]], int]] = []
        """Result dicts with the bytes that count for them."""
        self._estimated: list[tuple[ObjectSize, Sequence[dict[str, Any]], int]] = []

    def add(self, size: int) -> None:
        """Adds the bytes of a value or an error."""
        self._at_most += size
        if self._at_most > self._limit:
            self._measure()

    def add_objects(self, kind: ObjectSize, results: Sequence[dict[str, Any]]) -> None:
        """Adds result dicts, which are measured when their texts can matter."""
        if not kind.has_texts:
            self._at_most += kind.measure(results)
        elif kind.bound is None:
            self._add_estimate(kind, results)
        else:
            bound = kind.bound * len(results)
            self._at_most += bound
            self._bounded.append((kind, results, bound))
        if self._at_most > self._limit:
            self._measure()

    def _add_estimate(self, kind: ObjectSize, results: Sequence[dict[str, Any]]) -> None:
        estimate = kind.estimate(results)
        self._at_most += estimate
        self._estimated.append((kind, results, estimate))

    def _measure(self) -> None:
        """Estimates what was only bounded, and then measures what was estimated, until the response is small enough."""
        while self._bounded:
            kind, results, bound = self._bounded.pop()
            self._at_most -= bound
            self._add_estimate(kind, results)
        if self._at_most > self._limit:
            while self._estimated:
                kind, results, estimate = self._estimated.pop()
                self._at_most += kind.measure(results) - estimate
            self.is_exceeded = self._at_most > self._limit
