"""Both engines report values that the database rejects by the same error, message and path, without driver text."""

import datetime as dt
import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from repositories.aggregates.event_store import EventStore
from repositories.aggregates.unit_of_work import open_unit_of_work
from repositories.core.clock import now
from repositories.core.errors import Conflict, DanglingReference, GatewayError, InputError, ValidationError
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, WriteConnection
from repositories.identity import Users
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.categories import Categories
from repositories.life_lock.tasks import Tasks
from repositories.tables.identity import User
from repositories.tables.life_lock import Category, Task, TaskStatus
from tests.factories import make_category, make_task, make_user, viewer_of
from tests.repositories.support import open_snapshot

OUTSIDE = "This value is not allowed: check its length, range and format."
DANGLING = "This refers to something that does not exist, or something else still refers to it."
DAY = dt.date(2024, 2, 29)


class ExistingRows(NamedTuple):
    """The rows with which the violations collide."""

    ada: User
    bob: User
    category: Category
    task: Task


Write = Callable[[WriteConnection, ExistingRows], Awaitable[Any]]


class Violation(NamedTuple):
    """A write that violates a constraint, and the expected error."""

    name: str
    write: Write
    error: type[InputError]
    message: str
    path: tuple[str, ...]


def _task(**values: Any) -> Write:
    return lambda write, rows: Tasks(write).add(**{"user_id": rows.ada.id, "title": "Water"} | values)


def _category(**values: Any) -> Write:
    return lambda write, rows: Categories(write).add(
        **{"user_id": rows.ada.id, "name": "Garden", "color": "#00FF00"} | values
    )


def _user(**values: Any) -> Write:
    person = {"email": "new@example.com", "first_name": "New", "last_name": "Person"}
    return lambda write, _: Users(write).add(**person | values)


async def _same_day(write: WriteConnection, rows: ExistingRows) -> None:
    await Analytics(write).add(user_id=rows.ada.id, date=DAY)
    await Analytics(write).add(user_id=rows.ada.id, date=DAY)


VIOLATIONS = [
    Violation(
        "name taken",
        lambda write, rows: Categories(write).add(user_id=rows.ada.id, name=rows.category.name, color="#00FF00"),
        Conflict,
        "You already have a category of this name.",
        ("name",),
    ),
    Violation(
        "name taken by a change",
        lambda write, rows: _rename_to_taken(write, rows),  # noqa: PLW0108 (the function is defined below)
        Conflict,
        "You already have a category of this name.",
        ("name",),
    ),
    Violation(
        "e-mail taken",
        lambda write, rows: _user(email=rows.bob.email)(write, rows),
        Conflict,
        "There is already an account with this e-mail address.",
        ("email",),
    ),
    Violation(
        "id taken",
        lambda write, rows: _task(id=rows.task.id)(write, rows),
        Conflict,
        "A row with the same values already exists.",
        ("id",),
    ),
    Violation("day taken", _same_day, Conflict, "A row with the same values already exists.", ()),
    Violation("no title", _task(title=""), ValidationError, OUTSIDE, ("title",)),
    Violation("long title", _task(title="x" * 256), ValidationError, OUTSIDE, ("title",)),
    Violation("long description", _task(description="x" * 10_001), ValidationError, OUTSIDE, ("description",)),
    Violation("priority 0", _task(priority_level=0), ValidationError, OUTSIDE, ("priority_level",)),
    Violation("priority 6", _task(priority_level=6), ValidationError, OUTSIDE, ("priority_level",)),
    Violation("unknown status", _task(status="lost"), ValidationError, OUTSIDE, ("status",)),
    Violation("not completed", _task(completed_at=now()), ValidationError, OUTSIDE, ("completed_at",)),
    Violation("completed", _task(status=TaskStatus.COMPLETED), ValidationError, OUTSIDE, ("completed_at",)),
    Violation("colour", _category(color="#12345G"), ValidationError, OUTSIDE, ("color",)),
    Violation("short colour", _category(color="#123"), ValidationError, OUTSIDE, ("color",)),
    Violation("short name", _user(first_name="A"), ValidationError, OUTSIDE, ("first_name",)),
    Violation("no such user", _task(user_id=new_id()), DanglingReference, DANGLING, ()),
    Violation("no such category", _task(category_id=new_id()), DanglingReference, DANGLING, ()),
    Violation(
        "another's category",
        lambda write, rows: _task(category_id=rows.category.id, user_id=rows.bob.id)(write, rows),
        DanglingReference,
        DANGLING,
        (),
    ),
    Violation("still in use", lambda write, rows: Users(write).purge(rows.ada.id), DanglingReference, DANGLING, ()),
]


async def _rename_to_taken(write: WriteConnection, rows: ExistingRows) -> None:
    other = await Categories(write).add(user_id=rows.ada.id, name="Other", color="#00FF00")
    await Categories(write).change(other, name=rows.category.name)


async def _add_rows(database: Database) -> ExistingRows:
    ada, bob = await make_user(database), await make_user(database)
    return ExistingRows(ada, bob, await make_category(database, ada), await make_task(database, ada))


async def _fetch_all(database: Database) -> list[Any]:
    async with open_snapshot(database) as snapshot:
        kinds: tuple[Any, ...] = (Users, Categories, Tasks, Analytics, EventStore)
        return [sorted(await kind(snapshot).find(limit=100)) for kind in kinds]


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.name)
async def test_a_violation_is_the_same_error_on_both_engines(database: Database, violation: Violation) -> None:
    """The message contains no SQL and no text of the driver, and no row is written."""
    rows = await _add_rows(database)
    before = await _fetch_all(database)
    with pytest.raises(GatewayError) as caught:
        async with database.transaction(SERVICE) as write:
            await violation.write(write, rows)
    error = caught.value
    assert type(error) is violation.error
    assert isinstance(error, InputError)
    assert (error.message, error.path, str(error)) == (violation.message, violation.path, violation.message)
    assert not re.search(r"(?i)insert|update|select|constraint|[a-z]+_[a-z]+|sqlite|postgres|@", str(error))
    assert await _fetch_all(database) == before


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.name)
async def test_a_violation_in_a_savepoint_leaves_the_transaction_usable(
    database: Database, violation: Violation
) -> None:
    rows = await _add_rows(database)
    async with open_unit_of_work(database, SERVICE, ()) as work:
        with pytest.raises(violation.error):
            async with work.savepoint():
                await violation.write(work.connection, rows)
        added = await work.repository(Tasks).add(user_id=rows.bob.id, title="After")
    async with open_snapshot(database) as snapshot:
        assert await Tasks(snapshot).get(added.id) == added
        assert await Tasks(snapshot).count() == 2


@pytest.mark.parametrize("many", [False, True], ids=["add", "add_many"])
@pytest.mark.parametrize("text", ["a\0b", "\0", "a\ud800b"], ids=["nul", "only nul", "half a surrogate pair"])
async def test_a_text_that_cannot_be_stored_is_a_validation_error(database: Database, text: str, *, many: bool) -> None:
    """PostgreSQL cannot store NUL, and UTF-8 cannot encode a lone surrogate."""
    ada = await make_user(database)
    with pytest.raises(ValidationError) as caught:
        async with database.transaction(viewer_of(ada)) as write:
            row = {"user_id": ada.id, "title": text}
            await (Tasks(write).add_many([row]) if many else Tasks(write).add(**row))
    assert caught.value.message == "A text contains a character that cannot be stored."
    async with open_snapshot(database) as snapshot:
        assert await Tasks(snapshot).count() == 0


async def test_a_bug_of_the_gateway_is_not_reported_as_a_gateway_error(database: Database) -> None:
    """A missing value or a value of the wrong type is a bug, not an input error and not an outage."""
    ada = await make_user(database)
    bugs: list[dict[str, Any]] = [{"title": None}, {"due_date": 5}, {"id": "no id"}]
    for values in bugs:
        with pytest.raises(Exception) as caught:  # noqa: PT011 (the type depends on the driver)
            async with database.transaction(SERVICE) as write:
                await Tasks(write).add(**{"user_id": ada.id, "title": "x"} | values)
        assert not isinstance(caught.value, GatewayError), values
    async with open_snapshot(database) as snapshot:
        assert await Tasks(snapshot).count() == 0
