"""Writes legacy tasks: a batch is one transaction, so that a run that was killed is taken up again where it ended.

A task that is there already is left alone, whatever became of it since; that makes the import safe to repeat.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from repositories.core import clock as calendar
from repositories.core.errors import ValidationError
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, ReadConnection, WriteConnection
from repositories.identity import Users
from repositories.legacy.legacy_rows import Candidate, Refused, candidate
from repositories.legacy.legacy_source import LegacyRow, Source
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.categories import Categories
from repositories.life_lock.statistics import DashboardStats
from repositories.life_lock.tasks import Tasks
from repositories.sql.statements import RowFactory, Statement, in_list
from repositories.tables.identity import User
from repositories.tables.life_lock import Category, Task

COLOR = "#3B82F6"

_tasks = Task.__table__
_categories = Category.__table__
_Pair = tuple[UUID, UUID]
_Name = tuple[UUID, str]

_owners: Statement[_Pair] = Statement(
    sa.select(_tasks.c.id, _tasks.c.user_id).where(in_list(_tasks.c.id, "ids")), RowFactory(tuple)
)
_named: Statement[tuple[UUID, str, UUID]] = Statement(
    sa.select(_categories.c.user_id, _categories.c.name, _categories.c.id).where(
        in_list(_categories.c.user_id, "users"), in_list(_categories.c.name, "names")
    ),
    RowFactory(tuple),
)


@dataclass
class ImportResult:
    """What became of the rows; ``refused`` counts them by reason."""

    read: int = 0
    added: int = 0
    present: int = 0
    refused: Counter[str] = field(default_factory=Counter)


@dataclass
class _Batch:
    """One batch, sorted out."""

    new: list[Candidate]
    present: int
    refused: list[Refused]
    users: Mapping[UUID, User]


async def import_tasks(
    database: Database,
    source: Source,
    *,
    dry_run: bool = False,
    refuse: Callable[[Refused], None] = lambda _refused: None,
    done: Callable[[int], None] = lambda _rows: None,
) -> ImportResult:
    """Imports what is not there yet. ``refuse`` is told each refused row, ``done`` how many more rows were read."""
    result = ImportResult()
    async for rows in source.batches():
        batch = await (_look(database, rows) if dry_run else _import(database, rows))
        result.read += len(rows)
        result.added += len(batch.new)
        result.present += batch.present
        for refused in batch.refused:
            result.refused[refused.reason] += 1
            refuse(refused)
        done(len(rows))
    if result.added and not dry_run:
        async with database.transaction(SERVICE) as write:
            await DashboardStats(write).refresh()
    return result


async def _look(database: Database, rows: Sequence[LegacyRow]) -> _Batch:
    async with database.snapshot(SERVICE) as snapshot:
        return await _sorted_out(snapshot, rows)


async def _import(database: Database, rows: Sequence[LegacyRow]) -> _Batch:
    async with database.transaction(SERVICE) as write:
        batch = await _sorted_out(write, rows)
        categories = await _ensured_categories(write, batch.new)
        added = await Tasks(write).add_missing([_values(row, categories) for row in batch.new])
        batch.present += len(batch.new) - len(added)
        batch.new = [row for row in batch.new if row.id in added]
        await _recompute(write, batch)
    return batch


async def _sorted_out(connection: ReadConnection, rows: Sequence[LegacyRow]) -> _Batch:
    """Which rows are new, which are there already, and which cannot be imported."""
    checked = [candidate(row) for row in rows]
    fit = [row for row in checked if isinstance(row, Candidate)]
    batch = _Batch([], 0, [row for row in checked if isinstance(row, Refused)], {})
    batch.users = await Users(connection).by_id(list({row.user_id for row in fit}))
    owners = dict(await connection.rows(_owners, ids=[row.id for row in fit]))
    seen: set[UUID] = set()
    for row in fit:
        if row.user_id not in batch.users:
            batch.refused.append(row.refused("user_id is of no user"))
        elif row.id in seen:
            batch.refused.append(row.refused("id occurs twice"))
        elif owners.get(row.id, row.user_id) != row.user_id:
            batch.refused.append(row.refused("id is that of another user's task"))
        elif row.id in owners:
            batch.present += 1
        else:
            batch.new.append(row)
        seen.add(row.id)
    return batch


async def _ensured_categories(write: WriteConnection, rows: Sequence[Candidate]) -> Mapping[_Name, UUID]:
    """The categories that the rows name; one that the user has already keeps its colour."""
    wanted = {(row.user_id, row.category): row for row in rows if row.category}
    found = await _category_ids(write, wanted)
    missing = [key for key in wanted if key not in found]
    if not missing:
        return found
    await Categories(write).add_missing(
        [{"id": new_id(), "user_id": user, "name": name, "color": COLOR} for user, name in missing]
    )
    return await _category_ids(write, wanted)


async def _category_ids(write: WriteConnection, wanted: Mapping[_Name, Any]) -> Mapping[_Name, UUID]:
    users, names = {user for user, _ in wanted}, {name for _, name in wanted}
    found = await write.rows(_named, users=list(users), names=list(names))
    return {(user, name): key for user, name, key in found}


def _values(row: Candidate, categories: Mapping[_Name, UUID]) -> dict[str, Any]:
    values = row.model_dump(exclude={"category"})
    return values | {"completed_at": row.completed_at, "category_id": categories.get((row.user_id, row.category))}


async def _recompute(write: WriteConnection, batch: _Batch) -> None:
    """The touched days of the touched users, in their time zones."""
    touched: defaultdict[UUID, set[calendar.LocalDay]] = defaultdict(set)
    for row in batch.new:
        zone = _zone(batch.users[row.user_id])
        for moment in (row.created_at, row.completed_at):
            if moment is not None:
                touched[row.user_id].add(calendar.day(calendar.date_of(moment, zone), zone))
    for user, days in touched.items():
        await Analytics(write).recompute(user, sorted(days))


def _zone(user: User) -> Any:
    """A zone that is no longer known must not stop an import."""
    try:
        return calendar.time_zone(user.time_zone)
    except ValidationError:
        return calendar.time_zone("UTC")
