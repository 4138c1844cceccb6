"""`siso seed`."""

import asyncio

from gateway.cli.console import CommandError, progress_bar, say
from gateway.cli.ready import migrated_database
from gateway.settings import load_settings
from repositories.demo.seed import TASKS_PER_USER, load_demo
from repositories.demo.users import PLAIN_USERS, STAFF


def seed(*, demo: bool, users: int | None, tasks: int | None) -> None:
    """Loads demo data with a progress bar."""
    if not demo:
        raise CommandError("There is one kind of data to load so far: `siso seed --demo`.")
    users = PLAIN_USERS if users is None else users
    tasks = TASKS_PER_USER if tasks is None else tasks
    settings = load_settings()

    async def load() -> int | None:
        async with migrated_database(settings) as database:
            with progress_bar() as progress:
                bar = progress.add_task("Loading tasks", total=(users + STAFF) * tasks)
                return await load_demo(
                    database, users=users, tasks=tasks, on_progress=lambda count: progress.advance(bar, count)
                )

    made = asyncio.run(load())
    if made is None:
        say("There are users already: nothing was loaded.")
    else:
        say(f"Loaded {users + STAFF} users with {made} tasks.")
