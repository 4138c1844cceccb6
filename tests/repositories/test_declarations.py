"""Declarations that contradict themselves fail at import, and the error names the table and the column."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from types import new_class
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from repositories.described_enum import DescribedEnum
from repositories.permissions import RoleName
from repositories.sql.aggregate import ACTOR, Commands, aggregate, aggregates, through
from repositories.sql.contradictions import check_references
from repositories.sql.filters import SortKey
from repositories.sql.policy import SERVICE_ONLY, Rule, one_of, owner, policies, policy, role, signed_in
from repositories.sql.table import (
    Column,
    DeclarationError,
    Format,
    Inverse,
    Pattern,
    Table,
    Versioned,
    Writer,
    column,
    metadata,
)
from repositories.sql.types import Fixed
from repositories.tables.life_lock import Task
from resolvers.aggregates.derived_inputs import new_row_input


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
    for row in (Thing, Tasks):
        policies.pop(row.__table__, None)


def _declare(kind: Any, declared: Any, *more: Any) -> None:
    columns = {"__annotations__": {"odd": _COLUMN[kind]}, "odd": declared}
    namespace = {"__slots__": (), **columns, "__table_args__": more}
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
_WIDER = "things: the policy lets viewers with the role {} write rows that they may not read"
_LONG = Decimal("1.234")
_LACKING = "a required column that the input of new rows lacks needs a default"
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
        (int, column("A number.", writer=Writer.ON_UPDATE, input_default=1), _LACKING),
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
        (Decimal, column("A number.", Fixed(3, 0), default=1000), "1000 has more digits than the column"),
        (Decimal, column("A number.", Fixed(5, 2), default=_LONG), "Decimal('1.234') has more digits than the column"),
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


def test_a_unique_index_on_an_encrypted_column() -> None:
    with pytest.raises(DeclarationError) as raised:
        _declare(str, column(encrypted=True), sa.Index("uq_odds_odd", "odd", unique=True))
    assert str(raised.value) == f"odds.odd: {_UNIQUE}"


def test_a_table_with_the_name_of_another_one() -> None:
    with pytest.raises(DeclarationError, match=r"^tasks: another table has this name; SQLite has no schemas$"):
        new_class("Chore", (Table,), {"schema": "chores", "name": "tasks"})
    assert "chores.tasks" not in metadata.tables


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


class Home(Table, schema="things", name="homes"):
    """Where a thing is."""

    __slots__ = ()
    user_id: Column[UUID] = column("The owner.")


class Thing(Versioned, Table, schema="things", name="things"):
    """A thing."""

    __slots__ = ()
    user_id: Column[UUID] = column("The owner.", writer=Writer.GATEWAY)
    finder_id: Column[UUID | None] = column("The finder.", writer=Writer.GATEWAY)
    home_id: Column[UUID] = column("The home.", references="things.homes.id")
    color: Column[str] = column("The colour.", length=(1, 9))
    code: Column[str] = column("The code.", encrypted=True)
    extent: Column[list[Any]] = column("The extent.")
    size_in_bytes: Column[int] = column("The size.", filtered=True)


class Tasks(Table, schema="things", name="thing_tasks"):
    """Its plural is that of tasks."""

    __slots__ = ()
    user_id: Column[UUID] = column("The owner.")


for _row in (Home, Thing, Tasks):
    metadata.remove(_row.__table__)
_ADMINS = role(RoleName.ADMIN)
_OWNED = owner(Thing.user_id)
_PARTIAL = _OWNED & one_of(Thing.color, ("red",))
_PEOPLE = _OWNED | owner(Thing.finder_id)
_RED_OF_PEOPLE = _PEOPLE & one_of(Thing.color, ("red",))
_READ_ONLY = "things: it has commands, but the policy lets no viewer write; declare `write=`"
_UNREADABLE = "things: viewers with the role user have root fields, but may not read any row"


def _error(row: type[Table], **arguments: Any) -> str:
    """The error of a declaration, which must not register anything."""
    before = dict(aggregates), dict(policies)
    with pytest.raises(DeclarationError) as raised:
        aggregate(row, **arguments)
    assert (aggregates, policies) == before
    return str(raised.value)


def test_a_policy_without_an_owner() -> None:
    assert _error(Thing, read=_ADMINS, write=_ADMINS) == (
        "things: the policy names no owner; declare `owner=`, a column, through() or ACTOR"
    )
    aggregate(Thing, read=_ADMINS, write=_ADMINS, owner=ACTOR)
    assert aggregates[Thing].owner is None
    assert aggregates[Thing].readers == {RoleName.ADMIN}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": (SortKey("size"),)}, "things.size: the default order names a column that does not exist"),
        ({"order": (SortKey("code"),)}, "things.code: the default order names a secret, encrypted or JSON column"),
        ({"order": (SortKey("extent"),)}, "things.extent: the default order names a secret, encrypted or JSON column"),
        ({"owner": Home.user_id}, "homes.user_id: the owner of things must be a column of that table"),
        ({"owner": through(Home.user_id)}, "homes.user_id: the owner of things must be a column of that table"),
        ({"owner": Thing.color}, "things.color: the owner must be the id of a user"),
        ({"owner": Thing.finder_id}, "things.finder_id: the owner must not be null"),
        ({"owner": through(Thing.color)}, "things.color: through() needs a column that references a table"),
        ({"owner": through(Thing.user_id)}, "things.user_id: through() needs a column that references a table"),
        ({"parent": Thing.color}, "things.color: the parent must be a column that references a table"),
        ({"parent": Home.id}, "homes.id: the parent of things must be a column of that table"),
        ({"parent": Thing.finder_id}, "things.finder_id: the parent must not be null"),
        ({"commands": Commands.RESTORE}, "things.deleted_at: the commands RESTORE and PURGE need this column"),
        ({"commands": Commands.ALL}, "things.deleted_at: the commands RESTORE and PURGE need this column"),
        ({"commands": Commands.CREATE, "write": SERVICE_ONLY}, _READ_ONLY),
        ({"batch": 0}, "things: `batch` must be 1 or more"),
        ({"read": _ADMINS, "write": _ADMINS, "owner": ACTOR, "roots": (RoleName.ADMIN, RoleName.USER)}, _UNREADABLE),
        ({"plural": "tasks"}, "things: tasks is also the name or the plural of tasks; use another name or `plural`"),
        ({"plural": "task"}, "things: task is also the name or the plural of tasks; use another name or `plural`"),
        ({"plural": "thing"}, "things: thing is both the name and the plural; use another `plural`"),
    ],
)
def test_an_aggregate_that_contradicts_itself(arguments: dict[str, Any], message: str) -> None:
    assert _error(Thing, **{"read": _OWNED | _ADMINS, "write": _OWNED, **arguments}) == message


def test_a_json_value_that_clients_write_needs_an_input() -> None:
    aggregate(Thing, read=_OWNED, write=_OWNED)
    with pytest.raises(DeclarationError) as raised:
        new_row_input(aggregates[Thing], "NewThing", "A thing.", without={"home_id"})
    assert str(raised.value) == "things.extent: clients write this JSON value; declare its input by set_json_input()"
    assert (
        "code" in new_row_input(aggregates[Thing], "NewThing", "A thing.", without={"home_id", "extent"}).model_fields
    )


def test_an_aggregate_with_the_name_of_another_one() -> None:
    owned = owner(Tasks.user_id)
    assert _error(Tasks, read=owned, plural="chores") == (
        "thing_tasks: tasks is also the name or the plural of tasks; use another name or `plural`"
    )
    assert _error(Task, read=owner(Task.user_id)) == "tasks: the table is an aggregate already"


@pytest.mark.parametrize(
    ("read", "write", "message"),
    [
        (owner(Home.user_id), SERVICE_ONLY, "homes.user_id: the policy of things names a column of another table"),
        (_ADMINS, owner(Home.user_id), "homes.user_id: the policy of things names a column of another table"),
        (owner(Thing.color), SERVICE_ONLY, "things.color: the policy compares it with a viewer's id, but it is no id"),
        (_OWNED, _OWNED | _ADMINS, _WIDER.format("admin")),
        (_ADMINS, _OWNED, _WIDER.format("user")),
        (_OWNED, signed_in(), _WIDER.format("user")),
        (SERVICE_ONLY, _OWNED, _WIDER.format("user")),
        (_PARTIAL, _OWNED, _WIDER.format("user")),
        (_OWNED, _RED_OF_PEOPLE, _WIDER.format("user")),
    ],
)
def test_a_policy_that_contradicts_itself(read: Rule, write: Rule, message: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        policy(Thing, read=read, write=write)
    assert str(raised.value) == message
    assert Thing.__table__ not in policies


@pytest.mark.parametrize(
    ("read", "write"),
    [
        (_OWNED | _ADMINS, _OWNED),
        (_OWNED | _ADMINS, _PARTIAL | _ADMINS),
        (_PARTIAL, _PARTIAL),
        (_PEOPLE, _RED_OF_PEOPLE),
        (signed_in(), _OWNED | _ADMINS),
        (_OWNED | (_ADMINS & one_of(Thing.color, ("red",))), (_OWNED | _ADMINS) & one_of(Thing.color, ("red",))),
    ],
)
def test_a_policy_that_does_not_contradict_itself(read: Rule, write: Rule) -> None:
    policy(Thing, read=read, write=write)
    assert policies[Thing.__table__].write is write
