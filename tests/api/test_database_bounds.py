"""Every bound of an input is also a constraint of the database, so that no statement stores what no command allows."""

import importlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints
from uuid import UUID

import asyncpg
import pytest
from pydantic import TypeAdapter
from pydantic import ValidationError as InvalidValue
from strawberry import Maybe

from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import DatabaseOptions
from repositories.sql.aggregate import Commands, aggregates
from repositories.sql.table import Table, declared
from repositories.sql.types import Choice, Day, Email, Fixed, Flag, Integer, Json, Text, Timestamp
from repositories.tables.identity import User, UserPreferences
from resolvers.aggregates.derived_inputs import create_input, update_input
from resolvers.validation.command import Command
from tests.databases import Server, database_of
from tests.repositories.policy_subjects import insert_user, subject_of
from tests.repositories.support import connect_database

_MODULES = [
    *(f"{domain}.commands" for domain in ("administration", "client_management", "gamification", "identity")),
    *("identity.sessions", "identity.users", "life_lock.commands", "partnership.commands"),
]

_ROWS_OF_OTHER_RESULTS: dict[str, type[Table]] = {"SignUp": User}
"""The rows of commands whose handlers return something else."""

_ONLY_IN_COMMANDS = {
    ("users", "email"): "a revision keeps addresses of users of an external issuer that are not valid",
    ("users", "time_zone"): "whether a time zone exists can change with each release of the time zone database",
    ("users", "avatar_url"): "only the scheme of a URL matters to those who open it",
    ("clients", "website"): "as above",
    ("partners", "website"): "as above",
    ("products", "price_currency"): "the currencies can change with each release of the list of ISO 4217",
    ("rewards", "stock"): "a refund may return an item to a full stock",
}
"""The columns for which the database accepts some values that a command rejects, with the reasons."""

_TOGETHER = {("tasks", "status")}
"""The columns whose values the database checks together with others."""

_LENGTHS = (0, 1, 2, 3, 36, 50, 51, 64, 65, 100, 101, 254, 255, 256, 500, 501, 1000, 1001, 2000, 2001, 10_000, 10_001)
_CANDIDATES: dict[type[Any], list[Any]] = {
    Text: [
        *("a" * length for length in _LENGTHS),
        *("javascript:alert(1)", "ftp://example.com", "https://example.com", "HTTP://EXAMPLE.COM"),
        *("https://exa mple.com", "https://ada:secret@example.com", "https://" + "a" * 247, "https://" + "a" * 248),
        *("#12345G", "#12345", "#1234567", "123456#", "#aBcDe9"),
        *("en", "de-AT", "zh-Hant-TW", "es-419", "EN", "e", "de_AT", "de-at", "de-A", "de-AT-", "en\n"),
        *("key.of_1", "1key", ".key", "Key", "ke y", "kéy", "key-1", "first_task", "First", "first-task"),
        *("UTC", "Europe/Berlin", "Etc/GMT+1", "Europe/Ber lin", "Europe/Berlín", "Nowhere/Else", "'; --"),
        *("ada@example.com", "ada", "ada@", "@example.com", "a da@example.com"),
        *(
            "a" + character + "b"
            for character in "\t\n\r\x01\x1f\x7f\x80\x85\x9f\xa0\u200b\u200d\u2028\u2029\u2060\ufeff"
        ),
    ],
    Integer: [-(2**31), -1, 0, 1, 2, 5, 6, 100_000, 100_001, 1_000_000, 1_000_001, 2**31 - 1],
    Fixed: [*("-0.01", "-1", "0", "0.5", "1", "1.0001", "1.5", "0.00001", "9" * 13, "9" * 14, "0.01", "0.001", "NaN")],
    Timestamp: [
        *("1899-12-31T23:59:59Z", "1900-01-01T00:00:00Z", "2199-12-31T23:59:59Z", "2200-01-01T00:00:00Z"),
        *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "infinity", "-infinity"),
    ],
    Day: ["1899-12-31", "1900-01-01", "2199-12-31", "2200-01-01", "0001-01-01", "9999-12-31", "infinity"],
    Json: [{}, [], {"event": "TaskCompleted"}, {"event": "TaskCompleted", "count": 0}, "x" * 10_001],
    Flag: [True, False],
}
_CANDIDATES[Email] = _CANDIDATES[Text]
"""Values by type of column. Whether a text has a visible character, and its normal form, only commands check."""


class Field(NamedTuple):
    """A field of a command, and the column into which its value is written."""

    command: type[Command]
    name: str
    row: type[Table]

    def __str__(self) -> str:
        return f"{self.command.__name__}.{self.name}"

    @property
    def column(self) -> Any:
        return self.row.__table__.c[self.name]

    @property
    def place(self) -> tuple[str, str]:
        return self.row.__table__.name, self.name

    def validate(self, value: Any) -> Any:
        """The value as the command has it. Raises Pydantic's ValidationError."""
        field = self.command.model_fields[self.name]
        annotation = get_args(field.annotation)[0] if get_origin(field.annotation) is Maybe else field.annotation
        kind: Any = Annotated[(annotation, *(field.metadata or [None]))]
        return TypeAdapter(kind).validate_python(value)


def _handlers() -> Iterator[tuple[type[Command], type[Table]]]:
    """The commands, each with the row that its handler returns."""
    for name in _MODULES:
        module = importlib.import_module(f"resolvers.{name}")
        for function in vars(module).values():
            hints = get_type_hints(function) if "command" in getattr(function, "__annotations__", {}) else {}
            command, result = hints.get("command"), hints.get("return")
            if not (isinstance(command, type) and issubclass(command, Command)):
                continue
            row = get_args(result)[0] if get_origin(result) is list else result
            row = _ROWS_OF_OTHER_RESULTS.get(command.__name__, row)
            if isinstance(row, type) and issubclass(row, Table):
                yield command, row
    for aggregate in aggregates.values():
        if Commands.CREATE in aggregate.commands:
            yield create_input(aggregate), aggregate.row
        if Commands.UPDATE in aggregate.commands:
            yield update_input(aggregate), aggregate.row


def _fields() -> list[Field]:
    """The fields that are written into a column as they are. Keys refer to rows, and encrypted values are not seen."""
    return sorted(
        {
            Field(command, name, row)
            for command, row in _handlers()
            for name in command.model_fields
            if name in row.__fields__ and not name.endswith("id") and name != "version"
            if not declared(row.__table__.c[name]).encrypted
        },
        key=str,
    )


def _candidates(column: Any) -> list[Any]:
    if isinstance(column.type, Choice):
        return [*(choice.value for choice in column.type.choices), "", "other"]
    return _CANDIDATES[type(column.type)]


async def _store(connection: Any, field: Field, key: UUID, value: Any) -> Any:
    """Writes the value into an existing row, and returns what is stored. The change is rolled back."""
    table = field.row.__table__.fullname
    transaction = connection.transaction()
    await transaction.start()
    try:
        parsed = f"(SELECT {field.name} FROM jsonb_populate_record(NULL::{table}, $1))"
        text = (
            f"UPDATE {table} SET {field.name} = {parsed} WHERE {subject_of(field.row).key} = $2"
            f" RETURNING to_jsonb({field.name})::text"
        )
        return json.loads(await connection.fetchval(text, json.dumps({field.name: value}), key))
    finally:
        await transaction.rollback()


async def _insert_row(options: DatabaseOptions, row: type[Table]) -> UUID:
    owner, subject = new_id(), subject_of(row)
    key = owner if row in (User, UserPreferences) else new_id()
    async with connect_database(options) as database, database.transaction(SERVICE) as write:
        if row is not User:
            await insert_user(write, owner, owner)
        await subject.prepare(write, key, owner)
        await subject.insert(write, key, owner)
    return key


def _validated(field: Field, value: Any) -> Any:
    """The value as the command stores it, or None if the command rejects it."""
    try:
        return field.validate(value)
    except InvalidValue:
        return None


def _is_stored_unchanged(field: Field, value: Any) -> bool:
    """Some commands remove spaces around a text."""
    validated = _validated(field, value)
    return validated is not None and (validated == value or not isinstance(validated, str))


async def _compare(connection: Any, field: Field, key: UUID) -> tuple[list[Any], list[Any]]:
    """The candidates that the database wrongly stores, and those that it wrongly rejects."""
    wrongly_stored, wrongly_rejected = [], []
    for value in _candidates(field.column):
        try:
            stored = await _store(connection, field, key, value)
        except (asyncpg.CheckViolationError, asyncpg.DataError):
            if _is_stored_unchanged(field, value) and not (
                field.place in _TOGETHER or declared(field.column).transitions
            ):
                wrongly_rejected.append(value)
        except asyncpg.UniqueViolationError:
            pass
        else:
            if _validated(field, stored) is None:
                wrongly_stored.append(value)
    return wrongly_stored, wrongly_rejected


@pytest.mark.parametrize("row", sorted({field.row for field in _fields()}, key=str), ids=lambda row: row.__name__)
async def test_the_database_has_the_bounds_of_the_inputs(
    postgres_only: DatabaseOptions, server: Server, row: type[Table]
) -> None:
    """It stores what the commands accept, and nothing that they reject."""
    key = await _insert_row(postgres_only, row)
    connection = await asyncpg.connect(server.login("service", database_of(postgres_only)))
    await connection.execute("SET ROLE service_role")
    for field in _fields():
        if field.row is row:
            wrongly_stored, wrongly_rejected = await _compare(connection, field, key)
            assert (wrongly_rejected, str(field)) == ([], str(field))
            assert bool(wrongly_stored) is (field.place in _ONLY_IN_COMMANDS), (str(field), wrongly_stored)
    await connection.close()


def test_the_exceptions_are_fields() -> None:
    assert set(_ONLY_IN_COMMANDS) <= {field.place for field in _fields()}
    assert len(_fields()) > 40
