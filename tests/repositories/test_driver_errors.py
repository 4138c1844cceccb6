"""What every error of the drivers means to a client: both tables of expected results cover all errors that exist."""

import sqlite3
from collections.abc import Iterator

import asyncpg
import pytest

from repositories.engines.postgresql_errors import map_postgresql_error
from repositories.engines.sqlite_errors import map_sqlite_error

REACH = "ServiceUnavailable: The database cannot be reached right now. Try again in a moment."
STORE = "ServiceUnavailable: The database cannot store changes right now. Try again in a moment."
BUG = "None"
"""A bug of the gateway, or damaged data."""

_POSTGRESQL = {
    REACH: "08 25P03 28 3D 40003 53 55000 55006 57 58 72 F0",
    STORE: "25006 53100",
    "Timeout": "25P04 55P03 57014",
    "Conflict": "40",
    "DanglingReference": "23",
    "Forbidden": "42501",
    "ValidationError": "22021 22P05",
    BUG: "03 09 0A 0B 0F 0L 0P 0Z 10 20 21 22 23502 24 25 26 27 2B 2D 2F 34 38 39 3B 3F 42 44 54 55 HV P0 XX",
}
"""By result: the classes of SQLSTATE that have it, and the SQLSTATEs that differ from their class."""

_SQLITE = {
    REACH: "BUSY CANTOPEN IOERR LOCKED NOMEM PERM PROTOCOL SCHEMA",
    STORE: "FULL NOLFS READONLY",
    "Timeout": "INTERRUPT",
    "DanglingReference": "CONSTRAINT",
    BUG: "ABORT AUTH CORRUPT EMPTY ERROR FORMAT INTERNAL MISMATCH MISUSE NOTADB NOTFOUND RANGE TOOBIG",
}
"""By result: the primary result codes that have it."""


def _by_code(table: dict[str, str]) -> dict[str, str]:
    return {code: result for result, codes in table.items() for code in codes.split()}


def _subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for subclass in kind.__subclasses__():
        yield from _subclasses(subclass)


_WITH_STATE = sorted(
    (kind for kind in set(_subclasses(asyncpg.PostgresError)) if getattr(kind, "sqlstate", None) is not None),
    key=lambda kind: (str(kind.sqlstate), kind.__name__),  # type: ignore[attr-defined]
)
_WITHOUT_STATE = sorted(
    {
        *(kind for kind in _subclasses(asyncpg.PostgresError) if getattr(kind, "sqlstate", None) is None),
        *_subclasses(asyncpg.InterfaceError),
        *_subclasses(asyncpg.InternalClientError),
        *(OSError, ConnectionResetError, TimeoutError),
    },
    key=lambda kind: kind.__name__,
)


def _describe(error: Exception | None, expected: str) -> str:
    """The class of the error and, if the expected result has one, its message."""
    return (
        f"{type(error).__name__}: {error}" if error and ":" in expected else type(error).__name__ if error else "None"
    )


@pytest.mark.parametrize("kind", _WITH_STATE, ids=lambda kind: f"{kind.sqlstate}-{kind.__name__}")
def test_every_error_of_postgresql_has_its_result(kind: type[Exception]) -> None:
    table = _by_code(_POSTGRESQL)
    state = str(kind.sqlstate)  # type: ignore[attr-defined]
    expected = (
        "SchemaChanged"
        if kind is asyncpg.InvalidCachedStatementError
        else table.get(state, table.get(state[:2], "no expected result"))
    )
    error = kind("reason")
    error.constraint_name = None  # type: ignore[attr-defined]
    assert _describe(map_postgresql_error(error), expected) == expected


@pytest.mark.parametrize("kind", _WITHOUT_STATE, ids=lambda kind: kind.__name__)
def test_every_error_without_a_state_means_that_the_connection_is_lost(kind: type[Exception]) -> None:
    """Except for the base classes of errors of the server, which have a state."""
    expected = "None" if issubclass(kind, asyncpg.PostgresError) else REACH
    assert _describe(map_postgresql_error(kind("reason")), expected) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UNIQUE constraint failed: users.email", "Conflict"),
        ("CHECK constraint failed: ck_tasks_title_length", "ValidationError"),
        ("FOREIGN KEY constraint failed", "DanglingReference"),
        ("NOT NULL constraint failed: tasks.title", "None"),
        ("domain_events is append-only", "Forbidden"),
    ],
)
def test_every_violated_constraint_of_sqlite_has_its_result(text: str, expected: str) -> None:
    error = sqlite3.IntegrityError(text)
    error.sqlite_errorcode = sqlite3.SQLITE_CONSTRAINT
    assert _describe(map_sqlite_error(error), expected) == expected


def _result_codes() -> dict[str, int]:
    """The primary and extended result codes that are errors; other constants are those of authorizers and limits."""
    names = {name.removeprefix("SQLITE_"): code for name, code in vars(sqlite3).items() if name.startswith("SQLITE_")}
    primary = {name: int(names[name]) for name in _by_code(_SQLITE)}
    return {
        name: code
        for name, code in names.items()
        if primary.get(name) == code or (code > 0xFF and primary.get(name.partition("_")[0]) == code & 0xFF)
    }


@pytest.mark.parametrize("name", sorted(_result_codes()))
def test_every_result_code_of_sqlite_has_its_result(name: str) -> None:
    expected = _by_code(_SQLITE)[name.partition("_")[0]]
    error = sqlite3.OperationalError("FOREIGN KEY constraint failed")
    error.sqlite_errorcode = _result_codes()[name]
    assert _describe(map_sqlite_error(error), expected) == expected


def test_the_table_contains_every_primary_result_code_of_sqlite() -> None:
    """https://sqlite.org/rescode.html: 1 to 26. 0, 100 and 101 are no errors; 27 and 28 are messages for the log."""
    codes = {int(getattr(sqlite3, f"SQLITE_{name}")) for name in _by_code(_SQLITE)}
    assert codes == set(range(1, 27))


def test_errors_without_a_code_are_bugs() -> None:
    assert map_sqlite_error(sqlite3.ProgrammingError("closed")) is None
    assert map_sqlite_error(ValueError()) is None
    assert map_postgresql_error(ValueError()) is None
