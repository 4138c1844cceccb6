"""Words the errors of input values, in variables and in literals, from the place of a value and its expected type.

graphql-core's own messages quote the values, which may be passwords or tokens, and name types, fields and enum values
of the schema, which not every viewer may know. Here no message contains a value. With ``hide_names``, none contains a
name of the schema that the client did not write.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from graphql import (
    BooleanValueNode,
    EnumValueNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLLeafType,
    GraphQLList,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    StringValueNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_nullable_type,
    is_required_input_field,
)
from graphql.language import Node
from graphql.pyutils import did_you_mean, print_path_list, suggestion_list

MAX_ERRORS = 5
"""Errors that are reported about one value."""

_SCALARS = {
    "Int": "Expected an integer of at most 32 bits.",
    "Float": "Expected a finite number.",
    "String": "Expected a string.",
    "Boolean": "Expected true or false.",
    "ID": "Expected an id, as a string or an integer.",
}
"""Messages for the scalars of GraphQL. The gateway's own scalars (schema/types/scalars.py) raise theirs."""

_NAME = re.compile("[_A-Za-z][_0-9A-Za-z]{0,99}")

Path = tuple[str | int, ...]


class CoercionError(NamedTuple):
    """What is wrong with a value: its path in the outermost value, the message, and the value or its node."""

    path: Path
    message: str
    value: Any


def variable_errors(
    name: str, value: Any, kind: GraphQLInputType, node: Node, *, hide_names: bool
) -> Iterator[GraphQLError]:
    """The errors of the invalid value of a variable, at most ``MAX_ERRORS``; ``node`` is the variable's definition."""
    for error in islice(find_errors(value, kind, hide_names=hide_names), MAX_ERRORS):
        place = print_path_list(list(error.path))
        yield GraphQLError(f"Variable '${name}' has invalid value{place}: {error.message}", node)


def find_errors(value: Any, kind: GraphQLInputType, path: Path = (), *, hide_names: bool) -> Iterator[CoercionError]:
    """The errors of a value, or of the node of a literal. A variable inside a literal has no error."""
    inner: Any = get_nullable_type(kind)
    if value is None or isinstance(value, NullValueNode | VariableNode) or value is Undefined:
        if inner is not kind and not isinstance(value, VariableNode):
            yield CoercionError(path, _missing_value(value, kind, hide_names=hide_names), value)
    elif isinstance(inner, GraphQLList):
        items = _items(value)
        if items is None:  # a list accepts a single value as a list of one
            yield from find_errors(value, inner.of_type, path, hide_names=hide_names)
        for index, item in enumerate(items or ()):
            yield from find_errors(item, inner.of_type, (*path, index), hide_names=hide_names)
    elif isinstance(inner, GraphQLInputObjectType):
        yield from _object_errors(value, inner, path, hide_names=hide_names)
    elif (message := _leaf_error(value, inner, hide_names=hide_names)) is not None:
        yield CoercionError(path, message, value)


def _missing_value(value: Any, kind: GraphQLInputType, *, hide_names: bool) -> str:
    if value is Undefined:
        return "A value is required." if hide_names else f"Expected a value of type '{kind}' to be provided."
    return "This must not be null." if hide_names else f"Expected a value of type '{kind}', found null."


def _items(value: Any) -> list[Any] | tuple[Any, ...] | None:
    """The items of a list, None if the value is no list."""
    if isinstance(value, ListValueNode):
        return value.values
    return value if isinstance(value, list | tuple) else None


def _fields(value: Any) -> Mapping[str, Any] | None:
    """The fields of an object, None if the value is no object."""
    if isinstance(value, ObjectValueNode):
        return {field.name.value: field.value for field in value.fields}
    return value if isinstance(value, dict) else None


def _object_errors(
    value: Any, kind: GraphQLInputObjectType, path: Path, *, hide_names: bool
) -> Iterator[CoercionError]:
    given = _fields(value)
    if given is None:
        message = "An object is expected here." if hide_names else f"Expected an object of type '{kind}'."
        yield CoercionError(path, message, value)
        return
    for name, field in kind.fields.items():
        if name in given:
            yield from find_errors(given[name], field.type, (*path, name), hide_names=hide_names)
        elif is_required_input_field(field):
            message = "A required field is missing." if hide_names else f"The required field '{name}' is missing."
            yield CoercionError(path, message, value)
    for name in given:
        if name not in kind.fields:
            yield CoercionError(path, _unknown_field(name, kind, hide_names=hide_names), value)
    if kind.is_one_of and (len(given) != 1 or any(_is_null(item) for item in given.values())):
        yield CoercionError(path, "Exactly one field must be given, and it must not be null.", value)


def _is_null(value: Any) -> bool:
    return value is None or isinstance(value, NullValueNode)


def _unknown_field(name: str, kind: GraphQLInputObjectType, *, hide_names: bool) -> str:
    """The message about a field that the type does not have. A key that cannot be a field's name is not repeated."""
    unknown = f"Unknown field '{name}'" if _NAME.fullmatch(name) else "Unknown field"
    if hide_names:
        return f"{unknown}."
    return f"{unknown} in the type '{kind}'.{did_you_mean(suggestion_list(name[:100], list(kind.fields)))}"


def _leaf_error(value: Any, kind: GraphQLLeafType, *, hide_names: bool) -> str | None:
    """The message about a value that a scalar or an enum does not accept, None if it does."""
    message = f"Expected a value of type '{kind}'."
    try:
        if _coerce(value, kind) is not Undefined:
            return None
    except Exception as error:  # noqa: BLE001 (the text of an exception that is no GraphQLError may contain the value)
        message = error.message if isinstance(error, GraphQLError) else message
    if hide_names:
        return "This value does not have the expected type."
    if isinstance(kind, GraphQLEnumType):
        name = value.value if isinstance(value, EnumValueNode | StringValueNode | BooleanValueNode) else value
        near = suggestion_list(name[:100], list(kind.values)) if isinstance(name, str) else []
        return f"Expected a value of the enum '{kind}'.{did_you_mean(near)}"
    return _SCALARS.get(kind.name, message)


def _coerce(value: Any, kind: GraphQLLeafType) -> Any:
    if not isinstance(value, ValueNode):
        return kind.coerce_input_value(value)
    if kind.coerce_input_literal is not None:
        return kind.coerce_input_literal(value)  # type: ignore[arg-type]
    return kind.parse_literal(value, None)
