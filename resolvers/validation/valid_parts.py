"""The valid part of an invalid input, for checks that need more than one value.

A command with an invalid value cannot be built, so its handler does not run. Its other errors, such as a duplicate in a
list, would only be reported after the user has corrected the first one. A handler that has such checks registers them:

    @reports(_errors_of_new_client)
    async def create_client(work, command): ...

The mutation calls them for the valid part of an invalid input, and reports all errors together.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeVar, get_args, get_origin

from annotated_types import MaxLen
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import InputError
from resolvers.validation.command import Command

Handler = TypeVar("Handler", bound=Callable[..., Any])
Check = Callable[[UnitOfWork, Any], Awaitable[Sequence[InputError]]]
"""Returns the errors of a command. It reads and locks rows and changes nothing. Invalid values are None."""


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
    values = {
        name: _valid_value(command, name, info, data[name]) if name in data else _default(info)
        for name, info in command.model_fields.items()
    }
    return command.model_construct(**values)


def _default(info: FieldInfo) -> Any:
    return None if info.is_required() else info.get_default(call_default_factory=True)


def _valid_value(command: type[Command], name: str, info: FieldInfo, value: Any) -> Any:
    annotation: Any = info.annotation
    limits = [item.max_length for item in info.metadata if isinstance(item, MaxLen)]
    item: Any = next(iter(get_args(annotation)), None) if get_origin(annotation) is list else None
    if _is_command(item) and isinstance(value, list):
        is_too_long = any(len(value) > limit for limit in limits)
        return [] if is_too_long else [valid_part(item, entry) for entry in value]
    if _is_command(annotation) and isinstance(value, dict):
        return valid_part(annotation, value)
    try:
        return _adapter(command, name).validate_python(value)
    except ValidationError:
        return None


def _is_command(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Command)


@lru_cache(maxsize=500)
def _adapter(command: type[Command], name: str) -> TypeAdapter[Any]:
    info = command.model_fields[name]
    kind: Any = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    return TypeAdapter(kind)
