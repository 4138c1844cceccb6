"""The error hierarchy with its codes and statuses, and the permissions of viewers."""

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
from repositories.sql.policy import database_role

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
def test_an_error_has_its_code_and_status(name: str) -> None:
    error_type = getattr(errors, name)
    assert issubclass(error_type, GatewayError)
    assert (error_type.code, error_type.status) == CODES[name]


def test_nested_input_errors_are_flattened_and_prefixed() -> None:
    """They keep their order, and a prefix applies to all of them."""
    inner = InputErrors([NotFound.of("task").prefix_path(1), Conflict("Taken.", path=("name",)).prefix_path(2)])
    outer = InputErrors([ValidationError("No.", path=("title",)).prefix_path(0), inner]).prefix_path("tasks")
    assert [part.path for part in outer.parts] == [("tasks", 0, "title"), ("tasks", 1, "id"), ("tasks", 2, "name")]
    assert [type(part) for part in outer.parts] == [ValidationError, NotFound, Conflict]
    single = Conflict("Taken.", path=("name",))
    assert single.parts == (single,)


def test_a_stale_version_accepts_an_object_without_a_version() -> None:
    assert "version ?" in StaleVersion(object()).message


@pytest.mark.parametrize("name", [None, "", "fk_tasks_category", "something_else"])
def test_a_constraint_without_a_message_is_a_dangling_reference(name: str | None) -> None:
    """The general message does not contain the constraint's name."""
    error = error_of_constraint(name)
    assert (type(error), error.code, error.path) == (DanglingReference, "CONFLICT", ())
    assert error.message == "This refers to something that does not exist, or something else still refers to it."


def test_a_check_of_an_unknown_field_is_an_error_of_the_whole_input() -> None:
    error = error_of_constraint("ck_tasks_unconventional")
    assert (type(error), error.path) == (ValidationError, ())


def test_viewers_have_the_permissions_of_their_roles() -> None:
    """The service has all permissions, anonymous callers have none."""
    user = Viewer(new_id(), frozenset({RoleName.USER}))
    admin = Viewer(new_id(), frozenset({RoleName.USER, RoleName.ADMIN}))
    viewers = (ANONYMOUS, user, admin, SERVICE)
    roles = ["anon", "authenticated", "authenticated", "service_role"]
    assert [viewer.claimed_role for viewer in viewers] == roles
    assert [database_role(viewer, writes=False) for viewer in viewers] == [*["siso_viewer"] * 3, "service_role"]
    assert [database_role(viewer, writes=True) for viewer in viewers] == [*["siso_writer"] * 3, "service_role"]
    assert [viewer.is_authenticated for viewer in viewers] == [False, True, True, False]
    for permission in Permission:
        assert SERVICE.may(permission)
        assert admin.may(permission)
        assert not ANONYMOUS.may(permission)
    assert user.may(Permission.TASK_WRITE)
    assert not user.may(Permission.STATISTICS_READ)
