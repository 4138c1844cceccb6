"""Declarations that contradict themselves fail at import, and the error names the table and the column."""

from collections.abc import Iterator
from decimal import Decimal
from types import new_class
from typing import Any

import pytest

from repositories.described_enum import DescribedEnum
from repositories.permissions import RoleName
from repositories.sql.aggregate import ACTOR, aggregate, aggregates
from repositories.sql.filters import SortKey
from repositories.sql.policy import policies, role
from repositories.sql.table import Column, DeclarationError, Format, Inverse, Pattern, Table, Writer, column, metadata
from repositories.sql.types import Fixed


class Shade(DescribedEnum):
    """A shade."""

    LIGHT = "light", "Light."


def test_every_value_of_an_enum_needs_a_description() -> None:
    with pytest.raises((TypeError, RuntimeError)) as raised:  # Python 3.11 wraps the error

        class Tone(DescribedEnum):
            LOW = "low"

    error = raised.value.__cause__ or raised.value
    assert str(error) == "Tone: the value 'low' needs a description"
    assert (Shade("light"), Shade.LIGHT.description) == (Shade.LIGHT, "Light.")


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Removes the tables of these tests."""
    before = set(metadata.tables)
    yield
    for name in set(metadata.tables) - before:
        metadata.remove(metadata.tables[name])
    aggregates.pop(Thing, None)
    policies.pop(Thing.__table__, None)


def _declare(kind: Any, declared: Any) -> None:
    namespace = {"__slots__": (), "__annotations__": {"odd": _COLUMN[kind]}, "odd": declared}
    new_class("Odd", (Table,), {"schema": "odd", "name": "odds"}, lambda body: body.update(namespace))


_COLUMN: Any = Column


@pytest.mark.parametrize(
    ("kind", "declared", "reason"),
    [
        (str, column("A text.", encrypted=True, searched=True), "an encrypted column cannot be searched"),
        (str, column("A text.", encrypted=True, filtered=True), "an encrypted column cannot be searched"),
        (str, column("A text.", encrypted=True, sorted=True), "an encrypted column cannot be searched"),
        (str, column("A text.", secret=True), "a secret column cannot be published"),
        (int, column("A number.", searched=True), "only texts can be searched"),
        (int, column("A number.", length=(1, 2)), "only texts have a length"),
        (int, column("A number.", format=Format.EMAIL), "only texts have a length"),
        (str, column("A text.", range=(1, 2)), "only numbers have a range"),
        (str, column("A text.", transitions={"a": ("b",)}), "only enums have transitions"),
        (str, column("A text.", length=(1, 9), history=True), "the history must not contain texts"),
        (int, column(filtered=True), "needs a description"),
        (int, column(writer=Writer.CLIENT), "needs a description"),
        (int, column("A number.", range=(1, 5), default=9), "the default 9 is not in its range"),
        (Decimal, column("A number.", Fixed(5, 2), range=(None, 5), default=9), "the default 9 is not in its range"),
        (str, column("A text.", length=(3, 5), default="x"), "the default 'x' has another length"),
        (Shade, column("A shade.", default="dark"), "the default 'dark' is none of its values"),
        (int, column("A number.", encrypted=True), "only texts can be encrypted"),
        (int, column("A number.", range=(1, 5), input_default=9), "the default 9 is not in its range"),
        (int, column("A number.", default="x"), "the default 'x' is of another type"),
        (int, column("A number.", default=True), "the default True is of another type"),
        (bool, column("A flag.", default=3), "the default 3 is of another type"),
        (str, column("A text.", default=3), "the default 3 is of another type"),
        (str, column("A text.", format=Pattern("#[0-9]", "Digits"), default="9"), "the default '9' has another format"),
        (str, column("A text.", length=(1, 9), single_line=True, default="a\nb"), "has several lines"),
        (int, column("A number.", range=(5, 1)), "must not end before it starts"),
        (int, column("A number.", inverse=Inverse("odds", "The odds.")), "only a column that references a table"),
    ],
)
def test_a_column_that_contradicts_itself(kind: Any, declared: Any, reason: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        _declare(kind, declared)
    assert str(raised.value).startswith("odds.odd: ")
    assert reason in str(raised.value)


class Thing(Table, schema="things", name="things"):
    """A thing."""

    __slots__ = ()
    size_in_bytes: Column[int] = column("The size.", filtered=True)


metadata.remove(Thing.__table__)


def test_a_policy_without_an_owner() -> None:
    admins = role(RoleName.ADMIN)
    with pytest.raises(DeclarationError, match=r"things\.id: the policy names no owner"):
        aggregate(Thing, read=admins, write=admins)
    aggregate(Thing, read=admins, write=admins, owner=ACTOR)
    assert aggregates[Thing].owner is None
    assert aggregates[Thing].readers == {RoleName.ADMIN}


def test_an_order_by_a_column_that_does_not_exist() -> None:
    with pytest.raises(DeclarationError, match=r"things\.size: the default order"):
        aggregate(Thing, read=role(RoleName.ADMIN), owner=ACTOR, order=(SortKey("size"),))
