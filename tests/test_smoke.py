"""One walk through the data floor, on both engines."""

import pytest

from repositories.kit import calendar
from repositories.kit.database import Database
from repositories.kit.errors import Forbidden, NotFound
from repositories.kit.page import PageRequest
from repositories.kit.repository import now
from repositories.kit.unit_of_work import open_unit
from repositories.kit.viewer import SERVICE, Role
from repositories.life_lock import Analytics, DashboardStats, TaskCreated, Tasks
from tests.factories import make_category, make_tasks, make_user, viewer_of


async def test_a_person_pages_changes_and_is_kept_from_others(database: Database) -> None:
    ada, bob = await make_user(database), await make_user(database)
    category = await make_category(database, ada)
    made = await make_tasks(database, ada, 250, category_id=category.id, due_date=now())
    today = calendar.day(now().date(), calendar.time_zone("Europe/Berlin"))

    snapshot = database.snapshot(viewer_of(ada))
    tasks = Tasks(snapshot)
    first = await tasks.page(PageRequest(first=100))
    second = await tasks.page(PageRequest(first=100, after=first.cursor(first.rows[-1])))
    assert len(first.rows) == 100
    assert first.has_next
    assert {row.id for row in first.rows}.isdisjoint({row.id for row in second.rows})
    assert (await tasks.tally(ada.id, now(), today)).total == await tasks.count() == 250
    await snapshot.close()

    async with open_unit(database, viewer_of(ada), ()) as work:
        changed = await work.repository(Tasks).change(made[0], title="x")
        assert changed.version == 2
        await work.repository(Analytics).recompute(ada.id, [today])
        work.record(TaskCreated(changed.id, ada.id, changed.created_at, None, 3, None))

    others = database.snapshot(viewer_of(bob))
    assert await Tasks(others).count() == 0
    with pytest.raises(NotFound):
        await Tasks(others).get(changed.id)
    await others.close()
    with pytest.raises(Forbidden):
        async with open_unit(database, viewer_of(bob), ()) as work:
            await work.repository(Tasks).add(user_id=ada.id, title="not mine")

    async with database.transaction(SERVICE) as write:
        await DashboardStats(write).refresh()
    for_admin = database.snapshot(viewer_of(bob, Role.ADMIN))
    totals = {row.user_id: row.total_tasks for row in await DashboardStats(for_admin).find(limit=5)}
    await for_admin.close()
    assert totals[ada.id] == 250
    assert database.pool_state().used == 0
