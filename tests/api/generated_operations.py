"""Random operations on the gateway's schema, with values of every kind in every position.

The documents are valid. Values are valid, extreme, null, omitted or of a wrong type, as literals and as variables.
"""

import base64
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
    is_leaf_type,
)

from repositories.core.ids import new_id
from schema import schema
from tests.api.client import gid

GRAPH = schema._schema
OMITTED = object()
"""A value that is left out."""

TEXTS = (
    "",
    " ",
    "a",
    "Something",
    "ada@example.com",
    "jo@xn--bcher-kva.example",
    "NFD e\u0301 \ufb01 \u0130\u0131ß",
    "\u202e\u200b\u2028",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\x00",
    "a\x1fb",
    "%_\\",
    "\\",
    "'; DROP TABLE users; --",
    "../../etc/passwd",
    "Europe/Berlin",
    "Pacific/Apia",
    "UTC",
    "https://example.com/a?b=c",
    "javascript:alert(1)",
    "http://[::1]:99999/",
    "+49 30 1234567",
    "#3B82F6",
    "TaskCompleted",
    "roll-days",
    "0",
    "-1",
    "9" * 400,
    "a" * 255,
    "ü" * 10_001,
    "\x01" * 300_000,
    " ".join("abcdefghijkl"),
    "e30=",
    "eyJhIjoxfQ==",
)
NUMBERS = (0, 1, -1, 2, 5, 20, 100, 500, 501, 10_000, 2**31 - 1, -(2**31))
WRONG: tuple[Any, ...] = (
    None,
    True,
    1.5,
    2**31,
    -(2**63),
    2**64 - 1,
    1e308,
    "x",
    "",
    [],
    [[]],
    {},
    {"a": None},
    [None],
)
SCALARS: Mapping[str, Sequence[Any]] = {
    "Int": NUMBERS,
    "Float": (0, 0.1, -1e308, 1e308, 5e-324),
    "Boolean": (True, False),
    "String": TEXTS,
    "DateTime": (
        "2026-06-15T12:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "1900-01-01T00:00:00+23:59",
        "2199-12-31T23:59:59-23:59",
        "2026-03-29T02:30:00+01:00",
        "2024-02-29t00:00:00.1z",
    ),
    "Date": ("2026-06-15", "0001-01-01", "9999-12-31", "2024-02-29", "1900-01-01", "2199-12-31"),
    "Decimal": ("0", "-0", "12.50", "0.00001", ".5", "5.", "9" * 100, "-" + "9" * 50 + "." + "9" * 40, 7, -(2**31)),
    "UUID": ("00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"),
    "JSON": ({}, [], None, 0, "x", {"a": [1, {"b": None}]}, 2**63, -(2**63), [[[[]]]] * 3, {"": "\x00"}, 1e308),
}
NODE_TYPES = (
    "Task",
    "Category",
    "User",
    "Client",
    "Contact",
    "Partner",
    "Referral",
    "Reward",
    "Achievement",
    "Role",
)


@dataclass
class Operation:
    """The text of a document with one operation, and its variables."""

    kind: str
    text: str
    variables: dict[str, Any]


@dataclass
class Generator:
    """Writes operations.

    ``ids`` are global ids of existing rows by the names of their types, ``cursors`` those of existing rows by the names
    of the root fields that return them without arguments.
    """

    random: random.Random
    ids: Mapping[str, Sequence[str]]
    cursors: Mapping[str, str]
    _declared: dict[str, str] = field(default_factory=dict)
    _variables: dict[str, Any] = field(default_factory=dict)
    _fields: int = 0
    _wrongness: float = 0.0

    def operation(self) -> Operation:
        """The next operation."""
        self._declared, self._variables, self._fields = {}, {}, 0
        self._wrongness = self.random.choice([0.0, 0.0, 0.01, 0.1])
        (kind,) = self.random.choices(["query", "mutation", "subscription"], [10, 10, 1])
        root: GraphQLObjectType = getattr(GRAPH, f"{kind}_type")
        count = 1 if kind == "subscription" else self.random.choice([1, 1, 1, 2, 4])
        names = self.random.choices(sorted(root.fields), k=count)
        body = " ".join(f"r{index}: {self._field(name, root.fields[name], 4)}" for index, name in enumerate(names))
        declared = ", ".join(f"${name}: {kind}" for name, kind in self._declared.items())
        return Operation(kind, f"{kind}{f'({declared})' if declared else ''} {{ {body} }}", self._variables)

    def _field(self, name: str, definition: GraphQLField, depth: int) -> str:
        """A field with arguments and a selection."""
        self._fields += 1
        if name in self.cursors and self.random.random() < 0.2:
            written = {"first": "3", "after": self._variable("String", self._cursor(self.cursors[name]))}
        else:
            written = {name: self._input(name, argument) for name, argument in definition.args.items()}
        arguments = ", ".join(f"{name}: {text}" for name, text in written.items() if text is not OMITTED)
        named = get_named_type(definition.type)
        selection = "" if is_leaf_type(named) else self._selection(named, depth - 1)
        return f"{name}{f'({arguments})' if arguments else ''}{self._directive()} {selection}"

    def _cursor(self, cursor: str) -> str:
        """The cursor, or one of the same list with a value that the gateway has not written."""
        fingerprint, *values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if self.random.random() < 0.8:
            made = self.random.choice([WRONG, NUMBERS, TEXTS, *SCALARS.values()])
            values[self.random.randrange(len(values))] = self.random.choice(made)
        return base64.urlsafe_b64encode(json.dumps([fingerprint, *values]).encode()).decode().rstrip("=")

    def _directive(self) -> str:
        if self.random.random() > 0.03:
            return ""
        kind = self.random.choice(["Boolean!", "Boolean! = true"])
        value = self.random.choice([True, False])
        return f" @{self.random.choice(['skip', 'include'])}(if: {self._variable(kind, value)})"

    def _selection(self, kind: Any, depth: int) -> str:
        """A selection on an object type or an interface."""
        if isinstance(kind, GraphQLInterfaceType) and depth > 0:
            object_type = self.random.choice(GRAPH.get_possible_types(kind))
            return f"{{ __typename id ... on {object_type.name} {self._selection(object_type, depth)} }}"
        leaves = [name for name, each in kind.fields.items() if is_leaf_type(get_named_type(each.type))]
        objects = [name for name in kind.fields if name not in leaves]
        chosen_leaves = self.random.sample(leaves, self.random.randint(0, len(leaves)))
        texts = [self._field(f"{name}", kind.fields[name], depth) for name in chosen_leaves]
        if depth > 0 and self._fields < 60:
            chosen = self.random.sample(objects, min(len(objects), self.random.randint(0, 3)))
            texts += [self._field(name, kind.fields[name], depth) for name in chosen]
        if "userErrors" in kind.fields and not any(text.startswith("userErrors") for text in texts):
            texts.append("userErrors { code message field }")
        return f"{{ {' '.join(texts or ['__typename'])} }}"

    def _input(self, name: str, definition: Any) -> Any:
        """The text of an argument's value: a literal, a variable, or a literal with variables in it; or OMITTED."""
        value = self.value(definition.type, name, "")
        is_required = isinstance(definition.type, GraphQLNonNull) and definition.default_value is not None
        if value is OMITTED and not is_required:
            return OMITTED
        return self._text(definition.type, value)

    def _text(self, kind: Any, value: Any) -> str:
        nullable: Any = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
        is_object = isinstance(nullable, GraphQLInputObjectType) and isinstance(value, dict)
        is_list = isinstance(nullable, GraphQLList) and isinstance(value, list)
        if (is_object or is_list) and self.random.random() < 0.3:
            if is_list:
                return f"[{', '.join(self._text(nullable.of_type, item) for item in value)}]"
            if self._is_well_formed(nullable, value):
                fields = [f"{name}: {self._text(nullable.fields[name].type, item)}" for name, item in value.items()]
                return f"{{{', '.join(fields)}}}"
        if value is not OMITTED and self.random.random() < 0.2 and _can_be_literal(kind, value):
            return literal(value)
        return self._variable(str(kind), value)

    def _is_well_formed(self, kind: GraphQLInputObjectType, value: Mapping[str, Any]) -> bool:
        """Whether an object has the fields that a literal must have."""
        required = {name for name, each in kind.fields.items() if _is_required(each)}
        return required <= set(value) <= set(kind.fields)

    def _variable(self, kind: str, value: Any) -> str:
        name = f"v{len(self._declared)}"
        self._declared[name] = kind
        if value is not OMITTED:
            self._variables[name] = value
        return f"${name}"

    def value(self, kind: Any, name: str, parent: str, depth: int = 0) -> Any:
        """A value for an argument or a field of an input; ``parent`` is the type of the input."""
        if self.random.random() < self._wrongness:
            return self.random.choice([*WRONG, OMITTED])
        if not isinstance(kind, GraphQLNonNull):
            chance = self.random.random()
            if chance < 0.15 + 0.15 * depth:
                return OMITTED
            if chance < 0.25 + 0.15 * depth:
                return None
        nullable: Any = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
        if isinstance(nullable, GraphQLList):
            return self._list(nullable, name, parent, depth)
        if isinstance(nullable, GraphQLInputObjectType):
            values = {
                name: self.value(each.type, name, nullable.name, depth + 1) for name, each in nullable.fields.items()
            }
            return {name: value for name, value in values.items() if value is not OMITTED}
        if isinstance(nullable, GraphQLEnumType):
            return self.random.choice(sorted(nullable.values))
        if nullable.name == "ID":
            return self._id(name, parent)
        if nullable.name == "UUID" and self.random.random() < 0.8:
            return str(new_id())
        return self._scalar(nullable.name, name)

    def _list(self, kind: Any, name: str, parent: str, depth: int) -> list[Any]:
        """Rarely as long as no input may be."""
        count, repetitions = self.random.choice([(0, 1), (1, 1), (1, 1), (2, 1), (3, 1), (3, 1), (4, 30)])
        if self.random.random() < 0.01:
            repetitions = 3000
        items = [self.value(kind.of_type, name, parent, depth + 1) for _ in range(count)]
        return [None if item is OMITTED else item for item in items] * repetitions

    def _scalar(self, kind: str, name: str) -> Any:
        if kind == "String" and name in {"after", "before"}:
            return self.random.choice([*TEXTS, *(key for keys in self.ids.values() for key in keys[:1])])
        usual = {"String": "Something", "Int": 1, "DateTime": "2026-06-15T12:00:00Z", "Date": "2026-06-15"}
        if kind in usual and self.random.random() < 0.5:
            return usual[kind]
        return self.random.choice(SCALARS[kind])

    def _id(self, name: str, parent: str) -> Any:
        """The global id of an existing row, mostly of the type that the names suggest."""
        hints = [
            kind for kind in self.ids if name.lower().startswith(kind.lower()) or (name == "id" and kind in parent)
        ]
        chance = self.random.random()
        if chance < 0.8:
            kinds = hints if hints and chance < 0.7 else sorted(self.ids)
            return self.random.choice(self.ids[self.random.choice(kinds)])
        made = [gid(self.random.choice(NODE_TYPES), new_id()), "", "x", "é", "VGFzazo=", 5, "VGFzazox" * 50]
        return self.random.choice(made)


def _is_required(definition: GraphQLInputField) -> bool:
    return isinstance(definition.type, GraphQLNonNull) and definition.default_value is None


def _can_be_literal(kind: Any, value: Any) -> bool:
    """Whether a value is written the same in JSON and in a document, and valid for its type."""
    named = get_named_type(kind)
    if isinstance(kind, GraphQLNonNull) and value is None:
        return False
    if named.name in {"Int", "Boolean", "JSON"}:
        return named.name == "JSON" or value is None or (isinstance(value, int) and -(2**31) <= value < 2**31)
    return named.name in {"String", "ID"} and isinstance(value, str)


def literal(value: Any) -> str:
    """A value as a literal."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        fields = [f"{name or '_'}: {literal(item)}" for name, item in value.items()]
        return f"{{{', '.join(fields)}}}"
    return json.dumps(value)
