"""The commands and what they are for. What they do is in the modules beside this one."""

import logging.config
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""A GraphQL gateway in front of a business database.

    Settings are read from GATEWAY_* and a .env file (docs/settings.md). Without any, everything happens in the
    SQLite file var/siso.sqlite3.

    Start here: siso serve --demo
    """,
)
migrate = typer.Typer(no_args_is_help=True, help="Brings the database to a revision. Example: siso migrate up")
schema = typer.Typer(no_args_is_help=True, help="The contract with clients. Example: siso schema export")
keys = typer.Typer(no_args_is_help=True, help="The keys of encrypted columns. Example: siso keys rotate")
docs = typer.Typer(no_args_is_help=True, help="Writes generated pages. Example: siso docs settings")
app.add_typer(migrate, name="migrate")
app.add_typer(schema, name="schema")
app.add_typer(keys, name="keys")
app.add_typer(docs, name="docs")
events = typer.Typer(no_args_is_help=True, help="What happened. Example: siso events export")
app.add_typer(events, name="events")
sessions = typer.Typer(no_args_is_help=True, help="Who is signed in. Example: siso sessions clean")
app.add_typer(sessions, name="sessions")

jobs = typer.Typer(no_args_is_help=True, help="What is done when it is time. Example: siso jobs list")
app.add_typer(jobs, name="jobs")


@app.callback()
def common(debug: Annotated[bool, typer.Option("--debug", help="Show details of unexpected errors.")] = False) -> None:  # noqa: FBT002 (a flag)
    """What holds for every command."""
    if debug:
        from gateway.server.process import logging_config

        logging.config.dictConfig(logging_config("debug"))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="How many processes serve requests.")] = None,
    demo: Annotated[  # noqa: FBT002 (a flag)
        bool, typer.Option("--demo", help="Migrate the SQLite file, load demo data if it is empty, print a token.")
    ] = False,
) -> None:
    """Serve requests until Ctrl-C.

    Requests in flight are still answered then.

    Example: siso serve --port 9000 --workers 2
    """
    from gateway.cli.serve import serve as run

    given = {"host": host, "port": port, "workers": workers}
    run({name: value for name, value in given.items() if value is not None}, demo=demo)


@migrate.command("up")
def migrate_up(
    revision: Annotated[str, typer.Argument(help="How far; by default all the way.")] = "head",
) -> None:
    """Apply what is pending.

    Example: siso migrate up
    """
    from gateway.cli.migrate import up

    up(revision)


@migrate.command("down", context_settings={"ignore_unknown_options": True})
def migrate_down(
    revision: Annotated[str, typer.Argument(help='Down to this one; "-1" for one step, "base" for an empty database.')],
    yes: Annotated[bool, typer.Option("--yes", help="Tables and their data are deleted: say so.")] = False,  # noqa: FBT002 (a flag)
) -> None:
    """Take migrations back, with their data.

    Example: siso migrate down -1 --yes
    """
    from gateway.cli.migrate import down

    down(revision, yes=yes)


@migrate.command("status")
def migrate_status() -> None:
    """List the migrations, done and pending.

    Example: siso migrate status
    """
    from gateway.cli.migrate import status

    status()


@app.command()
def seed(
    demo: Annotated[bool, typer.Option("--demo", help="Load demo data.")] = False,  # noqa: FBT002 (a flag)
    users: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="How many users beside the two of the staff.")
    ] = None,
    tasks: Annotated[int | None, typer.Option(min=0, max=100_000, help="How many tasks each of them has.")] = None,
) -> None:
    """Load demo data into an empty database.

    One that has users is left alone.

    Example: siso seed --demo --users 100 --tasks 300
    """
    from gateway.cli.seed import seed as run

    run(demo=demo, users=users, tasks=tasks)


@app.command()
def token(
    email: Annotated[str, typer.Argument(help="Whose token.")],
    lifetime: Annotated[int | None, typer.Option(min=1, max=315_360_000, help="How many seconds it is valid.")] = None,
) -> None:
    """Print a bearer token for a user.

    Example: siso token ada@example.com --lifetime 3600
    """
    from gateway.cli.token import token as run

    run(email, lifetime)


@schema.command("export")
def schema_export(
    file: Annotated[Path | None, typer.Argument(help="Where to; by default standard output.")] = None,
) -> None:
    """Write the schema as SDL.

    Example: siso schema export schema/schema.graphql
    """
    from gateway.cli.schema import export

    export(file)


@schema.command("check")
def schema_check(
    against: Annotated[Path, typer.Option(help="The schema that clients were built against.")],
) -> None:
    """List what changed since another schema.

    Exit code 1 if something breaks clients.

    Example: siso schema check --against schema/schema.graphql
    """
    from gateway.cli.schema import check

    check(against)


@app.command()
def doctor() -> None:
    """Say what is wrong and how to mend it.

    Looks at settings, secrets, Redis, database, migrations, roles, the replica and policies; exit code 1 if something
    is wrong.

    Example: siso doctor
    """
    from gateway.cli.doctor import doctor as run

    run()


@events.command("export")
def events_export(
    file: Annotated[Path | None, typer.Argument(help="Where to; by default standard output.")] = None,
    since: Annotated[
        datetime | None, typer.Option("--from", help="From this moment on, in UTC.", formats=MOMENTS)
    ] = None,
    until: Annotated[datetime | None, typer.Option("--to", help="Before this moment, in UTC.", formats=MOMENTS)] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only events of this type; may be given again.")
    ] = None,
) -> None:
    """Write events as JSON lines, oldest first.

    Reads them in batches from one state of the database, so that no number of events is too many.

    Example: siso events export audit.jsonl --from 2026-01-01 --type TaskCompleted
    """
    from gateway.cli.events import export

    export(file, since, until, types or [])


@app.command("import-legacy")
def import_legacy(
    source: Annotated[str, typer.Option(help="A postgresql:// URL or the path of a SQLite file.")],
    report: Annotated[
        Path | None,
        typer.Option(help="Write refused rows with the reason here: CSV if it ends in .csv, else JSON lines."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, change nothing.")] = False,  # noqa: FBT002 (a flag)
) -> None:
    """Import tasks from a legacy database.

    Takes the rows of type life-lock; safe to repeat, and to take up again after an interruption.

    Example: siso import-legacy --source old.sqlite3 --report refused.csv
    """
    from gateway.cli.legacy import import_legacy as run

    run(source, report, dry_run=dry_run)


@keys.command("rotate")
def keys_rotate() -> None:
    """Encrypt anew what is not encrypted with the first key.

    Put a new key in front of GATEWAY_ENCRYPTION_KEYS and restart the gateway before. It may serve meanwhile; what was
    interrupted is taken up again by the next run. The old key is not needed any more when nothing is left.

    Example: siso keys rotate
    """
    from gateway.cli.keys import rotate

    rotate()


@sessions.command("clean")
def sessions_clean() -> None:
    """Delete sessions that have come to their end.

    Those that were revoked are kept until then, so that their tokens are known for what they are. The job
    clean-sessions does it daily; where GATEWAY_JOBS=off, let something else.

    Example: siso sessions clean
    """
    from gateway.cli.sessions import clean

    clean()


@jobs.command("list")
def jobs_list() -> None:
    """Say what runs when, and how the last run went.

    Times and schedules (minute, hour, day, month, day of week) are in UTC. A process that serves runs the jobs, unless
    GATEWAY_JOBS=off. A run was abandoned if its process ended before it did.

    Example: siso jobs list
    """
    from gateway.cli.jobs import show

    show()


@jobs.command("run")
def jobs_run(name: Annotated[str, typer.Argument(help="Which; `siso jobs list` knows them.")]) -> None:
    """Run a job now.

    It may be run at any time and again. Only one process runs it at a time: a second one is refused.

    Example: siso jobs run roll-days
    """
    from gateway.cli.jobs import run

    run(name)


@docs.command("settings")
def docs_settings(
    file: Annotated[Path, typer.Argument(help="Where to.")] = Path("docs/settings.md"),
) -> None:
    """Write the page of all settings.

    Example: siso docs settings
    """
    from gateway.cli.docs import settings_page

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(settings_page(), encoding="utf-8")
