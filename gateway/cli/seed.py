"""`siso seed`."""

import asyncio

from gateway.cli.console import CommandError, print_result, progress_bar
from gateway.cli.preconditions import open_migrated_database
from gateway.settings import load_settings
from repositories.demo.seed import TASKS_PER_USER, load_demo
from repositories.demo.users import PLAIN_USERS, STAFF


def seed(*, demo: bool, users: int | None, tasks: int | None) -> None:
    if not demo:
        raise CommandError("Add --demo to load demo data, the only data that there is: `siso seed --demo`.")
    users = PLAIN_USERS if users is None else users
    tasks = TASKS_PER_USER if tasks is None else tasks
    settings = load_settings()

    async def load() -> int | None:
        async with open_migrated_database(settings) as database:
            with progress_bar() as progress:
                bar = progress.add_task("Loading tasks", total=(users + STAFF) * tasks)
                return await load_demo(
                    database, users=users, tasks=tasks, on_progress=lambda count: progress.advance(bar, count)
                )

    task_count = asyncio.run(load())
    if task_count is None:
        print_result("The database already has users. Nothing was loaded.")
    else:
        print_result(f"Loaded {users + STAFF} users with {task_count} tasks.")
