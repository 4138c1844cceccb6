import datetime as dt
import pytest
from repositories.kit.database import Database
from repositories.kit.page import PageRequest
from repositories.kit.unit_of_work import open_unit
from repositories.kit.viewer import SERVICE
from repositories.life_lock import Tasks, Analytics, Categories, TaskCreated, DashboardStats
from repositories.kit import calendar
from repositories.kit.repository import now
from tests.factories import *
from repositories.kit.errors import *

async def test_smoke(database: Database, statements: list[str]) -> None:
    ada = await make_user(database)
    bob = await make_user(database)
    c = await make_category(database, ada)
    ts = await make_tasks(database, ada, 250, category_id=c.id, due_date=now())
    v = viewer_of(ada)
    snap = database.snapshot(v)
    r = Tasks(snap)
    p = await r.page(PageRequest(first=100))
    assert len(p.rows) == 100 and p.has_next
    p2 = await r.page(PageRequest(first=100, after=p.cursor(p.rows[-1])))
    assert {x.id for x in p.rows}.isdisjoint({x.id for x in p2.rows})
    assert await r.count() == 250
    today = calendar.day(now().date(), calendar.time_zone("Europe/Berlin"))
    print(await r.tally(ada.id, now(), today))
    print(await r.progress(ada.id, [today]))
    print(await r.breakdown(ada.id))
    await snap.close()
    async with open_unit(database, v, ()) as work:
        t = await work.repository(Tasks).change(ts[0], title="x")
        assert t.version == 2
        await work.repository(Analytics).recompute(ada.id, [today])
        work.record(TaskCreated(t.id, ada.id, t.created_at, None, 3, None))
        await work.repository(Tasks).uncategorise(c.id)
    snap = database.snapshot(v)
    print(await Analytics(snap).series(ada.id, today.date, 7))
    print(await Analytics(snap).mean_score(ada.id, today.date, 7))
    await snap.close()
    snap = database.snapshot(viewer_of(bob))
    assert await Tasks(snap).count() == 0
    with pytest.raises(NotFound):
        await Tasks(snap).get(t.id)
    await snap.close()
    with pytest.raises(Forbidden):
        async with open_unit(database, viewer_of(bob), ()) as work:
            await work.repository(Tasks).add(user_id=ada.id, title="evil")
    with pytest.raises(NotFound):
        async with open_unit(database, viewer_of(bob), ()) as work:
            await work.repository(Tasks).change(t, title="evil")
    async with database.transaction(SERVICE) as w:
        await DashboardStats(w).refresh()
    snap = database.snapshot(viewer_of(bob, Role.ADMIN))
    print([tuple(x) for x in await DashboardStats(snap).find(limit=5)])
    await snap.close()
    print(database.pool_state())
