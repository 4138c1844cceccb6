"""The valid part of an invalid input, for checks that need more than one value.

A command with an invalid value cannot be built, so its handler does not run. Its other errors, such as a duplicate in a
list, would only be reported after the user has corrected the first one. A handler that has such checks registers them:

    @reports(_errors_of_new_client)
    async def create_client(work, command): ...

The mutation calls them for the valid part of an invalid input, and reports all errors together. Derived handlers have
such a check, and so have the commands of domains on one row (``row_command``).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Any, TypeVar, get_args, get_origin

from annotated_types import MaxLen
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from repositories.core.errors import InputError
from resolvers.validation.command import Command

Handler = TypeVar("Handler", bound=Callable[..., Any])
Check = Callable[[Any, Any], Awaitable[Sequence[InputError]]]
"""Returns the errors of a command. Invalid values are None.

It gets what the handler gets: a unit of work, which is rolled back, or the context.
"""


def reports(check: Check) -> Callable[[Handler], Handler]:
    """Registers the check of a handler for inputs with invalid values. For valid ones, the handler itself calls it."""

    def register(handler: Handler) -> Handler:
        handler.check = check  # type: ignore[attr-defined]
        return handler

    return register


def registered_check(handler: Callable[..., Any]) -> Check | None:
    """The check of a handler, None if it has none."""
    return getattr(handler, "check", None)


def valid_part(command: type[Command], data: Mapping[str, Any]) -> Any:
    """A command with None in place of its invalid values. ``data`` has the Python names of the fields."""
    with suppress(ValidationError):
        return command.model_validate(data)
    values = {
        name: _valid_value(command, name, info, data[name]) if name in data else _default(info)
        for name, info in command.model_fields.items()
    }
    part = command.model_construct(**values)
    part.mark_as_partial()
    return part


def _default(info: FieldInfo) -> Any:
    return None if info.is_required() else info.get_default(call_default_factory=True)


def _valid_value(command: type[Command], name: str, info: FieldInfo, value: Any) -> Any:
    annotation: Any = info.annotation
    limits = [item.max_length for item in info.metadata if isinstance(item, MaxLen)]
    item: Any = next(iter(get_args(annotation)), None) if get_origin(annotation) is list else None
    if item is not None and isinstance(value, list):
        if any(len(value) > limit for limit in limits):
            return []
        return [valid_part(item, entry) if _is_command(item) else _valid(TypeAdapter(item), entry) for entry in value]
    if _is_command(annotation) and isinstance(value, dict):
        return valid_part(annotation, value)
    return _valid(_adapter(command, name), value)


def _valid(adapter: TypeAdapter[Any], value: Any) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None


def _is_command(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Command)


@lru_cache(maxsize=500)
def _adapter(command: type[Command], name: str) -> TypeAdapter[Any]:
    info = command.model_fields[name]
    kind: Any = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    return TypeAdapter(kind)
