"""Arguments: what of them can be done once for a plan is, the rest is read from compiled converters.

Strawberry makes Python values of GraphQL's by asking each type anew what it is; here a type is asked once. Only inputs
that build themselves (Pydantic models) are left to Strawberry.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Any

from graphql import GraphQLField, GraphQLSchema
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.values import VariableValues, coerce_argument
from graphql.language import Node, Visitor, visit
from strawberry.schema import compat
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import (
    StrawberryList,
    StrawberryMaybe,
    StrawberryOptional,
    has_object_definition,
)
from strawberry.types.enum import StrawberryEnumDefinition, has_enum_definition
from strawberry.types.lazy_type import LazyType
from strawberry.types.unset import UNSET

Info = Callable[[], Any]
Path = tuple[str | int, ...]
Convert = Callable[[Any, Info, Path], Any]


def _same(value: Any, _info: Info, _path: Path) -> Any:
    return value


class Converters:
    """The converters of the inputs of one schema."""

    def __init__(self, schema: GraphQLSchema) -> None:
        converter: Any = schema._strawberry_schema.schema_converter  # type: ignore[attr-defined]  # noqa: SLF001 (Strawberry's link to itself)
        self.registry = converter.scalar_registry
        self.config = converter.config
        self._objects: dict[type, Convert] = {}
        self._building: set[Convert] = set()

    def name(self, argument: StrawberryArgument) -> str:
        """The name of an argument in the contract."""
        name: str = self.config.name_converter.from_argument(argument)
        return name

    def of(self, kind: Any) -> Convert:
        """What makes the Python value of a type's value."""
        if isinstance(kind, LazyType):
            return self.of(kind.resolve_type())
        if isinstance(kind, StrawberryMaybe):
            return self._by_strawberry(kind)
        if isinstance(kind, StrawberryOptional):
            return self.of(kind.of_type)
        if isinstance(kind, StrawberryList):
            return self._list(kind)
        if isinstance(kind, StrawberryEnumDefinition) or has_enum_definition(kind):
            return _same
        if compat.is_scalar(kind, self.registry):
            return _same
        if has_object_definition(kind) and kind.__strawberry_definition__.from_input is None:
            return self._object(kind)
        return self._by_strawberry(kind)

    def _by_strawberry(self, kind: Any) -> Convert:
        def convert(value: Any, info: Info, path: Path) -> Any:
            return convert_argument(value, kind, self.registry, self.config, info(), path=path)

        self._building.add(convert)
        return convert

    def builds(self, convert: Convert) -> bool:
        """Whether a converter makes something new of equal values, such as a command with an id of its own."""
        return convert in self._building

    def _list(self, kind: StrawberryList) -> Convert:
        item = self.of(kind.of_type)

        def convert(value: Any, info: Info, path: Path) -> Any:
            if value is None or value is UNSET:
                return value
            if item is _same:
                return list(value)
            return [item(entry, info, (*path, index)) for index, entry in enumerate(value)]

        if item in self._building:
            self._building.add(convert)
        return convert

    def _object(self, kind: type) -> Convert:
        known = self._objects.get(kind)
        if known is not None:
            return known
        definition = kind.__strawberry_definition__  # type: ignore[attr-defined]
        empty = {
            field.python_name: None
            for field in definition.fields
            if field.default_value is MISSING and field.default_factory is MISSING
        }
        fields: dict[str, tuple[str, Convert]] = {}

        def convert(value: Any, info: Info, path: Path) -> Any:
            if value is None or value is UNSET:
                return value
            given: dict[str, Any] = dict(empty)
            for name, entry in value.items():
                python_name, made = fields[name]
                given[python_name] = made(entry, info, (*path, name))
            return kind(**given)

        self._objects[kind] = convert
        for field in definition.fields:
            name = self.config.name_converter.from_field(field)
            fields[name] = (field.python_name, self.of(field.resolve_type(type_definition=definition)))
        if any(made in self._building for _, made in fields.values()):
            self._building.add(convert)
        return convert


class _Variables(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def enter_variable(self, *_: Any) -> None:
        self.found = True


def has_variables(node: Node) -> bool:
    """Whether there are variables in a value."""
    visitor = _Variables()
    visit(node, visitor)
    return visitor.found


_NONE = VariableValues({}, {})


class Arguments:
    """The arguments of a field in a document: what is in it, and what will be in the variables."""

    def __init__(self, definition: GraphQLField, details: FieldDetailsList) -> None:
        self._definition = definition
        self._node = details[0].node
        given = {argument.name.value: argument for argument in self._node.arguments or ()}
        self._later = {name: node for name, node in given.items() if has_variables(node)}
        self._now: dict[str, Any] = {}
        for name, argument in definition.args.items():
            if name not in self._later:
                coerce_argument(self._now, self._node, name, argument, given.get(name), _NONE, None)
        self._prepared: dict[str, Any] | None = None
        self._anew: dict[str, Any] = {}
        self._converters: dict[str, tuple[str, Convert]] = {}

    def values(self, variables: VariableValues, *, hide_suggestions: bool) -> dict[str, Any]:
        """All arguments, as graphql-core hands them to a resolver."""
        if not self._later:
            return dict(self._now)
        made = dict(self._now)
        made.update(self._given(variables, hide_suggestions=hide_suggestions))
        return {name: made[name] for name in self._names() if name in made}

    def _names(self) -> list[str]:
        return [argument.out_name or name for name, argument in self._definition.args.items()]

    def _given(self, variables: VariableValues, *, hide_suggestions: bool) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, node in self._later.items():
            argument = self._definition.args[name]
            coerce_argument(made, self._node, name, argument, node, variables, None, hide_suggestions)
        return made

    def prepared(  # noqa: PLR0913 (what it is made of)
        self,
        converters: Converters,
        published: list[StrawberryArgument],
        finish: Callable[[Mapping[str, Any]], dict[str, Any]],
        info: Info,
        variables: VariableValues,
        *,
        hide_suggestions: bool,
    ) -> dict[str, Any]:
        """All arguments as ``finish`` makes them of Strawberry's; those without variables are made once."""
        if self._prepared is None:
            self._converters = {
                converters.name(argument): (argument.python_name, converters.of(argument.type))
                for argument in published
            }
            building = {name for name, (_, convert) in self._converters.items() if converters.builds(convert)}
            self._anew = {name: value for name, value in self._now.items() if name in building}
            kept = {name: value for name, value in self._now.items() if name not in building}
            self._prepared = finish(self._converted(kept, info))
        if not self._later and not self._anew:
            return self._prepared
        given = self._anew | self._given(variables, hide_suggestions=hide_suggestions)
        return self._prepared | finish(self._converted(given, info))

    def _converted(self, given: Mapping[str, Any], info: Info) -> dict[str, Any]:
        made = {}
        for name, value in given.items():
            python_name, convert = self._converters[name]
            made[python_name] = convert(value, info, (name,))
        return made
