"""The tree of errors as the floors above rely on it, and what a role may do."""

import pytest

from repositories.core import errors
from repositories.core.errors import (
    Conflict,
    DanglingReference,
    GatewayError,
    InputErrors,
    NotFound,
    StaleVersion,
    ValidationError,
)
from repositories.core.ids import new_id
from repositories.core.viewer import ANONYMOUS, SERVICE, Viewer
from repositories.permissions import Permission, RoleName
from repositories.sql.constraints import error_of_constraint

CODES = {
    "ValidationError": ("VALIDATION_ERROR", 400),
    "NotFound": ("NOT_FOUND", 404),
    "Conflict": ("CONFLICT", 409),
    "DanglingReference": ("CONFLICT", 409),
    "StaleVersion": ("STALE_VERSION", 409),
    "Unauthenticated": ("UNAUTHENTICATED", 401),
    "Forbidden": ("FORBIDDEN", 403),
    "RateLimited": ("RATE_LIMITED", 429),
    "QueryTooComplex": ("QUERY_TOO_COMPLEX", 400),
    "Timeout": ("TIMEOUT", 504),
    "ServiceUnavailable": ("SERVICE_UNAVAILABLE", 503),
}


@pytest.mark.parametrize("name", CODES)
def test_codes(name: str) -> None:
    """What clients and HTTP are told."""
    kind = getattr(errors, name)
    assert issubclass(kind, GatewayError)
    assert (kind.code, kind.status) == CODES[name]


def test_several_refusals() -> None:
    """They are flattened, keep their order, and move together under the place that holds the batch."""
    inner = InputErrors([NotFound.of("task").prefix_path(1), Conflict("Taken.", path=("name",)).prefix_path(2)])
    refusals = InputErrors([ValidationError("No.", path=("title",)).prefix_path(0), inner]).prefix_path("tasks")
    assert [part.path for part in refusals.parts] == [("tasks", 0, "title"), ("tasks", 1, "id"), ("tasks", 2, "name")]
    assert [type(part) for part in refusals.parts] == [ValidationError, NotFound, Conflict]
    single = Conflict("Taken.", path=("name",))
    assert single.parts == (single,)


def test_a_stale_version_of_something_without_one() -> None:
    """The message never fails."""
    assert "version ?" in StaleVersion(object()).message


@pytest.mark.parametrize("name", [None, "", "fk_tasks_category", "something_else"])
def test_constraints_that_nobody_explained(name: str | None) -> None:
    """Told in general words, without the constraint's name."""
    refusal = error_of_constraint(name)
    assert (type(refusal), refusal.code, refusal.path) == (DanglingReference, "CONFLICT", ())
    assert refusal.message == "This refers to something that does not exist, or something else still refers to it."


def test_a_check_of_an_unknown_field() -> None:
    """A check that follows no convention is a ValidationError of the whole input."""
    refusal = error_of_constraint("ck_tasks_unconventional")
    assert (type(refusal), refusal.path) == (ValidationError, ())


def test_viewers() -> None:
    """Roles carry permissions; the service may do everything, anonymous callers nothing."""
    user = Viewer(new_id(), frozenset({RoleName.USER}))
    admin = Viewer(new_id(), frozenset({RoleName.USER, RoleName.ADMIN}))
    viewers = (ANONYMOUS, user, admin, SERVICE)
    roles = ["anon", "authenticated", "authenticated", "service_role"]
    assert [viewer.database_role for viewer in viewers] == roles
    assert [viewer.is_authenticated for viewer in viewers] == [False, True, True, False]
    for permission in Permission:
        assert SERVICE.may(permission)
        assert admin.may(permission)
        assert not ANONYMOUS.may(permission)
    assert user.may(Permission.TASK_WRITE)
    assert not user.may(Permission.STATISTICS_READ)
