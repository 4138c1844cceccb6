"""What the errors of PostgreSQL and its driver mean to a client of the gateway."""

from collections.abc import Callable, Mapping
from typing import Any

import asyncpg

from repositories.core.errors import (
    Conflict,
    Forbidden,
    GatewayError,
    SchemaChanged,
    ServiceUnavailable,
    Timeout,
    ValidationError,
)
from repositories.sql.constraints import error_of_constraint

CONNECTION_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a statement between the server's shutdown message and the close of the socket
)
"""Errors without a code of the server: the connection cannot be opened or is lost."""


def _bug(_error: Any) -> None:
    """A statement or a value that the gateway must not send, or damaged data. The log has the details."""


def _conflict(_error: Any) -> Conflict:
    return Conflict("Another request changed the same data at the same time. Try again.")


_ERRORS: Mapping[str, Callable[[Any], GatewayError | None]] = {
    "08": lambda _: ServiceUnavailable(),  # connection exceptions
    "22021": lambda _: ValidationError.for_unstorable_text(),  # a character that the encoding does not have
    "22P05": lambda _: ValidationError.for_unstorable_text(),  # a character that cannot be converted
    "23": lambda error: error_of_constraint(error.constraint_name),
    "23502": _bug,  # NULL in a NOT NULL column
    "25006": lambda _: ServiceUnavailable.for_changes(),  # read-only: a standby, or a database under maintenance
    "25P03": lambda _: ServiceUnavailable(),  # the server ended an idle transaction with its connection
    "25P04": lambda _: Timeout(),  # transaction_timeout
    "28": lambda _: ServiceUnavailable(),  # the login is rejected
    "3D": lambda _: ServiceUnavailable(),  # the database does not exist
    "40": _conflict,  # serialization failures and deadlocks
    "40003": lambda _: ServiceUnavailable(),  # it is unknown whether the statement was completed
    "42501": lambda _: Forbidden(),
    "53": lambda _: ServiceUnavailable(),  # memory, connections, temporary files
    "53100": lambda _: ServiceUnavailable.for_changes(),  # the disk is full
    "55000": lambda _: ServiceUnavailable(),  # during recovery, or a materialized view that is not populated
    "55006": lambda _: ServiceUnavailable(),  # the object is in use
    "55P03": lambda _: Timeout(),  # lock_timeout
    "57": lambda _: ServiceUnavailable(),  # shutdown, startup, recovery, a crash, a dropped database
    "57014": lambda _: Timeout(),  # statement_timeout
    "58": lambda _: ServiceUnavailable(),  # errors of the server's operating system, such as I/O errors
    "72": lambda _: ServiceUnavailable(),  # the snapshot is too old
    "F0": lambda _: ServiceUnavailable(),  # errors in the server's configuration
}
"""By SQLSTATE, or by its class, which is its first two characters. All other errors are bugs.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""


def map_postgresql_error(error: Exception) -> GatewayError | None:
    """Returns the gateway's error for an error of the driver, or None for a bug of the gateway."""
    if isinstance(error, asyncpg.DataError) and isinstance(error.__cause__, UnicodeError):
        return ValidationError.for_unstorable_text()
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return SchemaChanged()
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return (_ERRORS.get(state) or _ERRORS.get(state[:2], _bug))(error)
    return ServiceUnavailable() if isinstance(error, CONNECTION_ERRORS) else None
