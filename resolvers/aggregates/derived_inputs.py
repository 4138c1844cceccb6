"""The inputs of commands, derived from the columns of an aggregate: their types, bounds, defaults and descriptions."""

import datetime as dt
import re
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any
from uuid import UUID

import pydantic
from pydantic import ConfigDict, Field, StringConstraints
from strawberry import Maybe

from repositories.sql import types
from repositories.sql.aggregate import Aggregate, Commands, Reference
from repositories.sql.declarations import DeclarationError, place_of
from repositories.sql.table import Declared, Format, Pattern, Writer, declared
from resolvers.validation.command import (
    Command,
    Currency,
    Date,
    Email,
    JsonObject,
    Moment,
    Phone,
    Storable,
    TimeZone,
    Version,
    Visible,
    VisibleText,
    WebAddress,
    matching,
    provided_fields,
)
from resolvers.validation.global_ids import GlobalKey

MAX_BULK = 100
"""Rows of one bulk command."""

_FORMATS: Mapping[Format, Any] = {
    Format.EMAIL: Email,
    Format.PHONE: Phone,
    Format.WEB_ADDRESS: WebAddress,
    Format.TIME_ZONE: TimeZone,
    Format.CURRENCY: Currency,
}


_json_inputs: dict[str, type[Command]] = {}


def set_json_input(column: Any, model: type[Command]) -> None:
    """Makes a model the input for the values of a JSON column. They are stored without the values that are null."""
    _json_inputs[str(column)] = model


def value_type(column: Any, reference: Reference | None) -> Any:
    """The type of the values of a column in an input, without None: its bounds, its format and its normal form."""
    facts = declared(column)
    if str(column) in _json_inputs:
        return _json_inputs[str(column)]
    if isinstance(column.type, types.Json) and facts.kind is not dict:
        raise DeclarationError(place_of(column), "clients write this JSON value; declare its input by set_json_input()")
    if reference is not None:
        return Annotated[UUID, GlobalKey(reference.target.__name__)]
    if facts.kind is str:
        return _text_type(facts)
    if facts.kind is int:
        return _bounded(int, facts)
    if facts.kind is Decimal and isinstance(column.type, types.Fixed):
        digits = Field(max_digits=column.type.precision, decimal_places=column.type.scale)
        return Annotated[_bounded(Decimal, facts), digits]
    return {dt.datetime: Moment, dt.date: Date, dict: JsonObject}.get(facts.kind, facts.kind)


def _text_type(facts: Declared) -> Any:
    if isinstance(facts.format, Format):
        return _FORMATS[facts.format]
    if isinstance(facts.format, Pattern):
        return Annotated[str, matching(facts.format.regex, facts.format.message)]
    low, high = facts.length or (0, None)
    if low == 0 and not facts.single_line:
        return Annotated[str, StringConstraints(max_length=high), Storable]
    checked = Visible if facts.single_line else VisibleText
    return Annotated[str, StringConstraints(strip_whitespace=True, min_length=low, max_length=high), checked]


def _bounded(kind: type, facts: Declared) -> Any:
    low, high = facts.range or (None, None)
    return Annotated[kind, Field(ge=low, le=high)] if facts.range else kind


def bounds_text(column: Any) -> str:
    """The bounds of a column's values in words, such as "1 to 255 characters"; empty without bounds."""
    facts = declared(column)
    if facts.length is not None and not (isinstance(facts.format, Pattern) or facts.format is Format.TIME_ZONE):
        low, high = facts.length
        return f"{low} to {high:,} characters" if low else f"at most {high:,} characters"
    if facts.range is None:
        return ""
    least, most = facts.range
    if most is None:
        return f"{least:,} or more"
    return f"at most {most:,}" if least is None else f"{least:,} to {most:,}"


_NULL = re.compile(r" Null (?:if|unless) ([^.]*)\.")
_STATE = re.compile(r"(the .*) is (\w+)")


def description_of(column: Any, *, is_change: bool = False) -> str:
    """The description of a column for an input: what it is, its bounds, and what null means.

    For a change, the sentence about null says what null does: "Null if the number is unlimited." becomes "Null makes
    the number unlimited.", and any other one "Null removes it."
    """
    text, null = declared(column).description, ""
    if is_change and column.nullable:
        meaning = _NULL.search(text)
        state = _STATE.fullmatch(meaning[1]) if meaning else None
        null = f"Null makes {state[1]} {state[2]}." if state else "Null removes it."
        text = _NULL.sub("", text)
    bounds = bounds_text(column)
    if bounds and not any(character.isdigit() for character in text):
        first, dot, rest = text.partition(". ")
        text = f"{first.removesuffix('.')}, {bounds}.{' ' + rest if dot else ''}"
    return f"{text} {null}".rstrip()


class _DerivedCommand(Command):
    """Base of the derived commands. They have no source in which Pydantic could look for docstrings of fields."""

    model_config = ConfigDict(use_attribute_docstrings=False)


Fields = Mapping[str, tuple[Any, Any]]
"""The fields of an input by name: the type, and Pydantic's Field with the default and the description."""


def input_model(name: str, doc: str, fields: Fields) -> type[Command]:
    """An input of some fields. Its name is that of the mutation in Pascal case."""
    definitions: dict[str, Any] = dict(fields)
    return pydantic.create_model(name, __base__=_DerivedCommand, __module__=__name__, __doc__=doc, **definitions)


@cache
def create_input(aggregate: Aggregate) -> type[Command]:
    """The input that creates a row: the columns that clients write, and the id for clients that generate ids."""
    name = f"{aggregate.verb(Commands.CREATE).capitalize()}{aggregate.type_name}"
    return new_row_input(aggregate, name, f"The values of a new {aggregate.noun}.")


def new_row_input(
    aggregate: Aggregate,
    name: str,
    doc: str,
    *,
    without: Collection[str] = (),
    more: Fields = MappingProxyType({}),
) -> type[Command]:
    """:func:`create_input` for handlers of a domain: another name, columns left out, and more fields."""
    columns = [column for column in aggregate.written(Writer.ON_CREATE) if column.name not in without]
    taken = f"The UUID of the new {aggregate.noun}, for clients that generate ids. By default the gateway generates it."
    database_id = (UUID | None, Field(None, description=taken))
    return input_model(name, doc, {**new_values(aggregate, columns), "database_id": database_id, **more})


def new_values(aggregate: Aggregate, columns: Iterable[Any]) -> Fields:
    """The fields with the values of some columns of a new row."""
    fields: dict[str, tuple[Any, Any]] = {}
    for column in columns:
        facts = declared(column)
        kind = value_type(column, aggregate.references.get(column.name))
        description = description_of(column)
        if facts.kind is dict and facts.input_default is not None:
            text = f"{description} By default an empty object."  # GraphQL cannot show an object as a default
            fields[column.name] = (kind | None, Field(None, description=text))
        elif facts.input_default is not None:
            fields[column.name] = (kind, Field(_member(facts), description=description))
        elif column.name == aggregate.owner:
            fields[column.name] = (kind | None, Field(None, description=f"{description} By default the viewer."))
        elif column.nullable:
            fields[column.name] = (kind | None, Field(None, description=description))
        else:
            fields[column.name] = (kind, Field(description=description))
    return fields


def _member(facts: Declared) -> Any:
    """The default as a value of the column's type."""
    return facts.kind(facts.input_default) if isinstance(facts.input_default, str) else facts.input_default


@cache
def update_input(aggregate: Aggregate) -> type[Command]:
    """The input that changes a row. A column that is left out keeps its value."""
    doc = f"Changes of {aggregate.a_noun}. Fields that are left out keep their values."
    fields = {"id": _id_field(aggregate), **changed_values(aggregate)}
    return input_model(f"Update{aggregate.type_name}", doc, fields)


def changed_values(aggregate: Aggregate) -> Fields:
    """The version of a row, and fields with new values of the columns that clients change."""
    fields: dict[str, tuple[Any, Any]] = {}
    if aggregate.is_versioned:
        fields["version"] = (Version, Field(description=_version_text(aggregate)))
    for column in aggregate.written(Writer.ON_UPDATE):
        kind = value_type(column, aggregate.references.get(column.name))
        description = description_of(column, is_change=True)
        maybe: Any = Maybe
        fields[column.name] = (maybe[kind | None if column.nullable else kind], Field(description=description))
    return fields


def _id_field(aggregate: Aggregate) -> tuple[Any, Any]:
    return Annotated[UUID, GlobalKey(aggregate.type_name)], Field(description=f"The {aggregate.noun}.")


def _version_text(aggregate: Aggregate) -> str:
    return f"The `version` of the {aggregate.noun} that was read. If it has another one now, nothing changes."


@cache
def row_input(aggregate: Aggregate, verb: str, doc: str) -> type[Command]:
    """The input of a command on one row that needs no further values, such as a deletion."""
    return command_input(aggregate, verb.capitalize() + aggregate.type_name, doc)


def command_input(aggregate: Aggregate, name: str, doc: str, more: Fields = MappingProxyType({})) -> type[Command]:
    """:func:`row_input` for handlers of a domain: another name, and more fields."""
    fields = {"id": _id_field(aggregate)}
    if aggregate.is_versioned:
        fields["version"] = (Version | None, Field(None, description=_version_text(aggregate)))
    return input_model(name, doc, {**fields, **more})


@cache
def bulk_input(aggregate: Aggregate, verb: str, doc: str) -> type[Command]:
    """The input of a command on several rows: their ids."""
    plural = aggregate.plural.replace("_", " ")
    ids = Annotated[list[Annotated[UUID, GlobalKey(aggregate.type_name)]], Field(min_length=1, max_length=MAX_BULK)]
    description = f"The ids of the {plural}, 1 to {MAX_BULK}, all different."
    return input_model(verb.capitalize() + plural_type(aggregate), doc, {"ids": (ids, Field(description=description))})


def list_input(aggregate: Aggregate, item: type[Command], verb: str, doc: str, limit: int = MAX_BULK) -> type[Command]:
    """The input of a command that creates or changes several rows, with an input for each."""
    plural = aggregate.plural
    items = Annotated[list[item], Field(min_length=1, max_length=limit)]  # type: ignore[valid-type]
    field = (items, Field(description=f"The {plural.replace('_', ' ')}, 1 to {limit}."))
    return input_model(verb.capitalize() + plural_type(aggregate), doc, {plural: field})


def plural_type(aggregate: Aggregate) -> str:
    """The plural in Pascal case, such as PointEntries."""
    return "".join(word.capitalize() for word in aggregate.plural.split("_"))


def values_of(command: Command, columns: Iterable[Any]) -> dict[str, Any]:
    """The values of the columns that the command of :func:`create_input` contains."""
    values = {column.name: _stored(getattr(command, column.name)) for column in columns}
    return {column.name: value for column in columns if (value := values[column.name]) is not None or column.nullable}


def provided_values(command: Command, columns: Iterable[Any]) -> dict[str, Any]:
    """The values that the command of :func:`update_input` provides for the columns. Null is a value."""
    provided = provided_fields(command, *(column.name for column in columns))
    return {name: _stored(value) for name, value in provided.items()}


def _stored(value: Any) -> Any:
    """The value as the column contains it."""
    return value.model_dump(mode="json", exclude_none=True) if isinstance(value, Command) else value
