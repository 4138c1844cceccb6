"""Valid inputs for the derived commands of any aggregate, from its declaration.

Tests of derived features run for every aggregate. They create rows with the derived mutation, or with the functions of
``MAKERS`` for aggregates whose rows are created in another way.
"""

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from strawberry.utils.str_converters import to_camel_case

from repositories.core.ids import new_id
from repositories.sql.aggregate import Aggregate, Commands, aggregates
from repositories.sql.table import Format, Pattern, Writer, declared
from repositories.sql.types import Choice
from resolvers.aggregates.derived_inputs import plural_type
from tests.api.client import Client

Ids = Mapping[str, str]
"""Global ids by the name of the type."""

_BY_FORMAT = {
    Format.EMAIL: "person{}@example.com",
    Format.PHONE: "+4930123{:04}",
    Format.WEB_ADDRESS: "https://example.com/{}",
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
    if isinstance(facts.format, Format):
        return _BY_FORMAT[facts.format].format(number)
    if isinstance(facts.format, Pattern):
        candidates = (f"x{number}", f"#00{number:04}")
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


def story(aggregate: Aggregate) -> list[tuple[str, Any]]:
    """All commands of an aggregate that are derived or replace derived ones: the mutation, and its input.

    They are in an order in which each succeeds.

    The inputs are functions of the ids. ``ids[type]`` is the row that the mutation before has returned.
    """
    name, plural, kind = aggregate.type_name, plural_type(aggregate), to_camel_case(aggregate.plural)
    maker, values = MAKERS.get(name, (f"create{name}", sample))
    created = Commands.CREATE if Commands.CREATE in aggregate.commands else Commands.UPDATE
    version = {"version": 1} if aggregate.is_versioned else {}
    update = Writer.ON_UPDATE
    steps: list[tuple[Commands, str, Any]] = [
        (created, maker, lambda ids: values(aggregate, ids, 1)),
        (
            Commands.UPDATE,
            f"update{name}",
            lambda ids: {"id": ids[name], **version, **sample(aggregate, ids, 2, writer=update)},
        ),
        (Commands.CREATE, f"create{plural}", lambda ids: {kind: [sample(aggregate, ids, 3)]}),
        *([(created, maker, lambda ids: values(aggregate, ids, 3))] if created is Commands.UPDATE else []),
        (
            Commands.UPDATE,
            f"update{plural}",
            lambda ids: {kind: [{"id": ids[name], **version, **sample(aggregate, ids, 4, writer=update)}]},
        ),
        (Commands.DELETE, f"delete{name}", lambda ids: {"id": ids[name]}),
        (Commands.RESTORE, f"restore{name}", lambda ids: {"id": ids[name]}),
    ]
    if Commands.CREATE in aggregate.commands and Commands.RESTORE not in aggregate.commands:
        steps.append((Commands.DELETE, f"create{name}", lambda ids: sample(aggregate, ids, 5)))
    steps += [
        (Commands.DELETE, f"delete{plural}", lambda ids: {"ids": [ids[name]]}),
        (Commands.RESTORE, f"restore{plural}", lambda ids: {"ids": [ids[name]]}),
    ]
    if Commands.PURGE in aggregate.commands:
        steps.append((Commands.CREATE, maker, lambda ids: values(aggregate, ids, 6)))
        steps.append((Commands.PURGE, f"delete{name}", lambda ids: {"id": ids[name]}))
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
        deletion = next((i for i, step in enumerate(steps) if step[1].startswith(("delete", "remove"))), len(steps))
        first += steps[:deletion]
        last = [*steps[deletion:], *last]
    return first, last


def _achievement(aggregate: Aggregate, ids: Ids, number: int) -> dict[str, Any]:
    """The code is unique among the achievements of all users."""
    return sample(aggregate, ids, number) | {"code": f"x{new_id().hex}"}


def _referral(_: Aggregate, ids: Ids, number: int) -> dict[str, Any]:
    return {"partnerId": ids["Partner"], "clientName": f"Text {number}"}


async def make_row(client: Client, aggregate: Aggregate, number: int = 1, ids: Ids | None = None) -> str:
    """Creates a row with the mutation of its aggregate, and returns its global id."""
    mutation, values = MAKERS.get(aggregate.type_name, (f"create{aggregate.type_name}", sample))
    payload = await client.do(
        mutation, f"{to_camel_case(aggregate.name)} {{ id }}", **values(aggregate, ids or {}, number)
    )
    assert payload["userErrors"] == [], payload
    return str(payload[to_camel_case(aggregate.name)]["id"])


MAKERS: dict[str, tuple[str, Any]] = {
    "Achievement": ("createAchievement", _achievement),
    "Referral": ("submitReferral", _referral),
}
"""The mutation that creates a row, and a function like ``sample``, for aggregates with another one than the derived."""
