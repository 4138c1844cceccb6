"""What can go wrong, as one tree.

    GatewayError
    ├── Refusal                what the person can put right; a mutation reports it in ``userErrors``
    │   ├── ValidationError    VALIDATION_ERROR     400
    │   ├── NotFound           NOT_FOUND            404   also for rows the viewer may not see
    │   ├── Conflict           CONFLICT             409
    │   │   └── Dangling       CONFLICT             409   a reference to no row, or to this one
    │   ├── StaleVersion       STALE_VERSION        409   carries the current row
    │   ├── SessionEnded       SESSION_ENDED        401   the person has to sign in again
    │   └── Refusals           several of the above at once
    ├── Denial                 who may not ask at all
    │   ├── Unauthenticated    UNAUTHENTICATED      401
    │   └── Forbidden          FORBIDDEN            403
    ├── RateLimited            RATE_LIMITED         429
    ├── QueryTooComplex        QUERY_TOO_COMPLEX    400
    ├── TooSlow                TOO_SLOW             429   a subscriber that does not take what it subscribed to
    ├── CannotResume           CANNOT_RESUME        410   a place in the events from which nobody can go on
    ├── Timeout                TIMEOUT              504
    └── ServiceUnavailable     SERVICE_UNAVAILABLE  503

Messages are written for the person who reads them: they say what to do and never carry SQL, driver text or another
person's data. Whatever is in no class is answered as INTERNAL_SERVER_ERROR with an id that stands in the log.
"""

from collections.abc import Iterable
from typing import ClassVar

Path = tuple[str | int, ...]


class GatewayError(Exception):
    """Base of the tree. ``code`` goes to the client in ``extensions.code``, ``status`` to HTTP."""

    code: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InputError(GatewayError):
    """A refusal that names the place in the input it is about.

    ``path`` holds Python attribute names and list indexes, e.g. ``("tasks", 2, "category_id")``;
    the schema's floor spells it in the contract's names.
    """

    def __init__(self, message: str, *, path: Path = ()) -> None:
        super().__init__(message)
        self.path = path

    @property
    def parts(self) -> tuple["InputError", ...]:
        """The single refusals that this one consists of."""
        return (self,)

    def prefix_path(self, *prefix: str | int) -> "InputError":
        """The same refusal, for an input that is nested under ``prefix``."""
        self.path = (*prefix, *self.path)
        return self


class ValidationError(InputError):
    """An input, argument or cursor that cannot be used."""

    code = "VALIDATION_ERROR"
    status = 400

    @classmethod
    def for_unstorable_text(cls) -> "ValidationError":
        """For NUL, which PostgreSQL's texts cannot hold, and for halves of surrogate pairs, which UTF-8 cannot."""
        return cls("A text contains a character that cannot be stored.")


class NotFound(InputError):
    """No such row, or one the viewer may not see: the two must look the same."""

    code = "NOT_FOUND"
    status = 404

    @classmethod
    def of(cls, noun: str, *, path: Path = ("id",)) -> "NotFound":
        """The one wording for a missing ``noun``, so that absence and secrecy cannot be told apart."""
        return cls(f"There is no such {noun}.", path=path)


class Conflict(InputError):
    """A change that contradicts what is there, such as a name that is taken."""

    code = "CONFLICT"
    status = 409


class DanglingReference(Conflict):
    """A reference to a row that does not exist, or the end of one that is still referred to."""

    def __init__(self) -> None:
        super().__init__("This refers to something that does not exist, or something else still refers to it.")


class StaleVersion(InputError):
    """The row was changed by somebody else since it was read; ``current`` is the row as it is now."""

    code = "STALE_VERSION"
    status = 409

    def __init__(self, current: object, *, path: Path = ("version",)) -> None:
        super().__init__(
            f"This was changed in the meantime; it is now at version {getattr(current, 'version', '?')}. "
            "Look at the current state and try again.",
            path=path,
        )
        self.current = current


class SessionEnded(InputError):
    """A refresh token of a session that was signed out, revoked, or not used in time."""

    code = "SESSION_ENDED"
    status = 401

    def __init__(self) -> None:
        super().__init__("This session has ended. Sign in again.", path=("refresh_token",))


class InputErrors(InputError):
    """Everything that is wrong with a batch, so that a person mends it in one go."""

    code = "VALIDATION_ERROR"
    status = 400

    def __init__(self, refusals: Iterable[InputError]) -> None:
        super().__init__("Several parts of this request cannot be carried out.")
        self._parts = tuple(part for refusal in refusals for part in refusal.parts)

    @property
    def parts(self) -> tuple[InputError, ...]:
        """The single refusals."""
        return self._parts

    def prefix_path(self, *prefix: str | int) -> "InputErrors":
        """The same refusals, nested under ``prefix``."""
        for part in self._parts:
            part.prefix_path(*prefix)
        return self


class AccessDenied(GatewayError):
    """The viewer may not do this at all, whatever the input."""


class Unauthenticated(AccessDenied):
    """Nobody is signed in."""

    code = "UNAUTHENTICATED"
    status = 401

    def __init__(self, message: str = "Sign in first: send an Authorization header with a bearer token.") -> None:
        super().__init__(message)


class Forbidden(AccessDenied):
    """The viewer is known and lacks the permission."""

    code = "FORBIDDEN"
    status = 403

    def __init__(self, message: str = "Your role does not allow this.") -> None:
        super().__init__(message)


class RateLimited(GatewayError):
    """Too much of something in a period; ``retry_after`` is how many seconds it lasts."""

    code = "RATE_LIMITED"
    status = 429

    def __init__(self, retry_after: int, what: str = "This was tried too often.") -> None:
        super().__init__(f"{what} Try again in {retry_after} seconds.")
        self.retry_after = retry_after


class QueryTooComplex(GatewayError):
    """An operation that asks for more of something, ``requested``, than ``limit`` allows."""

    code = "QUERY_TOO_COMPLEX"
    status = 400

    def __init__(self, message: str, requested: int, limit: int) -> None:
        super().__init__(message)
        self.requested = requested
        self.limit = limit


class TooSlow(GatewayError):
    """A subscriber that left more events waiting than are kept for it."""

    code = "TOO_SLOW"
    status = 429

    def __init__(self, size: int) -> None:
        super().__init__(
            f"More than {size} events are waiting to be read, so this subscription was ended. "
            "Read faster or ask for less; go on from the last event that arrived."
        )


class CannotResume(GatewayError):
    """A last event id that nobody knows, or after which too much has happened."""

    code = "CANNOT_RESUME"
    status = 410


class Timeout(GatewayError):
    """A statement or an operation ran longer than its limit and was stopped."""

    code = "TIMEOUT"
    status = 504

    def __init__(self, message: str = "This took too long and was stopped. Ask for less at once.") -> None:
        super().__init__(message)


class ServiceUnavailable(GatewayError):
    """The database (or another service) cannot be reached or is overloaded; trying again later may work."""

    code = "SERVICE_UNAVAILABLE"
    status = 503

    def __init__(self, message: str = "The database cannot be reached right now. Try again in a moment.") -> None:
        super().__init__(message)


class DatabaseFault(Exception):
    """A mistake of ours that the database reported: a statement it cannot run, a value it does not take.

    Outside the tree, so it is answered as INTERNAL_SERVER_ERROR. It names the kind of fault and the statement, without
    values, because the driver's text may quote rows.
    """
