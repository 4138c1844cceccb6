"""What the errors of SQLite mean to a client of the gateway."""

import re
import sqlite3
from collections.abc import Callable, Mapping

from repositories.core.errors import Forbidden, GatewayError, ServiceUnavailable, Timeout, ValidationError
from repositories.sql.constraints import error_of_constraint

_FAILED_CONSTRAINT = re.compile(r"(UNIQUE|CHECK|FOREIGN KEY|NOT NULL) constraint failed(?:: (.+))?")
_PRIMARY_CODE = 0xFF
"""The bits of an extended result code that are the primary result code."""


def _constraint(error: sqlite3.Error) -> GatewayError | None:
    match = _FAILED_CONSTRAINT.search(str(error))
    if match and match[1] != "NOT NULL":
        return error_of_constraint(match[2])
    return Forbidden() if str(error).endswith("is append-only") else None


_ERRORS: Mapping[int, Callable[[sqlite3.Error], GatewayError | None]] = {
    sqlite3.SQLITE_BUSY: lambda _: ServiceUnavailable(),  # another process writes for longer than the timeout
    sqlite3.SQLITE_CANTOPEN: lambda _: ServiceUnavailable(),  # the file is gone, or too many files are open
    sqlite3.SQLITE_CONSTRAINT: _constraint,
    sqlite3.SQLITE_FULL: lambda _: ServiceUnavailable.for_changes(),  # the disk is full
    sqlite3.SQLITE_INTERRUPT: lambda _: Timeout(),
    sqlite3.SQLITE_IOERR: lambda _: ServiceUnavailable(),
    sqlite3.SQLITE_LOCKED: lambda _: ServiceUnavailable(),
    sqlite3.SQLITE_NOLFS: lambda _: ServiceUnavailable.for_changes(),  # the file system has no files of this size
    sqlite3.SQLITE_NOMEM: lambda _: ServiceUnavailable(),
    sqlite3.SQLITE_PERM: lambda _: ServiceUnavailable(),
    sqlite3.SQLITE_PROTOCOL: lambda _: ServiceUnavailable(),  # another process holds the locks of the WAL
    sqlite3.SQLITE_READONLY: lambda _: ServiceUnavailable.for_changes(),
    sqlite3.SQLITE_SCHEMA: lambda _: ServiceUnavailable(),  # the schema changes again at each attempt
}
"""By primary result code. All other errors are bugs, or a damaged file.

https://sqlite.org/rescode.html
"""


def map_sqlite_error(error: Exception) -> GatewayError | None:
    """Returns the gateway's error for an error of the driver, or None for a bug of the gateway."""
    if isinstance(error, UnicodeEncodeError):
        return ValidationError.for_unstorable_text()
    code = getattr(error, "sqlite_errorcode", None)
    to_gateway_error = None if code is None else _ERRORS.get(code & _PRIMARY_CODE)
    return to_gateway_error(error) if to_gateway_error is not None and isinstance(error, sqlite3.Error) else None
