"""Declarations that contradict themselves fail at import, and the error names the table and the column."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from types import new_class
from typing import Any
from uuid import UUID

import pytest

from repositories.described_enum import DescribedEnum
from repositories.permissions import RoleName
from repositories.sql.aggregate import ACTOR, aggregate, aggregates
from repositories.sql.contradictions import check_references
from repositories.sql.filters import Order
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


_DARK_ONLY = {Shade.LIGHT: ("dark",)}
_REFERENCED = "only a column that references a table has an inverse"
_SEARCHED = "an encrypted column cannot be searched, filtered or sorted"
_PUBLISHED = "a column that clients write, filter, sort or search needs a description"
_TEXTS = "only texts have a length, a format or a single line"
_HISTORY = "the history must not contain texts and secret values"
_UNIQUE = "an encrypted column cannot be unique, because equal values have different ciphertexts"
_PLAIN = "an encrypted column cannot have a default, which the database would store as plain text"
_DIRECT = "clients cannot change a column with transitions directly; use `writer=Writer.GATEWAY`"
_DIGITS = "the range has numbers with more digits than the column"


@pytest.mark.parametrize(
    ("kind", "declared", "reason"),
    [
        (float, column("A number."), "no SQL type is known for float; use another type or `sql_type`"),
        (Decimal, column("A number."), "no SQL type is known for Decimal; use another type or `sql_type`"),
        (str, column("A text.", encrypted=True, searched=True), _SEARCHED),
        (str, column("A text.", encrypted=True, filtered=True), _SEARCHED),
        (str, column("A text.", encrypted=True, sorted=True), _SEARCHED),
        (str, column("A text.", encrypted=True, unique=True), _UNIQUE),
        (str, column("A text.", encrypted=True, default="plain"), _PLAIN),
        (int, column("A number.", encrypted=True), "only texts can be encrypted"),
        (str, column("A text.", secret=True), "a secret column cannot be published"),
        (int, column("A number.", searched=True), "only texts can be searched"),
        (int, column("A number.", length=(1, 2)), _TEXTS),
        (int, column("A number.", format=Format.EMAIL), _TEXTS),
        (int, column("A number.", single_line=True), _TEXTS),
        (str, column("A text.", range=(1, 2)), "only numbers have a range"),
        (str, column("A text.", length=(1, 9), history=True), _HISTORY),
        (dict, column("A value.", filtered=True), "a JSON value cannot be filtered or sorted"),
        (list, column("A value.", sorted=True), "a JSON value cannot be filtered or sorted"),
        (int, column(filtered=True), _PUBLISHED),
        (int, column(writer=Writer.CLIENT), _PUBLISHED),
        (
            int,
            column("A number.", writer=Writer.ON_UPDATE, input_default=1),
            "a required column that the input of new rows lacks needs a default",
        ),
        (int, column("A number.", range=(5, 1)), "a length or a range must not end before it starts"),
        (str, column("A text.", length=(5, 1)), "a length or a range must not end before it starts"),
        (str, column("A text.", length=(-5, -1)), "a length must not be negative"),
        (Decimal, column("A number.", Fixed(5, 2), range=(0, 1000)), _DIGITS),
        (Decimal, column("A number.", Fixed(5, 2), input_range=(-1000, None)), _DIGITS),
        (int, column("A number.", inverse=Inverse("odds", "The odds.")), _REFERENCED),
        (UUID, column("An id.", inverse=Inverse("odds", "The odds.")), _REFERENCED),
        (str, column("A text.", transitions={"a": ("b",)}), "only enums have transitions"),
        (Shade, column("A shade.", transitions=_DARK_ONLY), "the transitions name dark, which is none of its values"),
        (Shade, column("A shade.", transitions={}), "the transitions do not say what may follow light"),
        (Shade, column("A shade.", transitions={Shade.LIGHT: ()}), _DIRECT),
        (Shade, column("A shade.", transitions={Shade.LIGHT: ()}, writer=Writer.ON_UPDATE, default="light"), _DIRECT),
    ],
)
def test_a_column_that_contradicts_itself(kind: Any, declared: Any, reason: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        _declare(kind, declared)
    assert str(raised.value) == f"odds.odd: {reason}"


@pytest.mark.parametrize(
    ("kind", "declared", "reason"),
    [
        (int, column("A number.", range=(1, 5), default=9), "9 is not in its range"),
        (int, column("A number.", range=(1, 5), input_default=9), "9 is not in its range"),
        (Decimal, column("A number.", Fixed(5, 2), range=(None, 5), default=9), "9 is not in its range"),
        (
            Decimal,
            column("A number.", Fixed(5, 2), default=Decimal("1.234")),
            "Decimal('1.234') has more digits than the column",
        ),
        (str, column("A text.", length=(3, 5), default="x"), "'x' has another length"),
        (Shade, column("A shade.", default="dark"), "'dark' is none of its values"),
        (int, column("A number.", default="x"), "'x' is of another type"),
        (int, column("A number.", default=True), "True is of another type"),
        (bool, column("A flag.", default=3), "3 is of another type"),
        (str, column("A text.", default=3), "3 is of another type"),
        (UUID, column("An id.", default="x"), "'x' is of another type"),
        (dt.datetime, column("A time.", default="now"), "'now' is of another type"),
        (dt.date, column("A date.", default="today"), "'today' is of another type"),
        (dict, column("A value.", default="{}"), "'{}' is of another type"),
        (str, column("A text.", format=Pattern("#[0-9]", "Digits"), default="9"), "'9' has another format"),
        (str, column("A text.", format=Format.EMAIL, default="nobody"), "'nobody' has another format"),
        (str, column("A text.", format=Format.EMAIL, default="A@b.com"), "'A@b.com' has another format"),
        (str, column("A text.", format=Format.PHONE, default="030 1"), "'030 1' has another format"),
        (str, column("A text.", format=Format.WEB_ADDRESS, default="ftp://a.b"), "'ftp://a.b' has another format"),
        (str, column("A text.", format=Format.TIME_ZONE, default="Mars"), "'Mars' has another format"),
        (str, column("A text.", length=(1, 9), single_line=True, default="a\nb"), "'a\\nb' is not a single line"),
        (str, column("A text.", length=(1, 9), single_line=True, default="a\tb"), "'a\\tb' is not a single line"),
    ],
)
def test_a_default_that_cannot_be_a_value(kind: Any, declared: Any, reason: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        _declare(kind, declared)
    assert str(raised.value) == f"odds.odd: the default {reason}"


@pytest.mark.parametrize(
    ("kind", "declared"),
    [
        (str, column("A text.", format=Format.EMAIL, default="a@b.com")),
        (str, column("A text.", format=Format.PHONE, default="+49301234567")),
        (str, column("A text.", format=Format.WEB_ADDRESS, default="https://example.com/a?b=c")),
        (str, column("A text.", format=Format.TIME_ZONE, default="Europe/Berlin")),
        (str, column("A text.", length=(1, 9), single_line=True, default="a b")),
        (str, column("A text.", encrypted=True, format=Format.EMAIL, input_default="a@b.com")),
        (int, column("A number.", writer=Writer.ON_UPDATE, default=1)),
        (Decimal, column("A number.", Fixed(5, 2), range=(0, 999), default=Decimal("1.23"))),
        (Shade, column("A shade.", transitions={Shade.LIGHT: ()}, writer=Writer.ON_CREATE)),
        (dict, column("A value.", default={})),
    ],
)
def test_a_column_that_does_not_contradict_itself(kind: Any, declared: Any) -> None:
    _declare(kind, declared)
    assert "odd" in metadata.tables["odd.odds"].c


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("odd.evens.id", "it references odd.evens.id, which does not exist"),
        ("odd.odds.key", "it references odd.odds.key, which does not exist"),
    ],
)
def test_a_reference_to_an_unknown_column(target: str, reason: str) -> None:
    check_references(metadata.tables)
    _declare(UUID, column("An id.", references=target))
    with pytest.raises(DeclarationError) as raised:
        check_references(metadata.tables)
    assert str(raised.value) == f"odds.odd: {reason}"


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
        aggregate(Thing, read=role(RoleName.ADMIN), owner=ACTOR, order=(Order("size"),))
