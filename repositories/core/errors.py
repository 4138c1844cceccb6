"""All expected errors, as one class hierarchy.

    GatewayError
    ├── InputError                 the user can correct the input; mutations report it in ``userErrors``
    │   ├── ValidationError        VALIDATION_ERROR     400
    │   ├── NotFound               NOT_FOUND            404   also for rows that the viewer may not see
    │   ├── Conflict               CONFLICT             409
    │   │   └── DanglingReference  CONFLICT             409   refers to a missing row, or is still referenced
    │   ├── StaleVersion           STALE_VERSION        409   carries the current row
    │   ├── QuotaExceeded          QUOTA_EXCEEDED       403   the account stores as much as it may
    │   ├── SessionEnded           SESSION_ENDED        401   the user has to sign in again
    │   └── InputErrors            VALIDATION_ERROR     400   several of the above
    ├── AccessDenied               the caller may not make this request, whatever its input is
    │   ├── Unauthenticated        UNAUTHENTICATED      401
    │   └── Forbidden              FORBIDDEN            403
    ├── RateLimited                RATE_LIMITED         429
    ├── QueryTooComplex            QUERY_TOO_COMPLEX    400
    ├── ResponseTooLarge           RESPONSE_TOO_LARGE   400
    ├── TooSlow                    TOO_SLOW             429   a subscriber that reads too slowly
    ├── CannotResume               CANNOT_RESUME        410   an event id from which the stream cannot resume
    ├── IdempotencyKeyReused       IDEMPOTENCY_KEY_REUSED 422 the key belongs to another operation
    ├── Timeout                    TIMEOUT              504
    └── ServiceUnavailable         SERVICE_UNAVAILABLE  503

Messages are shown to users: they say what to do, and never contain SQL, text of the driver or data of other users. Any
other exception is answered as INTERNAL_SERVER_ERROR with an error id that is also in the log.
"""

from collections.abc import Iterable
from typing import ClassVar

Path = tuple[str | int, ...]


class GatewayError(Exception):
    """Base of the hierarchy. Clients receive ``code`` in ``extensions.code``; ``status`` is the HTTP status."""

    code: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InputError(GatewayError):
    """An error of one input value.

    ``path`` names the value by Python attribute names and list indexes, e.g. ``("tasks", 2, "category_id")``. The
    schema layer translates it into names of the GraphQL schema.
    """

    def __init__(self, message: str, *, path: Path = ()) -> None:
        super().__init__(message)
        self.path = path

    @property
    def parts(self) -> tuple["InputError", ...]:
        """The errors of single input values: this error, or those that an InputErrors contains."""
        return (self,)

    def prefix_path(self, *prefix: str | int) -> "InputError":
        """Puts ``prefix`` in front of the path, for an input that is nested in another one. Returns this error."""
        self.path = (*prefix, *self.path)
        return self


class ValidationError(InputError):
    """An input value, argument or cursor that is not valid."""

    code = "VALIDATION_ERROR"
    status = 400

    @classmethod
    def for_unstorable_text(cls) -> "ValidationError":
        """For NUL, which PostgreSQL cannot store in a text, and lone surrogates, which UTF-8 cannot encode."""
        return cls("A text contains a character that cannot be stored.")


class NotFound(InputError):
    """The row does not exist, or the viewer may not see it. Clients cannot tell which."""

    code = "NOT_FOUND"
    status = 404

    @classmethod
    def of(cls, noun: str, *, path: Path = ("id",)) -> "NotFound":
        """The error for a missing ``noun``. The message is the same for missing rows and for rows of other users."""
        return cls(f"There is no such {noun}.", path=path)


class Conflict(InputError):
    """A change that contradicts the current data, such as a name that is already taken."""

    code = "CONFLICT"
    status = 409


class DanglingReference(Conflict):
    """The row refers to a row that does not exist, or a row that is to be deleted is still referenced."""

    def __init__(self) -> None:
        super().__init__("This refers to something that does not exist, or something else still refers to it.")


class StaleVersion(InputError):
    """The row was changed after the caller read it. ``current`` is the row as it is now."""

    code = "STALE_VERSION"
    status = 409

    def __init__(self, current: object, *, path: Path = ("version",)) -> None:
        super().__init__(
            f"This is at version {getattr(current, 'version', '?')} now, which is not the one that you read. "
            "Read it again and repeat your change.",
            path=path,
        )
        self.current = current


class QuotaExceeded(InputError):
    """The account would store more than its quota. ``kind`` is ``rows`` or ``bytes``, ``limit`` the quota."""

    code = "QUOTA_EXCEEDED"
    status = 403

    def __init__(self, kind: str, limit: int) -> None:
        texts = "bytes of texts" if kind == "bytes" else kind
        super().__init__(
            f"An account may store {limit:,} {texts}, those of deleted objects included. This change would exceed it."
        )


class SessionEnded(InputError):
    """The session of a refresh token has expired, or it was signed out or revoked."""

    code = "SESSION_ENDED"
    status = 401

    def __init__(self, *, path: Path = ()) -> None:
        super().__init__("This session has ended. Sign in again.", path=path)


class InputErrors(InputError):
    """All errors of an input at once, so that the user can correct them together."""

    code = "VALIDATION_ERROR"
    status = 400

    def __init__(self, errors: Iterable[InputError]) -> None:
        super().__init__("Several values of the input are not valid.")
        self._parts = tuple(part for error in errors for part in error.parts)

    @property
    def parts(self) -> tuple[InputError, ...]:
        return self._parts

    def prefix_path(self, *prefix: str | int) -> "InputErrors":
        """Puts ``prefix`` in front of every path. Returns this error."""
        for part in self._parts:
            part.prefix_path(*prefix)
        return self


class AccessDenied(GatewayError):
    """The viewer may not make this request, whatever its input is."""


class Unauthenticated(AccessDenied):
    """The request requires a signed-in user."""

    code = "UNAUTHENTICATED"
    status = 401

    def __init__(self, message: str = "Sign in first: send an Authorization header with a bearer token.") -> None:
        super().__init__(message)


class Forbidden(AccessDenied):
    """The signed-in user lacks the permission."""

    code = "FORBIDDEN"
    status = 403

    def __init__(self, message: str = "Your role does not allow this.") -> None:
        super().__init__(message)


class RateLimited(GatewayError):
    """A rate limit is exceeded; a retry can succeed after ``retry_after`` seconds."""

    code = "RATE_LIMITED"
    status = 429

    def __init__(self, retry_after: int, reason: str = "There were too many attempts.") -> None:
        super().__init__(f"{reason} Try again in {retry_after} seconds.")
        self.retry_after = retry_after


class QueryTooComplex(GatewayError):
    """An operation exceeds a limit: it needs ``requested``, and ``limit`` is allowed."""

    code = "QUERY_TOO_COMPLEX"
    status = 400

    def __init__(self, message: str, requested: int, limit: int) -> None:
        super().__init__(message)
        self.requested = requested
        self.limit = limit


class ResponseTooLarge(GatewayError):
    """The response, or the rows that it is built from, would have more bytes than are allowed."""

    code = "RESPONSE_TOO_LARGE"
    status = 400

    def __init__(self, limit: int, text: str = "The response would be larger") -> None:
        super().__init__(
            f"{text} than {limit:,} bytes, which is the limit. Request smaller pages, or select fewer long texts."
        )


class TooSlow(GatewayError):
    """A subscriber did not read its events in time, and the buffer for them (``size`` events) is full."""

    code = "TOO_SLOW"
    status = 429

    def __init__(self, size: int) -> None:
        super().__init__(
            f"This subscription has ended because more than {size} events were waiting to be read. "
            "Read faster or subscribe to fewer events, and resume after the last event you received."
        )


class CannotResume(GatewayError):
    """The last event id of a subscriber is unknown, or too many events followed it."""

    code = "CANNOT_RESUME"
    status = 410


class IdempotencyKeyReused(GatewayError):
    """The idempotency key was sent before, with another operation or other variables."""

    code = "IDEMPOTENCY_KEY_REUSED"
    status = 422

    def __init__(self) -> None:
        super().__init__(
            "This idempotency key was used for another operation or for other variables. Nothing was executed. "
            "Use a new key for every new request."
        )


class Timeout(GatewayError):
    """A statement or an operation exceeded its timeout and was stopped."""

    code = "TIMEOUT"
    status = 504

    def __init__(self, message: str = "This took too long and was stopped. Request less data at once.") -> None:
        super().__init__(message)


class ServiceUnavailable(GatewayError):
    """The database or another service cannot be reached or is overloaded. A retry may succeed."""

    code = "SERVICE_UNAVAILABLE"
    status = 503

    def __init__(self, message: str = "The database cannot be reached right now. Try again in a moment.") -> None:
        super().__init__(message)

    @classmethod
    def for_changes(cls) -> "ServiceUnavailable":
        """For a database that is read-only or has no space left. Reads may still succeed."""
        return cls("The database cannot store changes right now. Try again in a moment.")


class SchemaChanged(ServiceUnavailable):
    """A table has changed since a statement was prepared. The transaction has failed; another one can succeed."""

    def __init__(self) -> None:
        super().__init__("The database was changed while this ran. Try again.")


class DatabaseFault(Exception):
    """The database reported a bug of the gateway: an invalid statement, or a value of the wrong type.

    It is not a GatewayError, so clients receive INTERNAL_SERVER_ERROR. The message contains the kind of fault and the
    statement without its values, because the driver's own text may quote rows.
    """


class UnreadableValue(Exception):
    """Stands in a row in the place of a stored value that has no Python value, such as a time in the year 12026.

    Another client of the database can store such values where no constraint prevents it. The other values of the row,
    and the other rows, can be used. It is not a GatewayError: a field with it is null and an INTERNAL_SERVER_ERROR.
    """
