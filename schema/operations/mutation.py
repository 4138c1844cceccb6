"""Mutations: one field, one command, one unit of work, one payload.

    complete_task = mutation(commands.complete_task, returns=Task, requires=Permission.TASK_WRITE)

publishes the handler's command as ``CompleteTaskInput`` and answers with ``CompleteTaskPayload {task userErrors}``.
What the person can put right is in ``userErrors``, all of it at once and with its place in the input; nothing is
written then. A handler that takes ``(context, command)`` instead opens its own unit of work (:func:`operation`).
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import strawberry
import strawberry.pydantic
from strawberry import Maybe
from strawberry.annotation import StrawberryAnnotation
from strawberry.pydantic import InputValidationError
from strawberry.utils.str_converters import to_camel_case

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import InputError, StaleVersion
from repositories.permissions import Permission
from resolvers.request.context import Context
from resolvers.validation.command import Command
from resolvers.validation.global_ids import GlobalKey
from schema.operations.converters import return_validation_errors
from schema.operations.messages import for_people
from schema.types.costs import MUTATION, cost, list_size, sliced
from schema.types.enums import choices
from schema.types.view import Argument, Node, resolver


class UserErrorCode(StrEnum):
    """Why a command was refused."""

    VALIDATION_ERROR = "VALIDATION_ERROR"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    STALE_VERSION = "STALE_VERSION"
    SESSION_ENDED = "SESSION_ENDED"


choices(
    UserErrorCode,
    "Why a mutation was refused.",
    VALIDATION_ERROR="A value is not allowed.",
    NOT_FOUND="There is no such row, or the viewer may not see it.",
    CONFLICT="It contradicts what is there, such as a name that is taken.",
    STALE_VERSION="The row was changed since it was read.",
    SESSION_ENDED="The session was signed out, revoked or not used in time: the person has to sign in again.",
)


@strawberry.type(description="Something in the input that the person can put right. Nothing was changed.")
class UserError:
    """A refusal as clients see it."""

    code: UserErrorCode = strawberry.field(description="Why.")
    message: str = strawberry.field(description="What is wrong and what to do, for a person to read.")
    field: list[str] = strawberry.field(
        description='Its place in the input: names and list indexes, such as ["tasks", "2", "title"]; empty for all.'
    )
    current: Node | None = strawberry.field(description="With STALE_VERSION: the row as it is now.", default=None)


@dataclass(frozen=True, slots=True)
class Payload:
    """What a mutation answers: its result, or what was wrong."""

    result: Any
    user_errors: list[UserError]


@dataclass(frozen=True, slots=True)
class PayloadField:
    """A field of a payload: its type and description, and how it is read from what the handler returned."""

    type: Any
    description: str
    read: Callable[[Any], Any]


def user_errors(refusal: InputError) -> list[UserError]:
    """A refusal in the contract's words."""
    return [
        UserError(
            code=UserErrorCode(part.code),
            message=part.message,
            field=[to_camel_case(str(step)) for step in part.path],
            current=part.current if isinstance(part, StaleVersion) else None,  # type: ignore[arg-type]
        )
        for part in refusal.parts
    ]


def _input_errors(error: InputValidationError) -> list[UserError]:
    return [
        UserError(
            code=UserErrorCode.VALIDATION_ERROR,
            message=for_people(detail.type, detail.message),
            field=detail.location[1:],
        )
        for detail in error.errors
    ]


def mutation(
    handler: Callable[[UnitOfWork, Any], Awaitable[Any]], *, returns: type, requires: Permission, many: bool = False
) -> Any:
    """The mutation field of a command's handler; its docstring is the description."""

    async def run(context: Context, command: Any) -> Any:
        async with context.unit_of_work() as work:
            return await handler(work, command)

    results = _of_row(returns, many=many)
    return _published(handler, run, results, requires)


def operation(
    handler: Callable[[Context, Any], Awaitable[Any]],
    *,
    returns: type | Mapping[str, PayloadField],
    requires: Permission | None,
) -> Any:
    """The mutation field of a handler that opens its own unit of work, because it has work to do outside of one.

    ``returns`` is the type of the row, or the fields of the payload, which are read from what the handler returns.
    Without ``requires`` anybody may ask.
    """
    results = _of_row(returns, many=False) if isinstance(returns, type) else returns
    return _published(handler, handler, results, requires)


def _published(
    handler: Callable[..., Any],
    run: Callable[[Context, Any], Awaitable[Any]],
    results: Mapping[str, PayloadField],
    requires: Permission | None,
) -> Any:
    async def execute(context: Context, _: Any, input: Any) -> Payload:  # noqa: A002 (the contract's word)
        if isinstance(input, InputValidationError):
            return Payload(None, _input_errors(input))
        try:
            return Payload(await run(context, input), [])
        except InputError as refusal:
            return Payload(None, user_errors(refusal))

    command = get_type_hints(handler)["command"]
    arguments = {"input": Argument(publish(command), "What is to be done.")}
    batches = [name for name in results if name in command.model_fields and get_origin(results[name].type) is list]
    return strawberry.field(
        resolver=resolver(execute, arguments, requires=requires),
        graphql_type=_payload(handler.__name__, results),
        description=inspect.cleandoc(handler.__doc__ or ""),
        directives=[cost(MUTATION), *(sliced(f"input.{name}", name) for name in batches)],
    )


def _of_row(returns: type, *, many: bool) -> Mapping[str, PayloadField]:
    """A payload with one field, named after the type of the row."""
    shown = returns.__strawberry_definition__.name  # type: ignore[attr-defined]
    name = shown[0].lower() + shown[1:]
    if not many:
        return {name: PayloadField(returns, f"The {name}", lambda row: row)}
    name = name.removesuffix("y") + "ies" if name.endswith("y") else name + "s"
    return {name: PayloadField(list[returns], "What was done", lambda rows: rows)}  # type: ignore[valid-type]


def _payload(handler: str, results: Mapping[str, PayloadField]) -> type:
    namespace: dict[str, Any] = {"__annotations__": {}}
    for name, result in results.items():
        namespace["__annotations__"][name] = result.type | None
        namespace[name] = strawberry.field(
            resolver=_reading(result.read), description=f"{result.description}; null if there are `userErrors`."
        )
    namespace["__annotations__"]["user_errors"] = list[UserError]
    namespace["user_errors"] = strawberry.field(
        description="What the person has to put right; empty if all went well.", directives=[list_size(1)]
    )
    spelled = "".join(part.capitalize() for part in handler.split("_"))
    return strawberry.type(
        type(f"{spelled}Payload", (), namespace), description=f"The answer of `{to_camel_case(handler)}`."
    )


def _reading(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda root: None if root.result is None else read(root.result)


def publish(command: type[Command]) -> type[Command]:
    """A command as an input of the contract; what is invalid in it is handed to the mutation, not raised."""
    if "__strawberry_definition__" in vars(command):
        return command
    for nested in _nested(field.annotation for field in command.model_fields.values()):
        publish(nested)
    made = strawberry.pydantic.input(
        command, name=f"{command.__name__}Input", description=inspect.cleandoc(command.__doc__ or "")
    )
    definition = made.__strawberry_definition__  # type: ignore[attr-defined]
    for field in definition.fields:
        info = command.model_fields[field.python_name]
        annotation = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
        if _has_key(annotation):
            field.type_annotation = StrawberryAnnotation(_with_ids(annotation), namespace={})
    return_validation_errors(command)
    return made


def _nested(annotations: Iterable[Any]) -> Iterable[type[Command]]:
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, Command):
            yield annotation
        else:
            yield from _nested(get_args(annotation))


def _has_key(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated and any(isinstance(item, GlobalKey) for item in annotation.__metadata__):
        return True
    return any(_has_key(part) for part in get_args(annotation))


def _with_ids(annotation: Any) -> Any:
    """The annotation with ``ID`` for every global key, and without Pydantic's constraints."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        is_key = any(isinstance(item, GlobalKey) for item in annotation.__metadata__)
        return strawberry.ID if is_key else _with_ids(parts[0])
    if origin is None:
        return annotation
    inner = tuple(_with_ids(part) for part in parts)
    wrap: Any = {Maybe: Maybe, list: list}.get(origin, Union)
    return wrap[inner] if wrap is Union else wrap[inner[0]]
