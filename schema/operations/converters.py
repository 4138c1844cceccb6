"""Compiles the functions that make Python values from the GraphQL values of arguments.

Strawberry inspects the type of every value again in every request. Here each type is inspected once, and only values
that convert without an error are handled: scalars, enums, lists, ``Maybe``, dataclass inputs and Pydantic inputs. If a
converter raises, Strawberry converts the whole argument again and raises its own error with its own location. So the
messages and locations of errors are always Strawberry's.

Strawberry alone converts inputs that have a ``from_input`` hook of their own, because such a hook may read the
request's ``Info`` and the location of the value. Their converter always raises.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from functools import partial
from typing import Any, NamedTuple

from graphql import GraphQLSchema
from pydantic import BaseModel
from strawberry import UNSET, Some
from strawberry.pydantic import InputValidationError
from strawberry.pydantic.conversion import _to_python_data, build_pydantic_model
from strawberry.pydantic.error import ValidationErrorDetail
from strawberry.relay import GlobalID
from strawberry.schema import compat
from strawberry.types.arguments import InputContext, StrawberryArgument, convert_argument
from strawberry.types.base import (
    StrawberryList,
    StrawberryMaybe,
    StrawberryObjectDefinition,
    StrawberryOptional,
    has_object_definition,
)
from strawberry.types.enum import StrawberryEnumDefinition, has_enum_definition
from strawberry.types.field import StrawberryField
from strawberry.types.lazy_type import LazyType

from resolvers.validation.valid_parts import valid_part

Convert = Callable[[Any], Any]


class _OnlyStrawberry(Exception):
    """Only Strawberry can convert this value."""


class InvalidInput(NamedTuple):
    """An invalid Pydantic input, as its resolver gets it: the errors, and a function that returns its valid part."""

    errors: list[ValidationErrorDetail]
    valid_part: Callable[[], Any]


def return_validation_errors(model: type[BaseModel]) -> None:
    """Makes a Pydantic input that is invalid reach its resolver as an :class:`InvalidInput`."""
    model.__strawberry_definition__.from_input = _build_or_return_error  # type: ignore[attr-defined]


def _build_or_return_error(model: type[BaseModel], value: Mapping[str, Any], context: InputContext) -> Any:
    try:
        return build_pydantic_model(model, value, context)
    except InputValidationError as error:
        return InvalidInput(error.errors, lambda: valid_part(model, _to_python_data(model, value, context, ())))  # type: ignore[arg-type]


_PYDANTIC_HOOKS = (build_pydantic_model, _build_or_return_error)
"""The ``from_input`` hooks that only validate a model; without an error, a compiled converter gives the same result."""


class ArgumentConverter:
    """Converts the values of one argument.

    ``is_cacheable`` is false if every conversion must make a new value, because the argument has a model in it whose
    defaults may differ each time, such as a new id.
    """

    __slots__ = ("_compiler", "_convert", "_name", "_type", "is_cacheable", "python_name")

    def __init__(self, compiler: "ConverterCompiler", name: str, argument: StrawberryArgument) -> None:
        self.python_name = argument.python_name
        self.is_cacheable = not _has_hook(argument.type)
        self._compiler = compiler
        self._name = name
        self._type = argument.type
        self._convert = compiler.compile(argument.type)

    def convert(self, value: Any, info: Callable[[], Any]) -> Any:
        """The Python value; ``info`` makes Strawberry's Info, which is needed only if Strawberry converts again."""
        if self._convert is None:
            return value
        try:
            return self._convert(value)
        except Exception:  # noqa: BLE001 (Strawberry meets it again and says what is wrong)
            compiler = self._compiler
            return convert_argument(
                value, self._type, compiler.scalar_registry, compiler.config, info(), path=(self._name,)
            )


class ConverterCompiler:
    """Compiles the converters of one schema, each of them once."""

    def __init__(self, schema: GraphQLSchema) -> None:
        converter: Any = schema._strawberry_schema.schema_converter  # type: ignore[attr-defined]  # noqa: SLF001 (Strawberry's link to itself)
        self.scalar_registry = converter.scalar_registry
        self.config = converter.config
        self._fields: dict[int, tuple[StrawberryField, dict[str, ArgumentConverter]]] = {}
        self._objects: dict[tuple[type, bool], Convert] = {}

    def arguments(self, field: StrawberryField) -> Mapping[str, ArgumentConverter]:
        """The converters of a field's arguments, by the arguments' names in GraphQL."""
        cached = self._fields.get(id(field))
        if cached is None:
            names = [(self.config.name_converter.from_argument(argument), argument) for argument in field.arguments]
            converters = {name: ArgumentConverter(self, name, argument) for name, argument in names}
            cached = self._fields[id(field)] = (field, converters)  # which keeps the field, and so its id, alive
        return cached[1]

    def compile(self, kind: Any, *, in_model: bool = False) -> Convert | None:
        """The converter of a type's values, None if they stay as they are.

        ``in_model`` is for values inside a Pydantic input: Pydantic itself makes nested models and ``Some``.
        """
        if isinstance(kind, LazyType):
            return self.compile(kind.resolve_type(), in_model=in_model)
        if isinstance(kind, StrawberryMaybe) and not in_model:
            return self._maybe(kind.of_type)
        if isinstance(kind, StrawberryOptional):
            return self.compile(kind.of_type, in_model=in_model)
        if isinstance(kind, StrawberryList):
            return self._list(kind.of_type, in_model=in_model)
        if kind is GlobalID:
            return GlobalID.from_id
        if isinstance(kind, StrawberryEnumDefinition) or has_enum_definition(kind):
            return None
        if compat.is_scalar(kind, self.scalar_registry):
            return None
        return self._object(kind, in_model=in_model) if has_object_definition(kind) else _raise

    def _maybe(self, kind: Any) -> Convert:
        inner = self.compile(kind)
        is_nullable = isinstance(kind, StrawberryOptional)

        def convert(value: Any) -> Any:
            if value is None and not is_nullable:
                raise _OnlyStrawberry
            return Some(value if inner is None else inner(value))

        return convert

    def _list(self, kind: Any, *, in_model: bool) -> Convert:
        item = self.compile(kind, in_model=in_model)

        def convert(value: Any) -> Any:
            if value is None or value is UNSET:
                return value
            return list(value) if item is None else [item(entry) for entry in value]

        return convert

    def _object(self, kind: type, *, in_model: bool) -> Convert:
        cached = self._objects.get((kind, in_model))
        if cached is not None:
            return cached
        definition: StrawberryObjectDefinition = kind.__strawberry_definition__  # type: ignore[attr-defined]
        is_model = issubclass(kind, BaseModel)
        build = _builder(kind, definition, in_model=in_model)
        absent = dict.fromkeys(_absent_fields(kind, definition))
        fields: dict[str, tuple[str, Convert | None]] = {}

        def convert(value: Any) -> Any:
            if value is None or value is UNSET:
                return value
            data: dict[str, Any] = dict(absent)
            for name, entry in value.items():
                python_name, inner = fields[name]
                data[python_name] = entry if inner is None else inner(entry)
            return data if build is None else build(data)

        self._objects[kind, in_model] = convert  # stored first, because an input can contain itself
        for field in definition.fields:
            inner = self.compile(field.resolve_type(type_definition=definition), in_model=is_model)
            fields[self.config.name_converter.from_field(field)] = (field.python_name, inner)
        return convert


def _raise(_: Any) -> Any:
    raise _OnlyStrawberry


def _builder(kind: Any, definition: StrawberryObjectDefinition, *, in_model: bool) -> Convert | None:
    """The function from an input's fields to its value, None if that is the dict of its fields."""
    if in_model and issubclass(kind, BaseModel):
        return None
    if definition.from_input is None:
        return lambda data: kind(**data)
    if definition.from_input in _PYDANTIC_HOOKS:
        return partial(kind.model_validate, by_alias=False, by_name=True)
    return _raise


def _absent_fields(kind: Any, definition: StrawberryObjectDefinition) -> list[str]:
    """The fields that are None if the client leaves them out, because they are nullable and have no default."""
    if not issubclass(kind, BaseModel):
        return [
            field.python_name
            for field in definition.fields
            if field.default_value is MISSING and field.default_factory is MISSING
        ]
    return [
        field.python_name
        for field in definition.fields
        if kind.model_fields[field.python_name].is_required()
        and isinstance(field.resolve_type(type_definition=definition), StrawberryOptional)
    ]


def _has_hook(kind: Any) -> bool:
    """Whether a type is, or contains, an input with a ``from_input`` hook, as every Pydantic input has."""
    visited: set[type] = set()
    pending = [kind]
    while pending:
        inner = _unwrap(pending.pop())
        if inner in visited or not has_object_definition(inner):
            continue
        visited.add(inner)
        definition = inner.__strawberry_definition__
        if definition.from_input is not None:
            return True
        pending += [field.resolve_type(type_definition=definition) for field in definition.fields]
    return False


def _unwrap(kind: Any) -> Any:
    """The type without lists, nullability and lazy references."""
    while isinstance(kind, LazyType | StrawberryOptional | StrawberryList):
        kind = kind.resolve_type() if isinstance(kind, LazyType) else kind.of_type
    return kind
