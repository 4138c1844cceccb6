"""`siso events`."""

import asyncio
import datetime as dt
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.cli.console import print_notice
from gateway.cli.preconditions import open_migrated_database
from gateway.cli.private_files import replace_privately
from gateway.settings import load_settings
from repositories.aggregates.event_store import EventStore
from repositories.core.errors import UnreadableValue
from repositories.core.viewer import SERVICE
from repositories.sql.types import to_json
from repositories.tables.events import DomainEvent


def export(file: Path | None, since: dt.datetime | None, until: dt.datetime | None, types: Sequence[str]) -> None:
    """Writes the events as JSON lines to the file or standard output. ``since`` and ``until`` are in UTC."""
    settings = load_settings()

    async def run(write: Callable[[bytes], object]) -> int:
        count = 0
        async with open_migrated_database(settings) as database, database.snapshot(SERVICE) as snapshot:
            async for event in EventStore(snapshot).export(_utc(since), _utc(until), types):
                write(_json_line(event))
                count += 1
        return count

    with _open_output(file) as write:
        count = asyncio.run(run(write))
    print_notice(f"Exported {count} events.")


def _utc(moment: dt.datetime | None) -> dt.datetime | None:
    return moment and moment.replace(tzinfo=dt.UTC)


@contextmanager
def _open_output(file: Path | None) -> Iterator[Callable[[bytes], object]]:
    if file is None:
        yield sys.stdout.buffer.write
        sys.stdout.flush()
        return
    with replace_privately(file) as write:
        yield write


def _json_line(event: DomainEvent) -> bytes:
    values = {
        "sequence": event.sequence,
        "id": event.id,
        "timestamp": None if isinstance(event.timestamp, UnreadableValue) else event.timestamp,
        "eventType": event.event_type,
        "aggregateType": event.aggregate_type,
        "aggregateId": event.aggregate_id,
        "userId": event.user_id,
        "version": event.version,
        "eventData": event.event_data,
    }
    return f"{to_json(values)}\n".encode()
