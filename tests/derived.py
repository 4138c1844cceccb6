"""Valid inputs of mutations, from the inputs that the schema declares and from the columns of aggregates.

Tests of derived features run for every aggregate. They create rows with a mutation, or with the functions of ``MAKERS``
for aggregates whose rows no mutation creates alone.
"""

import datetime as dt
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

from graphql import get_named_type
from strawberry.utils.str_converters import to_camel_case

from repositories.administration import Roles
from repositories.commerce.orders import OrderItems
from repositories.commerce.stock import StockMovements
from repositories.core.clock import now
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.job_runs import JobRuns
from repositories.permissions import RoleName
from repositories.sql.aggregate import Aggregate, Commands, aggregates
from repositories.sql.table import Format, Pattern, Writer, declared
from repositories.sql.types import Choice
from repositories.tables.commerce import MovementKind, OrderStatus
from repositories.tables.identity import User
from resolvers.aggregates.derived_inputs import plural_type
from resolvers.validation.command import Command
from resolvers.validation.global_ids import GlobalKey
from schema import Mutation, schema
from schema.aggregates.fields import _handler_of
from tests.api.client import Gateway, gid
from tests.factories import (
    make_achievement,
    make_grant,
    make_order,
    make_points,
    make_product,
    make_redemption,
    make_reward,
    make_session,
    make_user,
    make_user_achievement,
)

Ids = Mapping[str, str]
"""Global ids by the name of the type."""

_BY_FORMAT = {
    Format.EMAIL: "person{}@example.com",
    Format.PHONE: "+4930123{:04}",
    Format.WEB_ADDRESS: "https://example.com/{}",
    Format.TIME_ZONE: "Etc/GMT+{}",
}


def sample(aggregate: Aggregate, ids: Ids, number: int = 1, *, writer: Writer = Writer.ON_CREATE) -> dict[str, Any]:
    """Values of all columns that clients write; other numbers give other values."""
    values: dict[str, Any] = {}
    for column in aggregate.written(writer):
        reference = aggregate.references.get(column.name)
        if reference is None:
            values[to_camel_case(column.name)] = sample_value(column, number)
        elif reference.target.__name__ in ids:
            values[to_camel_case(column.name)] = ids[reference.target.__name__]
    return values


def sample_value(column: Any, number: int) -> Any:
    """A valid value of a column, as clients write it."""
    facts = declared(column)
    if isinstance(column.type, Choice):
        choices = list(column.type.choices)
        return choices[number % len(choices)].name
    if facts.kind is str:
        return _sample_text(facts, number)
    low, high = facts.range or (None, None)
    if facts.kind is int:
        return min(max(number, low or 0), high or number + 1)
    if facts.kind is Decimal:
        return str(Decimal(min(number, 9)) / 10)
    if facts.kind is dict:
        return {"count": 900 + number}  # of achievements
    if facts.kind is bool:
        return number % 2 == 0
    moment = dt.datetime(2126, 6, 15, 12, tzinfo=dt.UTC) + dt.timedelta(days=number)
    return moment.date().isoformat() if facts.kind is dt.date else moment.isoformat()


def _sample_text(facts: Any, number: int) -> str:
    if facts.format is Format.CURRENCY:
        return ("EUR", "USD", "KWD")[number % 3]
    if isinstance(facts.format, Format):
        return _BY_FORMAT[facts.format].format(number)
    if isinstance(facts.format, Pattern):
        candidates = (f"x{new_id().hex}", f"#00{number:04}", "en")
        return next(text for text in candidates if re.fullmatch(facts.format.regex, text))
    return f"Text {number}"


def stored_sample(column: Any, number: int) -> Any:
    """The value of :func:`sample_value` as repositories take it."""
    value, facts = sample_value(column, number), declared(column)
    if isinstance(column.type, Choice):
        return column.type.choices[value]
    parse: Mapping[Any, Any] = {
        Decimal: Decimal,
        dt.datetime: dt.datetime.fromisoformat,
        dt.date: dt.date.fromisoformat,
    }
    return parse[facts.kind](value) if facts.kind in parse else value


def _find_commands() -> dict[str, type[Command]]:
    fields = Mutation.__strawberry_definition__.fields  # type: ignore[attr-defined]
    handlers = {to_camel_case(field.python_name): _handler_of(field) for field in fields}
    return {name: get_type_hints(handler)["command"] for name, handler in handlers.items() if handler is not None}


COMMANDS = _find_commands()
"""The commands of all mutations that have an input, by the name of the mutation."""


def payload_field(mutation: str) -> tuple[str, Aggregate | None]:
    """The first field of the payload of a mutation, and the aggregate of its type."""
    assert schema._schema.mutation_type is not None
    payload: Any = get_named_type(schema._schema.mutation_type.fields[mutation].type)
    name, field = next(iter(payload.fields.items()))
    type_name = get_named_type(field.type).name
    return name, next((each for each in aggregates.values() if each.type_name == type_name), None)


class UnderivableInputError(Exception):
    """A required field of an input is neither a column, nor an id, nor a list of inputs."""


def derive_input(mutation: str, ids: Ids, number: int = 1) -> dict[str, Any]:
    """A valid input of a mutation: the first version, an id of each type, and samples of all columns.

    Lists of inputs have one input. Optional lists, such as the contacts of a new client, are left out.
    """
    return _derive(COMMANDS[mutation], payload_field(mutation)[1], ids, number)


def _derive(command: type[Command], aggregate: Aggregate | None, ids: Ids, number: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, info in command.model_fields.items():
        metadata = [*info.metadata, *_metadata(info.annotation)]
        target = next((item.type_name for item in metadata if isinstance(item, GlobalKey)), None)
        nested = next(_commands_in(info.annotation), None)
        if target is not None:
            if target in ids:
                values[to_camel_case(name)] = [ids[target]] if name == "ids" else ids[target]
        elif name == "version":
            values[name] = 1
        elif aggregate is not None and name in aggregate.table.c:
            values[to_camel_case(name)] = sample_value(aggregate.table.c[name], number)
        elif nested is not None and info.is_required():
            found = next(each for each in aggregates.values() if each.plural == name)
            values[to_camel_case(name)] = [_derive(nested, found, ids, number)]
        if info.is_required() and to_camel_case(name) not in values:
            raise UnderivableInputError(command.__name__, name)
    return values


def _metadata(annotation: Any) -> Iterator[Any]:
    """The metadata of an annotation and of the types in it."""
    yield from getattr(annotation, "__metadata__", ())
    for part in get_args(annotation):
        yield from _metadata(part)


def _commands_in(annotation: Any) -> Iterator[type[Command]]:
    if isinstance(annotation, type) and issubclass(annotation, Command):
        yield annotation
    for part in get_args(annotation):
        yield from _commands_in(part)


def _creator(aggregate: Aggregate) -> str:
    """The mutation that creates a row."""
    return _CREATORS.get(aggregate.type_name, f"{aggregate.verb(Commands.CREATE)}{aggregate.type_name}")


_CREATORS = {"Referral": "submitReferral"}
"""Mutations that create rows and have other names than the derived ones."""


def story(aggregate: Aggregate) -> list[tuple[str, Any]]:
    """All commands of an aggregate that are derived or replace derived ones: the mutation, and its input.

    They are in an order in which each succeeds.

    The inputs are functions of the ids. ``ids[type]`` is the row that the mutation before has returned.
    """
    name, plural, kind = aggregate.type_name, plural_type(aggregate), to_camel_case(aggregate.plural)
    maker = _creator(aggregate)
    create, delete = aggregate.verb(Commands.CREATE), aggregate.verb(Commands.DELETE)
    created = Commands.CREATE if Commands.CREATE in aggregate.commands else Commands.UPDATE
    version = {"version": 1} if aggregate.is_versioned else {}
    update = Writer.ON_UPDATE
    steps: list[tuple[Commands, str, Any]] = [
        (created, maker, lambda ids: derive_input(maker, ids, 1)),
        (
            Commands.UPDATE,
            f"update{name}",
            lambda ids: {"id": ids[name], **version, **sample(aggregate, ids, 2, writer=update)},
        ),
        (Commands.CREATE, f"{create}{plural}", lambda ids: {kind: [sample(aggregate, ids, 3)]}),
        *([(created, maker, lambda ids: derive_input(maker, ids, 3))] if created is Commands.UPDATE else []),
        (
            Commands.UPDATE,
            f"update{plural}",
            lambda ids: {kind: [{"id": ids[name], **version, **sample(aggregate, ids, 4, writer=update)}]},
        ),
        (Commands.DELETE, f"{delete}{name}", lambda ids: {"id": ids[name]}),
        (Commands.RESTORE, f"restore{name}", lambda ids: {"id": ids[name]}),
    ]
    if Commands.CREATE in aggregate.commands and Commands.RESTORE not in aggregate.commands:
        steps.append((Commands.DELETE, maker, lambda ids: derive_input(maker, ids, 5)))
    steps += [
        (Commands.DELETE, f"{delete}{plural}", lambda ids: {"ids": [ids[name]]}),
        (Commands.RESTORE, f"restore{plural}", lambda ids: {"ids": [ids[name]]}),
    ]
    if Commands.PURGE in aggregate.commands:
        steps.append((Commands.CREATE, maker, lambda ids: derive_input(maker, ids, 6)))
        steps.append((Commands.PURGE, f"{delete}{name}", lambda ids: {"id": ids[name]}))
        steps.append((Commands.PURGE, f"purge{name}", lambda ids: {"id": ids[name]}))
    return [(mutation, given) for command, mutation, given in steps if command in aggregate.commands]


Step = tuple[Aggregate, str, Any]


def stories() -> tuple[list[Step], list[Step]]:
    """The steps of all aggregates, with the aggregate of each: those up to the first deletion, and the others.

    The rows that other rows refer to are created first and deleted last.
    """
    first: list[Step] = []
    last: list[Step] = []
    for aggregate in aggregates.values():
        steps = [(aggregate, mutation, given) for mutation, given in story(aggregate)]
        deletion = next(
            (i for i, step in enumerate(steps) if step[1].startswith(aggregate.verb(Commands.DELETE))), len(steps)
        )
        first += steps[:deletion]
        last = [*steps[deletion:], *last]
    return first, last


async def make_row(
    gateway: Gateway, user: User, aggregate: Aggregate, number: int = 1, *, refer_to: Ids = MappingProxyType({})
) -> str:
    """Creates a row of the user, and returns its global id.

    The row refers to the rows ``refer_to``, and to new ones that it must refer to. The client of the mutation has all
    roles that may write such rows.
    """
    if aggregate.type_name in MAKERS:
        return gid(aggregate.type_name, await MAKERS[aggregate.type_name](gateway.database, user, number))
    mutation, ids = _creator(aggregate), dict(refer_to)
    for reference in aggregate.references.values():
        if reference.target in aggregates and not reference.column.nullable and reference.target is not User:
            target = aggregates[reference.target]
            if target.type_name not in ids:
                ids[target.type_name] = await make_row(gateway, user, target, number)
    field, _ = payload_field(mutation)
    client = gateway.client(user, *aggregate.writers)
    payload = await client.do(mutation, f"{field} {{ id }}", **derive_input(mutation, ids, number))
    assert payload["userErrors"] == [], payload
    return str(payload[field]["id"])


async def _run(database: Database, _: User, number: int) -> Any:
    async with database.transaction(SERVICE) as write:
        return await JobRuns(write).add(job=f"Job {number}", started_at=now())


async def _role(database: Database, _: User, number: int) -> Any:
    """One of the roles that the migrations create."""
    async with database.transaction(SERVICE) as write:
        roles = await Roles(write).find(limit=2)
    return roles[number % 2]


async def _grant(database: Database, user: User, number: int) -> Any:
    owner = user if number == 1 else await make_user(database)
    return await make_grant(database, owner, RoleName.PARTNERSHIP_MANAGER, by=user)


async def _unlocked(database: Database, user: User, _: int) -> Any:
    return await make_user_achievement(database, user, await make_achievement(database))


async def _redemption(database: Database, user: User, _: int) -> Any:
    return await make_redemption(database, user, await make_reward(database))


async def _order(database: Database, user: User, _: int) -> Any:
    """It is canceled, because a user has at most one draft."""
    product = await make_product(database)
    return await make_order(database, user, product, status=OrderStatus.CANCELED, canceled_at=now())


async def _order_item(database: Database, user: User, number: int) -> Any:
    order = await _order(database, user, number)
    async with database.transaction(SERVICE) as write:
        (item,) = await OrderItems(write).of_order(order.id)
    return item


async def _movement(database: Database, user: User, number: int) -> Any:
    values = {"product_id": (await make_product(database)).id, "quantity": number, "kind": MovementKind.RECEIVED}
    async with database.transaction(SERVICE) as write:
        return await StockMovements(write).add(order_item_id=None, note=None, actor_id=user.id, **values)


MAKERS: dict[str, Callable[[Database, User, int], Awaitable[Any]]] = {
    "JobRun": _run,
    "Order": _order,
    "OrderItem": _order_item,
    "PointEntry": make_points,
    "RewardRedemption": _redemption,
    "Role": _role,
    "RoleGrant": _grant,
    "StockMovement": _movement,
    "Session": lambda database, user, _: make_session(database, user),
    "User": lambda database, _, __: make_user(database),
    "UserAchievement": _unlocked,
}
"""Functions that create a row of a user, for aggregates whose rows no mutation creates alone."""
