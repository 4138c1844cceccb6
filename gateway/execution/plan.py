"""The plan of an operation: what is known about each of its fields before any value is.

A plan is made once for an operation and the values of the variables in its ``@skip`` and ``@include``; it holds
nothing of a request. A :class:`Selection` is a selection set on one object type. Its :attr:`Selection.build` is
generated: it makes the dicts of any number of objects, with all leaf fields that are read from the object itself. The
other fields are left None in them, at their place in the order, for the executor (executor.py) to fill in.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
)
from graphql.error import GraphQLError
from graphql.execution.collect_fields import (
    FieldDetails,
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues
from graphql.language import Visitor, visit
from strawberry.types.field import StrawberryField

from gateway.execution.arguments import Arguments
from gateway.execution.leaves import Coercer, Odd, as_it_is, coercer, expression, is_plain
from repositories.sql.table import Column
from schema.operations.converters import ConverterCompiler
from schema.types.view import COLUMN, Resolution

Getter = Callable[[Any], Any]


class Field:
    """A field of a selection set: where its value comes from, and what is selected of it."""

    __slots__ = (
        "_planning",
        "_selections",
        "arguments",
        "as_it_is",
        "coerce",
        "definition",
        "details",
        "getter",
        "index",
        "is_abstract",
        "is_deep",
        "is_item_nullable",
        "is_list",
        "is_nullable",
        "item_type",
        "key",
        "named",
        "published",
        "resolution",
        "type",
    )

    def __init__(
        self, key: str, index: int, definition: GraphQLField, details: FieldDetailsList, planning: "_Planning"
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
        self.is_deep = self.is_list and isinstance(get_nullable_type(self.item_type), GraphQLList)
        self.published: StrawberryField | None = definition.extensions.get("strawberry-definition")
        self.resolution = self._resolution()
        self.getter: Getter | str | None = _getter(self.published)
        self.named: Any = get_named_type(self.type)
        self.is_abstract = is_abstract_type(self.named)
        self.coerce: Coercer | None = coercer(self.type) if is_leaf_type(self.named) else None
        self._planning = planning
        self._selections: dict[GraphQLObjectType, Selection] = {}
        self.as_it_is = as_it_is(self.type)
        self.arguments = Arguments(definition, details)

    def selection(self, kind: GraphQLObjectType) -> "Selection":
        """What is selected of a value of that type; planned when there is the first such value.

        Fragments can spell more selections than any data has.
        """
        known = self._selections.get(kind)
        if known is None:
            known = self._selections[kind] = self._planning.below(self.details, kind)
        return known

    @property
    def seen(self) -> Sequence["Selection"]:
        """The selections that were planned so far."""
        return tuple(self._selections.values())

    def _resolution(self) -> Resolution | None:
        published = self.published
        resolver = published.base_resolver if published else None
        if resolver is None or published is None or published.extensions or published.is_subscription:
            return None
        found: Resolution | None = getattr(resolver.wrapped_func, "resolution", None)
        return found


def _getter(published: StrawberryField | None) -> Getter | str | None:
    """How the value is read from the object, if that needs nothing else: a function, or the name of an attribute."""
    if published is None or published.extensions or published.is_subscription:  # whose resolver makes the stream
        return None
    resolver = published.base_resolver
    if resolver is None:
        return published.python_name if published.default_resolver is getattr else None
    function = resolver.wrapped_func
    if resolver.is_async or resolver.arguments or resolver.info_parameter or not inspect.isfunction(function):
        return None
    if resolver.root_parameter or resolver.self_parameter or resolver.parent_parameter:
        return function
    return lambda _: function()


class Selection:
    """A selection set on one object type, and the function that makes its dicts."""

    __slots__ = ("build", "by_key", "fields", "is_static", "kinds", "rest", "type")

    def __init__(self, kind: GraphQLObjectType, fields: Sequence[Field], *, native: bool) -> None:
        self.type = kind
        self.fields = fields
        self.by_key = {field.key: field for field in fields}
        accepted: type | None = getattr(kind.is_type_of, "row", None)
        self.is_static = accepted is not None or kind.is_type_of is None
        self.kinds: set[type] = {accepted} if accepted is not None else set()
        self.rest: list[Field] = []
        self.build: Callable[[Sequence[Any]], list[dict[str, Any]]] = self._generated(native=native)

    def _check(self, value: Any) -> None:
        """Refuses objects that are not surely of the type, and remembers the classes of those that are."""
        kind = value.__class__
        if not self.is_static or kind is type(None) or not is_plain(kind):
            raise Odd
        if self.type.is_type_of is not None and not issubclass(kind, self.type.is_type_of.row):  # type: ignore[attr-defined]
            raise Odd
        self.kinds.add(kind)

    def _generated(self, *, native: bool) -> Callable[[Sequence[Any]], list[dict[str, Any]]]:
        row = getattr(self.type.is_type_of, "row", None)
        names: dict[str, Any] = {"kinds": self.kinds, "check": self._check}
        reads, entries = [], []
        for field in self.fields:
            entry = "None"
            if field.definition.resolve is not None and field.details[0].node.name.value == "__typename":
                entry = repr(self.type.name)
            elif field.coerce is not None and field.getter is not None:
                reads.append(f"v{field.index} = {_read(field, names, row)}")
                entry = expression(field.type, f"v{field.index}", field.index, names, native=native)
            else:
                self.rest.append(field)
            entries.append(f"{field.key!r}: {entry}")
        body = "\n        ".join(reads)
        source = (
            "def build(objects):\n"
            "    made = []\n"
            "    add = made.append\n"
            "    for o in objects:\n"
            "        if o.__class__ not in kinds: check(o)\n"
            f"        {body}\n"
            f"        add({{{', '.join(entries)}}})\n"
            "    return made\n"
        )
        exec(compile(source, f"<selection on {self.type.name}>", "exec"), names)  # noqa: S102 (names are GraphQL names)
        made: Callable[[Sequence[Any]], list[dict[str, Any]]] = names["build"]
        return made


def _read(field: Field, names: dict[str, Any], row: type | None) -> str:
    derived = field.published.metadata.get(COLUMN) if field.published is not None else None
    if derived is not None and row is not None:
        name, made_of = derived
        index = inspect.getattr_static(row, name).index
        if made_of is None:
            return f"o[{index}]"
        names[f"g{field.index}"] = made_of(row)
        return f"g{field.index}(o[{index}])"
    if isinstance(field.getter, str):
        column = inspect.getattr_static(row, field.getter, None)
        return f"o[{column.index}]" if isinstance(column, Column) else f"o.{field.getter}"
    names[f"g{field.index}"] = field.getter
    return f"g{field.index}(o)"


class _Unplanned(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Plan:
    """The root selection of an operation."""

    root: Selection

    def place(self, path: Iterable[str | int]) -> tuple[int, ...]:
        """Where a path comes in depth-first order: the places of its fields, and the indexes of lists."""
        place: list[int] = []
        selections: Sequence[Selection] = (self.root,)
        for key in path:
            if isinstance(key, int):
                place.append(key)
                continue
            field = next((selection.by_key[key] for selection in selections if key in selection.by_key), None)
            if field is None:
                break
            place.append(field.index)
            selections = field.seen
        return tuple(place)


class Planner:
    """Makes plans for the operations of one schema, and keeps the latest.

    ``native`` is for data that orjson will write (leaves.py).
    """

    def __init__(self, schema: GraphQLSchema, *, native: bool = False, size: int = 500) -> None:
        self.schema = schema
        self.native = native
        self.converters = ConverterCompiler(schema) if hasattr(schema, "_strawberry_schema") else None
        self._size = size
        self._kept: dict[int, tuple[OperationDefinitionNode, tuple[str, ...], dict[Any, Plan | None]]] = {}

    def plan(
        self,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDetails],
        variables: VariableValues,
        root_type: GraphQLObjectType,
    ) -> Plan | None:
        """The plan of an operation of a validated document, or None if graphql-core should run it."""
        known = self._kept.get(id(operation))
        if known is None or known[0] is not operation:
            if len(self._kept) >= self._size:
                self._kept.pop(next(iter(self._kept)))
            known = self._kept[id(operation)] = (operation, deciding_variables(operation, fragments), {})
        _, names, plans = known
        flags = tuple(variables.coerced.get(name) for name in names)
        if flags not in plans:
            if len(plans) >= _MOST_FLAGS:
                plans.clear()
            try:
                deciding = VariableValues(
                    {name: variables.sources[name] for name in names if name in variables.sources},
                    {name: variables.coerced[name] for name in names if name in variables.coerced},
                )
                plans[flags] = _Planning(self, operation, fragments, deciding).root(root_type)
            except (_Unplanned, GraphQLError):
                plans[flags] = None
        return plans[flags]


_MOST_FLAGS = 32
"""Of how many combinations of ``@skip`` and ``@include`` the plans are kept for one operation."""


class _Flags(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, None] = {}

    def enter_directive(self, node: Any, *_: Any) -> None:
        for argument in node.arguments or ():
            if isinstance(argument.value, VariableNode):
                self.names[argument.value.name.value] = None


def deciding_variables(operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDetails]) -> tuple[str, ...]:
    """The variables that decide what is selected."""
    flags = _Flags()
    for node in (operation, *(fragment.definition for fragment in fragments.values())):
        visit(node, flags)
    return tuple(flags.names)


def _is_beyond(detail: FieldDetails) -> bool:
    """Whether something is asked of a field that plans do not know: incremental delivery, variables of fragments."""
    is_streamed = any(directive.name.value == "stream" for directive in detail.node.directives or ())
    return is_streamed or detail.defer_usage is not None or detail.fragment_variable_values is not None


class _Planning:
    """One plan in the making."""

    def __init__(
        self,
        planner: Planner,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDetails],
        variables: VariableValues,
    ) -> None:
        self.schema = planner.schema
        self.native = planner.native
        self.operation = operation
        self.fragments = fragments
        self.variables = variables

    def root(self, root_type: GraphQLObjectType) -> Plan:
        """The plan of the whole operation."""
        collected = collect_fields(self.schema, self.fragments, self.variables, root_type, self.operation)
        return Plan(self.selection(root_type, collected.grouped_field_set))

    def selection(self, kind: GraphQLObjectType, grouped: GroupedFieldSet) -> Selection:
        """A selection set and all below it."""
        fields: list[Field] = []
        for key, details in grouped.items():
            definition = self.schema.get_field(kind, details[0].node.name.value)
            if definition is None or any(_is_beyond(detail) for detail in details):
                raise _Unplanned
            fields.append(self.field(key, len(fields), definition, details))
        return Selection(kind, fields, native=self.native)

    def field(self, key: str, index: int, definition: GraphQLField, details: FieldDetailsList) -> Field:
        """A field of a selection set."""
        return Field(key, index, definition, details, self)

    def below(self, details: FieldDetailsList, kind: GraphQLObjectType) -> Selection:
        """What is selected of the values of a field that are of that type."""
        collected = collect_subfields(self.schema, self.fragments, self.variables, self.operation, kind, details)
        return self.selection(kind, collected.grouped_field_set)
