"""The plan of an operation: everything that is known about its fields before it runs.

A plan is made for an operation and the values of the variables in its ``@skip`` and ``@include`` (planner.py); it holds
nothing of a request. A :class:`Selection` is a selection set on one object type. Its :attr:`Selection.build` is
generated code: it makes the result dicts of any number of objects, with all leaf fields that are read from the object
itself. The other fields are None in these dicts, at their place in the order, until the executor sets them.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
)
from graphql.execution.collect_fields import FieldDetailsList
from strawberry.types.field import StrawberryField

from gateway.execution.arguments import Arguments
from gateway.execution.leaf_serializers import (
    Serializer,
    UnexpectedValue,
    build_expression,
    build_serializer,
    register_if_plain,
    unchanged_class,
)
from gateway.execution.response_size import ObjectSize
from repositories.sql.table import Column, declared
from schema.types.view import COLUMN, Resolution

Getter = Callable[[Any], Any]
PlanSelection = Callable[[FieldDetailsList, GraphQLObjectType], "Selection"]


class Field:
    """A field of a selection set: how it is resolved and completed, and what is selected below it."""

    __slots__ = (
        "_plan_selection",
        "_selections",
        "arguments",
        "definition",
        "details",
        "getter",
        "index",
        "is_abstract",
        "is_item_nullable",
        "is_list",
        "is_nested_list",
        "is_nullable",
        "item_type",
        "key",
        "named_type",
        "resolution",
        "serialize",
        "strawberry_field",
        "type",
        "unchanged_class",
    )

    def __init__(
        self, key: str, index: int, definition: GraphQLField, details: FieldDetailsList, plan_selection: PlanSelection
    ) -> None:
        self.key = key
        self.index = index
        self.definition = definition
        self.details = details
        self.type: GraphQLOutputType = definition.type
        self.is_nullable = not isinstance(self.type, GraphQLNonNull)
        nullable: Any = get_nullable_type(self.type)
        self.is_list = isinstance(nullable, GraphQLList)
        self.item_type: Any = nullable.of_type if self.is_list else self.type
        self.is_item_nullable = not isinstance(self.item_type, GraphQLNonNull)
        self.is_nested_list = self.is_list and isinstance(get_nullable_type(self.item_type), GraphQLList)
        self.strawberry_field: StrawberryField | None = definition.extensions.get("strawberry-definition")
        self.resolution = self._find_resolution()
        self.getter: Getter | str | None = _find_getter(self.strawberry_field)
        self.named_type: Any = get_named_type(self.type)
        self.is_abstract = is_abstract_type(self.named_type)
        self.serialize: Serializer | None = build_serializer(self.type) if is_leaf_type(self.named_type) else None
        self.unchanged_class = unchanged_class(self.type)
        self.arguments = Arguments(definition, details)
        self._plan_selection = plan_selection
        self._selections: dict[GraphQLObjectType, Selection] = {}

    def selection(self, kind: GraphQLObjectType) -> "Selection | None":
        """The fields selected on values of one object type; None if graphql-core must complete the values.

        It is planned when the first such value arrives, because fragments can select exponentially more than any data
        has. A selection that cannot be planned, such as one with ``@include(if: null)``, is an error of each value.
        """
        selection = self._selections.get(kind)
        if selection is None:
            try:
                selection = self._selections[kind] = self._plan_selection(self.details, kind)
            except Exception:  # noqa: BLE001 (graphql-core meets it again and reports it)
                return None
        return selection

    @property
    def planned_selections(self) -> Sequence["Selection"]:
        """The selections that were planned so far."""
        return tuple(self._selections.values())

    def _find_resolution(self) -> Resolution | None:
        field = self.strawberry_field
        resolver = field.base_resolver if field else None
        if resolver is None or field is None or field.extensions or field.is_subscription:
            return None
        resolution: Resolution | None = getattr(resolver.wrapped_func, "resolution", None)
        return resolution


def _find_getter(field: StrawberryField | None) -> Getter | str | None:
    """The attribute name or function that reads the field from the object alone, or None."""
    if field is None or field.extensions or field.is_subscription:  # a subscription's resolver makes the event stream
        return None
    resolver = field.base_resolver
    if resolver is None:
        return field.python_name if field.default_resolver is getattr else None
    function = resolver.wrapped_func
    if resolver.is_async or resolver.arguments or resolver.info_parameter or not inspect.isfunction(function):
        return None
    if resolver.root_parameter or resolver.self_parameter or resolver.parent_parameter:
        return function
    return lambda _: function()


class Selection:
    """A selection set on one object type, and the function that makes its result dicts.

    ``unbuilt_fields`` are those that are None in the dicts. ``size`` measures the dicts.
    """

    __slots__ = (
        "_has_known_type",
        "build",
        "by_key",
        "classes",
        "fields",
        "size",
        "type",
        "unbuilt_fields",
    )

    def __init__(self, kind: GraphQLObjectType, fields: Sequence[Field], *, native: bool) -> None:
        self.type = kind
        self.fields = fields
        self.by_key = {field.key: field for field in fields}
        row: type | None = getattr(kind.is_type_of, "row", None)
        self._has_known_type = row is not None or kind.is_type_of is None
        self.classes: set[type] = {row} if row is not None else set()
        self.unbuilt_fields: list[Field] = []
        self.build: Callable[[Sequence[Any]], list[dict[str, Any]]] = self._generate(native=native)
        built = [field for field in fields if field not in self.unbuilt_fields]
        leaves = [(field.key, field.type, _max_length(field, row)) for field in built]
        self.size = ObjectSize(leaves, [field.key for field in self.unbuilt_fields])

    def _check_class(self, value: Any) -> None:
        """Adds the class of an object to ``classes``, or raises UnexpectedValue if graphql-core must look at it."""
        kind = value.__class__
        if not self._has_known_type or kind is type(None) or not register_if_plain(kind):
            raise UnexpectedValue
        if self.type.is_type_of is not None and not issubclass(kind, self.type.is_type_of.row):  # type: ignore[attr-defined]
            raise UnexpectedValue
        self.classes.add(kind)

    def _generate(self, *, native: bool) -> Callable[[Sequence[Any]], list[dict[str, Any]]]:
        row = getattr(self.type.is_type_of, "row", None)
        names: dict[str, Any] = {"classes": self.classes, "check_class": self._check_class}
        reads, entries = [], []
        for field in self.fields:
            entry = "None"
            if field.definition.resolve is not None and field.details[0].node.name.value == "__typename":
                entry = repr(self.type.name)
            elif field.serialize is not None and field.getter is not None:
                reads.append(f"v{field.index} = {_read_expression(field, names, row)}")
                entry = build_expression(field.type, f"v{field.index}", field.index, names, native=native)
            else:
                self.unbuilt_fields.append(field)
            entries.append(f"{field.key!r}: {entry}")
        body = "\n        ".join(reads)
        source = (
            "def build(objects):\n"
            "    results = []\n"
            "    add = results.append\n"
            "    for o in objects:\n"
            "        if o.__class__ not in classes: check_class(o)\n"
            f"        {body}\n"
            f"        add({{{', '.join(entries)}}})\n"
            "    return results\n"
        )
        exec(compile(source, f"<selection on {self.type.name}>", "exec"), names)  # noqa: S102 (names are GraphQL names)
        build: Callable[[Sequence[Any]], list[dict[str, Any]]] = names["build"]
        return build


def _column_of(field: Field, row: type | None) -> tuple[Column[Any] | None, Any]:
    """The column that a field shows, and the function that makes its converter from the row's class; None without."""
    source = field.strawberry_field.metadata.get(COLUMN) if field.strawberry_field is not None else None
    if source is None and isinstance(field.getter, str):
        source = field.getter, None
    if source is None or row is None:
        return None, None
    name, converter_of = source
    column = inspect.getattr_static(row, name, None)
    return (column, converter_of) if isinstance(column, Column) else (None, None)


def _max_length(field: Field, row: type | None) -> int | None:
    """The most characters of the column that a field shows, None if it shows no column with such a limit."""
    column, _ = _column_of(field, row)
    length = declared(column.sql).length if column is not None else None
    return length[1] if length is not None else None


def _read_expression(field: Field, names: dict[str, Any], row: type | None) -> str:
    """The expression that reads a field's value from the object ``o``: rows are tuples, read by index."""
    column, converter_of = _column_of(field, row)
    if column is not None and converter_of is None:
        return f"o[{column.index}]"
    if column is not None:
        names[f"g{field.index}"] = converter_of(row)
        return f"g{field.index}(o[{column.index}])"
    if isinstance(field.getter, str):
        return f"o.{field.getter}"
    names[f"g{field.index}"] = field.getter
    return f"g{field.index}(o)"


@dataclass(frozen=True, slots=True)
class Plan:
    """The root selection of an operation."""

    root: Selection

    def position(self, path: Iterable[str | int]) -> tuple[int, ...]:
        """The position of a response path in depth-first order: the indexes of its fields and of its list items."""
        position: list[int] = []
        selections: Sequence[Selection] = (self.root,)
        for key in path:
            if isinstance(key, int):
                position.append(key)
                continue
            field = next((selection.by_key[key] for selection in selections if key in selection.by_key), None)
            if field is None:
                break
            position.append(field.index)
            selections = field.planned_selections
        return tuple(position)
