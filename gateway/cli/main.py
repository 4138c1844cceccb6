"""The commands of `siso`, their options and their help texts. The modules beside this one do the work."""

import logging.config
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""A GraphQL gateway in front of a business database.

    Settings come from GATEWAY_* environment variables and from a .env file in the working directory
    (docs/settings.md). Without any settings, the data is in the SQLite file var/siso.sqlite3.

    Exit codes: 0 for success, 1 if a check finds a problem (doctor, schema check, keys rotate), 2 for an error, which
    is one line on standard error that says how to fix it.

    Start here: siso serve --demo
    """,
)


def _group(name: str, purpose: str) -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, help=purpose)
    app.add_typer(group, name=name)
    return group


migrate = _group("migrate", "Create, update or remove the database's tables. Example: siso migrate up")
schema = _group("schema", "Export the GraphQL schema or check it for changes. Example: siso schema export")
keys = _group("keys", "Manage the keys of encrypted columns. Example: siso keys rotate")
docs = _group("docs", "Generate documentation pages. Example: siso docs settings")
events = _group("events", "Export the event store. Example: siso events export")
sessions = _group("sessions", "Manage sign-in sessions. Example: siso sessions clean")
jobs = _group("jobs", "List scheduled jobs or run one. Example: siso jobs list")


@app.callback()
def common(debug: Annotated[bool, typer.Option("--debug", help="Log details of unexpected errors.")] = False) -> None:  # noqa: FBT002 (a flag)
    if debug:
        from gateway.server.logging_config import logging_config

        logging.config.dictConfig(logging_config("debug"))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port; 0 selects a free one.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="The number of worker processes.")] = None,
    demo: Annotated[  # noqa: FBT002 (a flag)
        bool, typer.Option("--demo", help="Migrate the SQLite file, load demo data if it is empty, print a token.")
    ] = False,
) -> None:
    """Serve GraphQL requests until Ctrl-C.

    Options override the settings GATEWAY_HOST, GATEWAY_PORT and GATEWAY_WORKERS. Before it exits, the gateway finishes
    the requests that are in progress.

    Example: siso serve --port 9000 --workers 2
    """
    from gateway.cli.serve import serve as run

    options = {"host": host, "port": port, "workers": workers}
    run({name: value for name, value in options.items() if value is not None}, demo=demo)


@migrate.command("up")
def migrate_up(
    revision: Annotated[str, typer.Argument(help="The revision to migrate to, by default the newest.")] = "head",
) -> None:
    """Apply pending migrations.

    Run it before the first `siso serve` on a new database, and after each update of siso.

    Example: siso migrate up
    """
    from gateway.cli.migrate import up

    up(revision)


@migrate.command("down", context_settings={"ignore_unknown_options": True})
def migrate_down(
    revision: Annotated[
        str, typer.Argument(help='The revision to return to: "-1" for one step, "base" for an empty database.')
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Confirm that tables and their data are deleted.")] = False,  # noqa: FBT002 (a flag)
) -> None:
    """Revert migrations and delete the data of their tables.

    Use it to return to an older version of siso.

    Example: siso migrate down -1 --yes
    """
    from gateway.cli.migrate import down

    down(revision, yes=yes)


@migrate.command("status")
def migrate_status() -> None:
    """List all migrations as done or pending, oldest first.

    Example: siso migrate status
    """
    from gateway.cli.migrate import status

    status()


@migrate.command("new")
def migrate_new(
    name: Annotated[str, typer.Argument(help="The name of the file, such as notebook.")],
) -> None:
    """Write a migration for declared tables that have none.

    It creates the tables with their constraints, indexes, policies and transitions, as they are declared in
    repositories/tables. Read and correct the file before you apply it.

    Example: siso migrate new notebook
    """
    from gateway.cli.migrate import new

    new(name)


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="The GraphQL type of the aggregate, such as Task.")],
) -> None:
    """Show the declaration of an aggregate and everything that is derived from it.

    It prints the columns, the policy, filters, sort keys, groups, root fields, commands, events, and the SQL of its
    list and of a row by its id.

    Example: siso explain Task
    """
    from gateway.cli.explain import explain as run

    run(name)


@app.command()
def seed(
    demo: Annotated[bool, typer.Option("--demo", help="Load demo data.")] = False,  # noqa: FBT002 (a flag)
    users: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="The number of users, besides two staff members.")
    ] = None,
    tasks: Annotated[int | None, typer.Option(min=0, max=100_000, help="The number of tasks per user.")] = None,
) -> None:
    """Load demo data into an empty database.

    Use it to try the gateway on PostgreSQL, or with another amount of data than `siso serve --demo` loads. It does
    nothing if the database already has users.

    Example: siso seed --demo --users 100 --tasks 300
    """
    from gateway.cli.seed import seed as run

    run(demo=demo, users=users, tasks=tasks)


@app.command()
def token(
    email: Annotated[str, typer.Argument(help="The e-mail address of the user.")],
    lifetime: Annotated[
        int | None, typer.Option(min=1, max=315_360_000, help="How long the token is valid, in seconds.")
    ] = None,
) -> None:
    """Print a bearer token for a user.

    Use it to send requests as that user, without a password. The token is valid for GATEWAY_TOKEN_LIFETIME seconds
    unless --lifetime is given.

    Example: siso token ada@example.com --lifetime 3600
    """
    from gateway.cli.token import token as run

    run(email, lifetime)


@schema.command("export")
def schema_export(
    file: Annotated[Path | None, typer.Argument(help="The file to write, by default standard output.")] = None,
) -> None:
    """Write the GraphQL schema in SDL.

    Use it to generate client code, or to update schema/schema.graphql after a change.

    Example: siso schema export schema/schema.graphql
    """
    from gateway.cli.schema import export

    export(file)


@schema.command("check")
def schema_check(
    against: Annotated[Path, typer.Option(help="An SDL file with the schema that clients were built against.")],
) -> None:
    """List the changes since another version of the schema.

    Use it in CI to find changes that break clients. Exit code 1 if there is a breaking change.

    Example: siso schema check --against schema/schema.graphql
    """
    from gateway.cli.schema import check

    check(against)


@app.command()
def doctor() -> None:
    """Check the configuration and say how to fix each problem.

    Use it when the gateway does not start or reports that a part is unavailable. It checks the settings, secrets, keys,
    Redis, database, migrations, roles, replica and row-level security. Exit code 1 if there is an error.

    Example: siso doctor
    """
    from gateway.cli.doctor import doctor as run

    run()


@events.command("export")
def events_export(
    file: Annotated[Path | None, typer.Argument(help="The file to write, by default standard output.")] = None,
    since: Annotated[
        datetime | None, typer.Option("--from", help="Only events from this time on, in UTC.", formats=TIME_FORMATS)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", help="Only events before this time, in UTC.", formats=TIME_FORMATS)
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only events of this type, such as TaskCompleted; repeatable.")
    ] = None,
) -> None:
    """Write events as JSON lines, oldest first.

    Use it for audits and backups. It reads one snapshot of the database in batches, so its memory use does not grow
    with the number of events.

    Example: siso events export audit.jsonl --from 2026-01-01
    """
    from gateway.cli.events import export

    export(file, since, until, types or [])


@app.command("import-legacy")
def import_legacy(
    source: Annotated[
        str | None,
        typer.Option(help="A postgresql:// URL without a password, or the path of a SQLite file."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="List rejected rows and reasons in this file: CSV if it ends in .csv, else JSON lines."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report the result without any change.")] = False,  # noqa: FBT002 (a flag)
) -> None:
    """Import tasks from a legacy database.

    It reads the rows of type life-lock and skips tasks that exist already, so it can be repeated, also after an
    interruption. Without --source, it reads the database in GATEWAY_LEGACY_SOURCE, whose URL may contain a password.

    Example: siso import-legacy --source old.sqlite3 --report rejected.csv
    """
    from gateway.cli.legacy import import_legacy as run

    run(source, report, dry_run=dry_run)


@keys.command("rotate")
def keys_rotate() -> None:
    """Re-encrypt all values that are not encrypted with the current key.

    To change the key, put the new key first in GATEWAY_ENCRYPTION_KEYS, restart the gateway, and run this command. The
    gateway can serve requests meanwhile. After an interruption, run the command again. Remove the old key only after
    exit code 0; exit code 1 means that some values are not encrypted with the new key.

    Example: siso keys rotate
    """
    from gateway.cli.keys import rotate

    rotate()


@sessions.command("clean")
def sessions_clean() -> None:
    """Delete expired sessions.

    A revoked session is kept until it expires, so that its tokens are still recognised as revoked. The job
    clean-sessions runs daily and does the same; use this command if GATEWAY_JOBS=off.

    Example: siso sessions clean
    """
    from gateway.cli.sessions import clean

    clean()


@jobs.command("list")
def jobs_list() -> None:
    """List the scheduled jobs with their last and next runs.

    Times and schedules (minute, hour, day, month, day of week) are in UTC. `siso serve` runs the jobs unless
    GATEWAY_JOBS=off. A run is abandoned if its process ended before the run did.

    Example: siso jobs list
    """
    from gateway.cli.jobs import list_jobs

    list_jobs()


@jobs.command("run")
def jobs_run(name: Annotated[str, typer.Argument(help="The name of the job, as in `siso jobs list`.")]) -> None:
    """Run a job now.

    Every job can be run at any time and repeated. It ends with an error if another process is running the job.

    Example: siso jobs run roll-days
    """
    from gateway.cli.jobs import run

    run(name)


@docs.command("settings")
def docs_settings(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("docs/settings.md"),
) -> None:
    """Write the documentation page of all settings.

    Run it after a change of gateway/settings/.

    Example: siso docs settings
    """
    from gateway.cli.docs import settings_page

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(settings_page(), encoding="utf-8")
