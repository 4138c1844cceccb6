"""Mutations: one field, one command, one unit of work, one payload.

    write_note = mutation(commands.write_note, requires=Permission.NOTE_WRITE)

publishes the command of the handler as ``WriteNoteInput`` and returns ``WriteNotePayload {note userErrors}``.
``userErrors`` contains all errors that the user can correct, each with its path in the input; nothing is written then.
The field is nullable, so that one that fails does not hide the results of the others.
:func:`context_mutation` publishes a handler that takes ``(context, command)`` and opens its own unit of work.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import strawberry
import strawberry.pydantic
from graphql import GraphQLField
from strawberry import Maybe
from strawberry.annotation import StrawberryAnnotation
from strawberry.pydantic.error import ValidationErrorDetail
from strawberry.utils.str_converters import to_camel_case

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import InputError, InputErrors, SchemaChanged, StaleVersion
from repositories.permissions import Requirement
from repositories.sql.table import Table
from resolvers.request.context import Context
from resolvers.request.repetition import run_once
from resolvers.validation.command import Command
from resolvers.validation.global_ids import GlobalKey
from resolvers.validation.valid_parts import Check, registered_check
from schema.operations.converters import InvalidInput, return_validation_errors
from schema.operations.messages import message_for
from schema.types.costs import MUTATION, assumed_size, cost, sized_by
from schema.types.derived_types import described_fields, description_in, graphql_type, row_type
from schema.types.enums import describe_enum, publish_enum
from schema.types.view import Argument, Node, resolver


class UserErrorCode(StrEnum):
    VALIDATION_ERROR = "VALIDATION_ERROR"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    STALE_VERSION = "STALE_VERSION"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    SESSION_ENDED = "SESSION_ENDED"


describe_enum(
    UserErrorCode,
    "The reason why a mutation was rejected.",
    VALIDATION_ERROR="A value is invalid.",
    NOT_FOUND="The object does not exist, or the viewer may not see it.",
    CONFLICT="The change contradicts existing data, such as a name that is taken.",
    STALE_VERSION="The object was changed after it was read.",
    QUOTA_EXCEEDED="The account would store more rows, or more bytes of texts, than it may. The message has the limit.",
    SESSION_ENDED="The session was signed out, revoked or unused for too long. The user must sign in again.",
)


@strawberry.type(description="An error that the user can correct. The mutation changed nothing.")
class UserError:
    code: UserErrorCode = strawberry.field(description="The reason why the mutation was rejected.")
    message: str = strawberry.field(description="What is wrong and how to correct it, as a text for the user.")
    field: list[str] = strawberry.field(
        description='The path of the wrong value in the input: names and list indexes, like ["tasks", "2", "title"]. '
        "Empty if the error concerns the whole input."
    )
    current: Node | None = strawberry.field(
        description="The object as it is now, with the code STALE_VERSION. Null with every other code.", default=None
    )


@dataclass(frozen=True, slots=True)
class Payload:
    """The result of a mutation, or its errors."""

    result: Any
    user_errors: list[UserError]


@dataclass(frozen=True, slots=True)
class PayloadField:
    """A field of a payload. ``read`` takes its value from the handler's result."""

    type: Any
    description: str
    read: Callable[[Any], Any]


def user_errors(error: InputError) -> list[UserError]:
    """The user errors of an exception that a handler raised."""
    return [
        UserError(
            code=UserErrorCode(part.code),
            message=part.message,
            field=[to_camel_case(str(step)) for step in part.path],
            current=part.current if isinstance(part, StaleVersion) else None,  # type: ignore[arg-type]
        )
        for part in error.parts
    ]


ContextCheck = Callable[[Context, Any], Awaitable[Sequence[InputError]]]
"""Returns the errors of the valid part of an invalid input. It changes nothing."""


def _in_transaction(check: Check | None) -> ContextCheck | None:
    """A check that gets a unit of work, which is rolled back."""
    if check is None:
        return None

    async def run(context: Context, command: Any) -> Sequence[InputError]:
        try:
            async with context.unit_of_work() as work:
                raise InputErrors(await check(work, command))
        except InputError as error:
            return error.parts

    return run


def _validation_errors(details: Iterable[ValidationErrorDetail]) -> list[UserError]:
    return [
        UserError(
            code=UserErrorCode.VALIDATION_ERROR,
            message=message_for(detail.type, detail.message),
            field=detail.location[1:],
        )
        for detail in details
    ]


def mutation(
    handler: Callable[[UnitOfWork, Any], Awaitable[Any]],
    *,
    requires: Requirement,
    row: type[Table] | None = None,
    many: bool = False,
    plural: str = "",
) -> Any:
    """The mutation field of a handler that takes ``(work, command)``. The handler's docstring is the description.

    The annotation of the handler's result is the type of the payload's field. For a handler without one, ``row`` is the
    class of the rows. ``many`` is for handlers that return a list of them, and ``plural`` the name of the field then.
    """

    async def run(context: Context, command: Any) -> Any:
        async with context.unit_of_work() as work:
            work.outcome = await handler(work, command)
            return work.outcome

    fields = _result_fields(handler) if row is None else _row_field(row, many=many, plural=plural)
    return _mutation_field(handler, _repeatable(run), fields, requires, _in_transaction(registered_check(handler)))


def context_mutation(  # noqa: PLR0913 (the properties of a mutation)
    handler: Callable[[Context, Any], Awaitable[Any]],
    *,
    requires: Requirement | None,
    name: str = "",
    is_repeatable: bool = False,
    repeat: Callable[[Context, Any, Any], Awaitable[Any]] | None = None,
    returns_secret: bool = False,
) -> Any:
    """The mutation field of a handler that takes ``(context, command)`` and opens its own unit of work.

    It may do other work outside of the transaction. The payload has the row that the handler returns, the described
    fields of a named tuple, or a described value under ``name``. Without ``requires``, every caller may use the
    mutation. ``is_repeatable`` is for handlers that do everything in their units of work, so that nothing remains if
    one of them fails.

    The handler sets ``work.outcome`` to the row that it returns, for repetitions with the same idempotency key. A
    handler that returns something else has ``repeat``, which makes it from the context, the command and the outcome.
    ``returns_secret`` is for a result that must not be stored; the mutation accepts no key then.
    """
    run = _repeatable(handler) if is_repeatable else handler
    fields, prepares = _result_fields(handler, name), not is_repeatable
    return _mutation_field(
        handler,
        run,
        fields,
        requires,
        registered_check(handler),
        prepares=prepares,
        repeat=repeat,
        returns_secret=returns_secret,
    )


def _repeatable(run: Callable[[Context, Any], Awaitable[Any]]) -> Callable[[Context, Any], Awaitable[Any]]:
    """Runs again if a table has changed since one of the statements was prepared: nothing was committed then."""

    async def run_again_after_change(context: Context, command: Any) -> Any:
        try:
            return await run(context, command)
        except SchemaChanged:
            return await run(context, command)

    return run_again_after_change


def accepts_no_key(definition: GraphQLField) -> bool:
    """Whether a mutation field rejects idempotency keys, because it returns secrets."""
    field = definition.extensions.get("strawberry-definition")
    resolution = getattr(getattr(getattr(field, "base_resolver", None), "wrapped_func", None), "resolution", None)
    return getattr(getattr(resolution, "resolve_one", None), "returns_secret", False)


_NO_KEY = "\n\nIt accepts no idempotency key, because it returns secrets, which are not stored."


def _mutation_field(  # noqa: PLR0913 (the properties of a mutation)
    handler: Callable[..., Any],
    run: Callable[[Context, Any], Awaitable[Any]],
    fields: Mapping[str, PayloadField],
    requires: Requirement | None,
    check: ContextCheck | None,
    *,
    prepares: bool = False,
    repeat: Callable[[Context, Any, Any], Awaitable[Any]] | None = None,
    returns_secret: bool = False,
) -> Any:
    async def execute(context: Context, _: Any, input: Any) -> Payload:  # noqa: A002 (the name in the schema)
        if isinstance(input, InvalidInput):
            found = _validation_errors(input.errors)
            others = user_errors(InputErrors(await check(context, input.valid_part()))) if check else []
            places = [error.field for error in found]
            return Payload(None, [*found, *(error for error in others if error.field not in places)])
        try:
            if context.idempotency is None:
                return Payload(await run(context, input), [])
            result = await run_once(
                context,
                lambda: run(context, input),
                prepares=prepares,
                repeat=None if repeat is None else partial(repeat, context, input),
            )
            return Payload(result, [])
        except InputError as error:
            return Payload(None, user_errors(error))

    execute.handler = handler  # type: ignore[attr-defined]
    execute.returns_secret = returns_secret  # type: ignore[attr-defined]
    command = get_type_hints(handler)["command"]
    arguments = {"input": Argument(publish_input(command), "The values of the mutation.")}
    batches = [name for name in fields if name in command.model_fields and get_origin(fields[name].type) is list]
    return strawberry.field(
        resolver=resolver(execute, arguments, requires=requires),
        graphql_type=_payload_type(handler.__name__, fields) | None,
        description=inspect.cleandoc(handler.__doc__ or "") + _NO_KEY * returns_secret,
        directives=[cost(MUTATION), *(sized_by(f"input.{name}", name) for name in batches)],
    )


def _result_fields(handler: Callable[..., Any], name: str = "") -> Mapping[str, PayloadField]:
    """The fields of a payload, from the annotation of the handler's result."""
    annotation = get_type_hints(handler, include_extras=True)["return"]
    if name:
        return {name: PayloadField(graphql_type(annotation), description_in(annotation), lambda result: result)}
    is_list = get_origin(annotation) is list
    row = get_args(annotation)[0] if is_list else annotation
    if issubclass(row, Table):
        return _row_field(row, many=is_list)
    return {
        name: PayloadField(graphql_type(annotation), description, attrgetter(name))
        for name, annotation, description in described_fields(row)
    }


def _row_field(row: type[Table], *, many: bool, plural: str = "") -> Mapping[str, PayloadField]:
    """The only field of a payload, named after the type of the row."""
    name = row.__name__[0].lower() + row.__name__[1:]
    if many:
        name = plural or name + "s"
    list_of: Any = list
    kind: Any = list_of[row_type(row)] if many else row_type(row)
    words = re.sub("[A-Z]", lambda letter: f" {letter[0].lower()}", name)
    return {name: PayloadField(kind, f"The {words}.", lambda result: result)}


def _payload_type(handler: str, fields: Mapping[str, PayloadField]) -> type:
    namespace: dict[str, Any] = {"__annotations__": {}}
    for name, field in fields.items():
        namespace["__annotations__"][name] = field.type | None
        namespace[name] = strawberry.field(
            resolver=_field_resolver(field.read), description=f"{field.description} Null if there are `userErrors`."
        )
    namespace["__annotations__"]["user_errors"] = list[UserError]
    namespace["user_errors"] = strawberry.field(
        description="The errors that the user can correct. Empty if the mutation succeeded.",
        directives=[assumed_size(1)],
    )
    name = "".join(part.capitalize() for part in handler.split("_"))
    return strawberry.type(
        type(f"{name}Payload", (), namespace), description=f"The result of `{to_camel_case(handler)}`."
    )


def _field_resolver(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda root: None if root.result is None else read(root.result)


def publish_input(command: type[Command]) -> type[Command]:
    """Publishes a command, and the commands and enums inside it. The mutation gets an invalid input as an error."""
    if "__strawberry_definition__" in vars(command):
        return command
    _publish_parts(field.annotation for field in command.model_fields.values())
    published = strawberry.pydantic.input(
        command, name=f"{command.__name__}Input", description=inspect.cleandoc(command.__doc__ or "")
    )
    for field in published.__strawberry_definition__.fields:  # type: ignore[attr-defined]
        info = command.model_fields[field.python_name]
        annotation = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
        if _has_global_key(annotation):
            field.type_annotation = StrawberryAnnotation(_with_ids(annotation), namespace={})
    return_validation_errors(command)
    return published


def _publish_parts(annotations: Iterable[Any]) -> None:
    """Publishes the commands and the enums in annotations."""
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, Command):
            publish_input(annotation)
        elif isinstance(annotation, type) and issubclass(annotation, Enum):
            publish_enum(annotation)
        else:
            _publish_parts(get_args(annotation))


def _has_global_key(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated and any(isinstance(item, GlobalKey) for item in annotation.__metadata__):
        return True
    return any(_has_global_key(part) for part in get_args(annotation))


def _with_ids(annotation: Any) -> Any:
    """The annotation with ``ID`` in place of every global key, and without Pydantic's constraints."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        is_key = any(isinstance(item, GlobalKey) for item in annotation.__metadata__)
        return strawberry.ID if is_key else _with_ids(parts[0])
    if origin is None:
        return annotation
    inner = tuple(_with_ids(part) for part in parts)
    wrap: Any = {Maybe: Maybe, list: list}.get(origin, Union)
    return wrap[inner] if wrap is Union else wrap[inner[0]]
