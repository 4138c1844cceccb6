"""Commands read from the values of GraphQL, by readers that are made once.

Strawberry's own way asks each field anew what it is, for every request. What a reader makes is what Pydantic validates;
if it refuses, Strawberry reads again and says where.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel
from strawberry.schema import compat
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryList, StrawberryOptional, has_object_definition
from strawberry.types.enum import StrawberryEnumDefinition, has_enum_definition
from strawberry.types.lazy_type import LazyType

Read = Callable[[Any], Any]


class _Unknown(Exception):
    pass


def reader(model: type[BaseModel], context: InputContext) -> Read | None:
    """What makes of a GraphQL value the data that ``model`` is validated from; None if only Strawberry can."""
    try:
        return _of_model(model, context)
    except _Unknown:
        return None


def _of_model(model: Any, context: InputContext) -> Read:
    definition = model.__strawberry_definition__
    fields: dict[str, tuple[str, Read | None]] = {}
    absent: dict[str, None] = {}
    for field in definition.fields:
        info, kind = model.model_fields[field.python_name], field.resolve_type(type_definition=definition)
        fields[context.config.name_converter.from_field(field)] = (field.python_name, _of(kind, context))
        if info.is_required() and isinstance(kind, StrawberryOptional):
            absent[field.python_name] = None

    def read(value: Mapping[str, Any]) -> dict[str, Any]:
        data: dict[str, Any] = dict(absent)
        for name, given in value.items():
            python_name, convert = fields[name]
            data[python_name] = given if convert is None or given is None else convert(given)
        return data

    return read


def _of(kind: Any, context: InputContext) -> Read | None:
    """What reads a value of that type; None if it stays what it is."""
    if isinstance(kind, LazyType):
        return _of(kind.resolve_type(), context)
    if isinstance(kind, StrawberryOptional):
        return _of(kind.of_type, context)
    if (
        isinstance(kind, StrawberryEnumDefinition)
        or has_enum_definition(kind)
        or compat.is_scalar(kind, context.scalar_registry)
    ):
        return None
    if isinstance(kind, StrawberryList):
        item = _of(kind.of_type, context)
        return None if item is None else lambda values: [entry if entry is None else item(entry) for entry in values]
    if has_object_definition(kind) and issubclass(kind, BaseModel):
        return _of_model(kind, context)
    raise _Unknown
