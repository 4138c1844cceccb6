"""The outcomes of mutations as they are stored: the names of the rows that a mutation returns, and no other values."""

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from repositories.aggregates.derived import repository_of
from repositories.engines.database import ReadConnection
from repositories.sql.filters import And, Compare, DeletedRows, Deletion, Filter, Op
from repositories.sql.table import Table, metadata


def encode_outcome(result: Any) -> dict[str, Any]:
    """The names of the rows that a mutation returns: the class and the id, or a list of ids. Contains no other values.

    Raises TypeError for other results, so that no secret can be stored.
    """
    match result:
        case None:
            return {}
        case Table():
            return {"type": type(result).__name__, "id": str(result.id)}
        case [] | [Table(), *_] if not isinstance(result, Table):
            return {"type": type(result[0]).__name__ if result else None, "ids": [str(row.id) for row in result]}
        case dt.datetime():
            return {"time": result.isoformat()}
    message = f"the outcome of a mutation must be rows, not {type(result).__name__}"
    raise TypeError(message)


async def load_outcome(connection: ReadConnection, outcome: Mapping[str, Any]) -> Any:
    """The rows of an outcome as they are now, deleted ones included. A row that no longer exists is None or missing."""
    match outcome:
        case {"type": str(name), "id": str(key)}:
            return (await _find(connection, name, [UUID(key)])).get(UUID(key))
        case {"type": str(name), "ids": [*keys]}:
            found = await _find(connection, name, [UUID(key) for key in keys])
            return [found[UUID(key)] for key in keys if UUID(key) in found]
        case {"ids": []}:
            return []
        case {"time": str(time)}:
            return dt.datetime.fromisoformat(time)
    return None


async def _find(connection: ReadConnection, name: str, keys: list[UUID]) -> Mapping[UUID, Table]:
    row: Any = next(table.info["row"] for table in metadata.tables.values() if table.info["row"].__name__ == name)
    where: Filter = Compare("id", Op.IN, tuple(keys))
    if "deleted_at" in row.__fields__:
        where = And((DeletedRows(Deletion.INCLUDE), where))
    rows = await repository_of(row)(connection).find(where, limit=len(keys))
    return {found.id: found for found in rows}
