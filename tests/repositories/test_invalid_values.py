"""What the database refuses is told alike on both engines: class, message and path, and nothing of the driver's."""

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


class World(NamedTuple):
    """What the violations collide with."""

    ada: User
    bob: User
    category: Category
    task: Task


Act = Callable[[WriteConnection, World], Awaitable[Any]]


class Violation(NamedTuple):
    """A write that is refused, and how."""

    name: str
    act: Act
    refusal: type[InputError]
    message: str
    path: tuple[str, ...]


def _task(**values: Any) -> Act:
    return lambda write, world: Tasks(write).add(**{"user_id": world.ada.id, "title": "Water"} | values)


def _category(**values: Any) -> Act:
    return lambda write, world: Categories(write).add(
        **{"user_id": world.ada.id, "name": "Garden", "color": "#00FF00"} | values
    )


def _user(**values: Any) -> Act:
    person = {"email": "new@example.com", "first_name": "New", "last_name": "Person"}
    return lambda write, _: Users(write).add(**person | values)


async def _same_day(write: WriteConnection, world: World) -> None:
    await Analytics(write).add(user_id=world.ada.id, date=DAY)
    await Analytics(write).add(user_id=world.ada.id, date=DAY)


VIOLATIONS = [
    Violation(
        "name taken",
        lambda write, world: Categories(write).add(user_id=world.ada.id, name=world.category.name, color="#00FF00"),
        Conflict,
        "You already have a category of this name.",
        ("name",),
    ),
    Violation(
        "name taken by a change",
        lambda write, world: _rename_to_taken(write, world),  # noqa: PLW0108 (it is written below)
        Conflict,
        "You already have a category of this name.",
        ("name",),
    ),
    Violation(
        "e-mail taken",
        lambda write, world: _user(email=world.bob.email)(write, world),
        Conflict,
        "There is already an account with this e-mail address.",
        ("email",),
    ),
    Violation(
        "id taken",
        lambda write, world: _task(id=world.task.id)(write, world),
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
        lambda write, world: _task(category_id=world.category.id, user_id=world.bob.id)(write, world),
        DanglingReference,
        DANGLING,
        (),
    ),
    Violation("still in use", lambda write, world: Users(write).purge(world.ada.id), DanglingReference, DANGLING, ()),
]


async def _rename_to_taken(write: WriteConnection, world: World) -> None:
    other = await Categories(write).add(user_id=world.ada.id, name="Other", color="#00FF00")
    await Categories(write).change(other, name=world.category.name)


async def _world(database: Database) -> World:
    ada, bob = await make_user(database), await make_user(database)
    return World(ada, bob, await make_category(database, ada), await make_task(database, ada))


async def _everything(database: Database) -> list[Any]:
    async with open_snapshot(database) as snapshot:
        kinds: tuple[Any, ...] = (Users, Categories, Tasks, Analytics, EventStore)
        return [sorted(await kind(snapshot).find(limit=100)) for kind in kinds]


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.name)
async def test_violations_are_told_alike(database: Database, violation: Violation) -> None:
    """Exactly this refusal, with nothing of SQL or the driver in it, and nothing is written."""
    world = await _world(database)
    before = await _everything(database)
    with pytest.raises(GatewayError) as caught:
        async with database.transaction(SERVICE) as write:
            await violation.act(write, world)
    error = caught.value
    assert type(error) is violation.refusal
    assert isinstance(error, InputError)
    assert (error.message, error.path, str(error)) == (violation.message, violation.path, violation.message)
    assert not re.search(r"(?i)insert|update|select|constraint|[a-z]+_[a-z]+|sqlite|postgres|@", str(error))
    assert await _everything(database) == before


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.name)
async def test_the_rest_of_a_unit_goes_on_after_a_savepoint(database: Database, violation: Violation) -> None:
    """A violation inside a savepoint leaves the transaction usable."""
    world = await _world(database)
    async with open_unit_of_work(database, SERVICE, ()) as work:
        with pytest.raises(violation.refusal):
            async with work.savepoint():
                await violation.act(work.connection, world)
        added = await work.repository(Tasks).add(user_id=world.bob.id, title="After")
    async with open_snapshot(database) as snapshot:
        assert await Tasks(snapshot).get(added.id) == added
        assert await Tasks(snapshot).count() == 2


@pytest.mark.parametrize("many", [False, True], ids=["add", "add_many"])
@pytest.mark.parametrize("text", ["a\0b", "\0", "a\ud800b"], ids=["nul", "only nul", "half a surrogate pair"])
async def test_texts_that_cannot_be_stored(database: Database, text: str, *, many: bool) -> None:
    """NUL is in no text of PostgreSQL's, a lone surrogate in no UTF-8: both are refused, on either engine."""
    ada = await make_user(database)
    with pytest.raises(ValidationError) as caught:
        async with database.transaction(viewer_of(ada)) as write:
            row = {"user_id": ada.id, "title": text}
            await (Tasks(write).add_many([row]) if many else Tasks(write).add(**row))
    assert caught.value.message == "A text contains a character that cannot be stored."
    async with open_snapshot(database) as snapshot:
        assert await Tasks(snapshot).count() == 0


async def test_our_own_mistakes_are_not_blamed_on_the_person(database: Database) -> None:
    """A missing value or one of the wrong type is a bug of ours, not a refusal and not an outage."""
    ada = await make_user(database)
    mistakes: list[dict[str, Any]] = [{"title": None}, {"due_date": 5}, {"id": "no id"}]
    for values in mistakes:
        with pytest.raises(Exception) as caught:  # noqa: PT011 (the driver's own)
            async with database.transaction(SERVICE) as write:
                await Tasks(write).add(**{"user_id": ada.id, "title": "x"} | values)
        assert not isinstance(caught.value, GatewayError), values
    async with open_snapshot(database) as snapshot:
        assert await Tasks(snapshot).count() == 0
