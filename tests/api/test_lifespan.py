"""The application's lifespan: startup and shutdown."""

import asyncio
import gc
from pathlib import Path
from typing import Any

from gateway.server.process import AppFactory
from gateway.settings import Settings
from tests.databases import copy_sqlite


async def test_startup_freezes_loaded_objects_for_the_garbage_collector(sqlite_template: Path, tmp_path: Path) -> None:
    app = AppFactory(Settings(database_path=copy_sqlite(sqlite_template, tmp_path)))()
    received: asyncio.Queue[Any] = asyncio.Queue()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    for kind in ("startup", "shutdown"):
        received.put_nowait({"type": f"lifespan.{kind}"})
    before = gc.get_freeze_count()

    try:
        await app({"type": "lifespan", "state": {}}, received.get, sent.put)
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()

    assert [sent.get_nowait()["type"] for _ in range(2)] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
