"""Writes legacy tasks. Each batch is one transaction, so a new run continues where an interrupted run stopped.

Existing tasks are never changed, so that the import can be repeated safely.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from repositories.core import clock as calendar
from repositories.core.errors import AccessDenied, InputError, ServiceUnavailable
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database, ReadConnection, WriteConnection
from repositories.identity import Users
from repositories.legacy.legacy_rows import Candidate, RejectedRow, parse_row, reject_row
from repositories.legacy.legacy_source import LegacyRow, Source
from repositories.life_lock.analytics import Analytics
from repositories.life_lock.categories import Categories
from repositories.life_lock.statistics import DashboardStats
from repositories.life_lock.tasks import Tasks
from repositories.sql.statements import RowFactory, Statement, in_list
from repositories.tables.identity import User
from repositories.tables.life_lock import Category, Task

COLOR = "#3B82F6"
"""The color of new categories."""

_tasks = Task.__table__
_categories = Category.__table__
_CategoryKey = tuple[UUID, str]
"""The user and the category's name."""

_task_owners: Statement[tuple[UUID, UUID]] = Statement(
    sa.select(_tasks.c.id, _tasks.c.user_id).where(in_list(_tasks.c.id, "ids")), RowFactory(tuple)
)
_categories_by_name: Statement[tuple[UUID, str, UUID]] = Statement(
    sa.select(_categories.c.user_id, _categories.c.name, _categories.c.id).where(
        in_list(_categories.c.user_id, "users"), in_list(_categories.c.name, "names")
    ),
    RowFactory(tuple),
)


@dataclass
class ImportResult:
    """The number of rows by outcome. ``rejected`` counts the rows by reason."""

    read: int = 0
    added: int = 0
    present: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass
class _Batch:
    """The rows of one batch by outcome. ``present`` is the number of rows whose task exists already."""

    new: list[Candidate]
    present: int
    rejected: list[RejectedRow]
    users: Mapping[UUID, User]


async def import_tasks(
    database: Database,
    source: Source,
    *,
    dry_run: bool = False,
    on_rejected: Callable[[RejectedRow], object] = lambda _row: None,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> ImportResult:
    """Imports the tasks that do not exist yet.

    Calls ``on_rejected`` with each rejected row, and ``on_progress`` with the number of rows of each batch.
    """
    result = ImportResult()
    async for rows in source.batches():
        batch = await (_preview(database, rows) if dry_run else _import_or_reject(database, rows))
        result.read += len(rows)
        result.added += len(batch.new)
        result.present += batch.present
        for row in batch.rejected:
            result.rejected[row.reason] += 1
            on_rejected(row)
        on_progress(len(rows))
    if result.added and not dry_run:
        async with database.transaction(SERVICE) as write:
            await DashboardStats(write).refresh()
    return result


async def _preview(database: Database, rows: Sequence[LegacyRow]) -> _Batch:
    async with database.snapshot(SERVICE) as snapshot:
        return await _classify(snapshot, rows)


async def _import_or_reject(database: Database, rows: Sequence[LegacyRow]) -> _Batch:
    """Imports the rows in one transaction. If that fails, imports each on its own and rejects those that fail again.

    An error of the database or of its permissions is raised, because it is not an error of a row.
    """
    try:
        return await _import(database, rows)
    except (AccessDenied, ServiceUnavailable):
        raise
    except Exception as error:  # noqa: BLE001 (no value of a row must end the import)
        if len(rows) == 1:
            return _Batch([], 0, [reject_row(rows[0], _reason(error))], {})
    batches = [await _import_or_reject(database, [row]) for row in rows]
    users: dict[UUID, User] = {}
    for batch in batches:
        users |= batch.users
    return _Batch(
        [row for batch in batches for row in batch.new],
        sum(batch.present for batch in batches),
        [row for batch in batches for row in batch.rejected],
        users,
    )


def _reason(error: Exception) -> str:
    """Why a row cannot be stored, without its values."""
    if not isinstance(error, InputError):
        return f"cannot be stored ({type(error).__name__})"
    return "; ".join(" ".join((*map(str, part.path), part.message.rstrip("."))) for part in error.parts)


async def _import(database: Database, rows: Sequence[LegacyRow]) -> _Batch:
    async with database.transaction(SERVICE) as write:
        batch = await _classify(write, rows)
        categories = await _ensure_categories(write, batch.new)
        added = await Tasks(write).add_missing([_values(row, categories) for row in batch.new])
        batch.present += len(batch.new) - len(added)
        batch.new = [row for row in batch.new if row.id in added]
        await _recompute(write, batch)
    return batch


async def _classify(connection: ReadConnection, rows: Sequence[LegacyRow]) -> _Batch:
    """Decides which rows are new, which tasks exist already, and which rows are rejected."""
    parsed = [parse_row(row) for row in rows]
    candidates = [row for row in parsed if isinstance(row, Candidate)]
    batch = _Batch([], 0, [row for row in parsed if isinstance(row, RejectedRow)], {})
    batch.users = await Users(connection).by_id(list({row.user_id for row in candidates}))
    owners = dict(await connection.rows(_task_owners, ids=[row.id for row in candidates]))
    seen: set[UUID] = set()
    for row in candidates:
        if row.user_id not in batch.users:
            batch.rejected.append(row.reject("user_id belongs to no user"))
        elif row.id in seen:
            batch.rejected.append(row.reject("id occurs twice"))
        elif owners.get(row.id, row.user_id) != row.user_id:
            batch.rejected.append(row.reject("id belongs to another user's task"))
        elif row.id in owners:
            batch.present += 1
        else:
            batch.new.append(row)
        seen.add(row.id)
    return batch


async def _ensure_categories(write: WriteConnection, rows: Sequence[Candidate]) -> Mapping[_CategoryKey, UUID]:
    """Returns the ids of the categories that the rows name, and creates those that their users do not have."""
    required = list(dict.fromkeys((row.user_id, row.category) for row in rows if row.category))
    existing = await _category_ids(write, required)
    missing = [key for key in required if key not in existing]
    if not missing:
        return existing
    await Categories(write).add_missing(
        [{"id": new_id(), "user_id": user, "name": name, "color": COLOR} for user, name in missing]
    )
    return await _category_ids(write, required)


async def _category_ids(write: WriteConnection, keys: Collection[_CategoryKey]) -> Mapping[_CategoryKey, UUID]:
    users, names = {user for user, _ in keys}, {name for _, name in keys}
    rows = await write.rows(_categories_by_name, users=list(users), names=list(names))
    return {(user, name): category_id for user, name, category_id in rows}


def _values(row: Candidate, categories: Mapping[_CategoryKey, UUID]) -> dict[str, Any]:
    values = row.model_dump(exclude={"category"})
    return values | {"completed_at": row.completed_at, "category_id": categories.get((row.user_id, row.category))}


async def _recompute(write: WriteConnection, batch: _Batch) -> None:
    """Recomputes the analytics of the days on which tasks were created or completed, in the users' time zones."""
    days_by_user: defaultdict[UUID, set[calendar.LocalDay]] = defaultdict(set)
    for row in batch.new:
        zone = calendar.stored_time_zone(batch.users[row.user_id].time_zone)
        for moment in (row.created_at, row.completed_at):
            if moment is not None:
                days_by_user[row.user_id].add(calendar.day(calendar.date_of(moment, zone), zone))
    for user, days in days_by_user.items():
        await Analytics(write).recompute(user, sorted(days))
