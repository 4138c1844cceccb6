"""`siso serve`: the errors that prevent a start, and the shutdown."""

import itertools
import signal
import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.cli.siso import RunningGateway, Siso

UNREACHABLE = {
    "GATEWAY_DATABASE_URL": "postgresql://somebody:geheim@127.0.0.1:1/nothing",
    "GATEWAY_JWT_SECRET": "a secret of the tests that is long enough",
}
CREATE = 'mutation { createTask(input: {title: "In flight"}) { task { title } userErrors { message } } }'


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_clean_shutdown(siso: Siso, number: signal.Signals) -> None:
    with siso.serving() as served:
        assert served.get("/health")["status"] == "ok"
        assert served.ask("{ __typename }") == {"__typename": "Query"}
        ended = served.stop(number)
    assert ended.code == 0
    assert "Traceback" not in ended.err
    assert "has stopped" in ended.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_shutdown_waits_for_a_running_request(on_sqlite: Siso, number: signal.Signals) -> None:
    """Another connection holds the write lock, so the mutation is still waiting when the gateway gets the signal."""
    on_sqlite.expect_output("seed", "--demo", "--users", "1", "--tasks", "1")
    token = on_sqlite.expect_output("token", "ada@example.com")
    results: list[Any] = []
    with (
        closing(sqlite3.connect(on_sqlite.settings["GATEWAY_DATABASE_PATH"], isolation_level=None)) as other,
        on_sqlite.serving() as served,
    ):
        other.execute("BEGIN IMMEDIATE")
        request = threading.Thread(target=lambda: results.append(served.ask(CREATE, token)))
        request.start()
        time.sleep(0.5)
        served.process.send_signal(number)
        time.sleep(0.5)
        assert served.process.poll() is None
        other.execute("ROLLBACK")
        request.join()
        ended = _wait_for_end(served)
    assert results == [{"createTask": {"task": {"title": "In flight"}, "userErrors": []}}]
    assert ended == (0, False)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_shutdown_ends_event_streams(on_sqlite: Siso, workers: str) -> None:
    """The stream ends regularly and long before the shutdown timeout, so that its client can reconnect."""
    on_sqlite.expect_output("seed", "--demo", "--users", "1", "--tasks", "1")
    headers = {
        "Accept": "text/event-stream",
        "Authorization": f"Bearer {on_sqlite.expect_output('token', 'ada@example.com')}",
    }
    document = {"query": "subscription { lifeLockDashboard { totalTasks } }"}
    with (
        on_sqlite.serving("--workers", workers, GATEWAY_SHUTDOWN_TIMEOUT="600") as served,
        httpx.stream("POST", f"{served.url}/graphql", json=document, headers=headers, timeout=30) as answer,
    ):
        lines = answer.iter_lines()
        first_event = list(itertools.islice(lines, 5))
        assert first_event == [
            "retry: 1000",
            "",
            "event: next",
            'data: {"data":{"lifeLockDashboard":{"totalTasks":1}}}',
            "",
        ]
        served.process.send_signal(signal.SIGTERM)
        assert list(lines) == []
        assert _wait_for_end(served) == (0, False)


def _wait_for_end(served: RunningGateway) -> tuple[int, bool]:
    """Waits for the end of the process. Returns its exit code and whether it printed a stack trace."""
    _, err = served.process.communicate(timeout=20)
    return served.process.returncode, "Traceback" in err


def test_two_workers_stop_together(siso: Siso) -> None:
    with siso.serving("--workers", "2") as served:
        assert served.ask("{ __typename }") == {"__typename": "Query"}
        workers = psutil.Process(served.process.pid).children()
        ended = served.stop()
    assert ended.code == 0
    assert "Traceback" not in ended.err
    psutil.wait_procs(workers, timeout=5)
    assert [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE] == []


def test_a_port_in_use(on_sqlite: Siso) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        error = on_sqlite.expect_error("serve", "--port", port)
    assert error == f"siso: Port {port} of 127.0.0.1 is already in use. Choose another with --port or GATEWAY_PORT."


def test_an_invalid_host(on_sqlite: Siso) -> None:
    assert "is not an address to listen on" in on_sqlite.expect_error("serve", "--host", "no.such.host.invalid")


def test_an_unmigrated_database(unmigrated: Siso) -> None:
    expected = "siso: The database is not migrated yet. Run `siso migrate up` first."
    assert unmigrated.expect_error("serve", "--port", "0") == expected


def test_a_database_with_an_older_or_newer_revision(on_sqlite: Siso) -> None:
    on_sqlite.expect_output("migrate", "down", "0001", "--yes")
    assert "The database is at revision 0001, but this version of siso needs" in on_sqlite.expect_error(
        "serve", "--port", "0"
    )
    with closing(sqlite3.connect(on_sqlite.settings["GATEWAY_DATABASE_PATH"])) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    assert "which this version of siso does not know" in on_sqlite.expect_error("serve", "--port", "0")
    assert "which this version of siso does not know" in on_sqlite.expect_error("serve", "--port", "0", "--demo")


def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be looked at" * 50)
    siso = Siso(tmp_path, {"GATEWAY_DATABASE_PATH": "notes.txt"})
    assert (
        siso.expect_error("serve", "--port", "0")
        == "siso: SQLite file notes.txt cannot be used: file is not a database."
    )


def test_an_unknown_setting(on_sqlite: Siso) -> None:
    error = on_sqlite.expect_error("serve", "--port", "0", GATEWAY_PROT="9000")
    assert error.startswith("siso: GATEWAY_PROT: there is no such setting. Did you mean GATEWAY_PORT?")


@pytest.mark.parametrize("url", ["mysql://a:geheim@b/c", "postgresql://a:geheim@b:port/c", "postgresql://a:geheim@b"])
def test_a_malformed_url(on_sqlite: Siso, url: str) -> None:
    error = on_sqlite.expect_error("serve", "--port", "0", GATEWAY_DATABASE_URL=url)
    assert "GATEWAY_DATABASE_URL: must look like postgresql://" in error
    assert "geheim" not in error


@pytest.mark.parametrize("url", ["mysql://a:geheim@b/c", "postgresql://a:geheim@b"])
def test_a_malformed_replica_url(on_postgresql: Siso, url: str) -> None:
    error = on_postgresql.expect_error("serve", "--port", "0", GATEWAY_DATABASE_READ_URL=url)
    assert "GATEWAY_DATABASE_READ_URL: must look like postgresql://" in error
    assert "geheim" not in error


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("REDIS_URL", "redis://:geheim@b:port", "must look like redis://host:6379/0"),
        ("REDIS_URL", "redis://:geheim@b/first", "must look like redis://host:6379/0"),
        ("REDIS_URL", "unix://:geheim@", "must look like redis://host:6379/0"),
        ("RATE_LIMIT_STORE", "async+redis://:geheim@b", "must be a store that the library `limits` can use"),
        ("RATE_LIMIT_STORE", "memory://", "must be a store that the library `limits` can use"),
        ("RATE_LIMIT_STORE", "geheim", "must be a store that the library `limits` can use"),
        ("CACHE_LIFETIME", "inf", "Input should be a finite number"),
        ("ANALYTICS_RETENTION_DAYS", "9999999", "Input should be less than or equal to 100000"),
    ],
)
def test_invalid_values_are_rejected_at_the_start(on_sqlite: Siso, name: str, value: str, message: str) -> None:
    error = on_sqlite.expect_error("serve", "--port", "0", **{f"GATEWAY_{name}": value})
    assert error.startswith(f"siso: GATEWAY_{name}: {message}")
    assert "geheim" not in error


def test_a_replica_without_postgresql(on_sqlite: Siso) -> None:
    error = on_sqlite.expect_error("serve", "--port", "0", GATEWAY_DATABASE_READ_URL="postgresql://a:geheim@b/c")
    assert "GATEWAY_DATABASE_READ_URL: needs GATEWAY_DATABASE_URL" in error
    assert "geheim" not in error


def test_reachable_and_unreachable_replicas(on_postgresql: Siso) -> None:
    """The health check reports the replica. The gateway works without it."""
    url = on_postgresql.settings["GATEWAY_DATABASE_URL"]
    with on_postgresql.serving(GATEWAY_DATABASE_READ_URL=url) as served:
        health = served.get("/health")
        served.stop()
    assert (health["status"], health["database"]["replica"]) == ("ok", "ok")
    unreachable = "postgresql://gateway:geheim@127.0.0.1:1/nothing"
    with on_postgresql.serving(GATEWAY_DATABASE_READ_URL=unreachable) as served:
        health = served.get("/health")
        assert served.ask("{ __typename }") == {"__typename": "Query"}
        ended = served.stop()
    assert (health["status"], health["database"]["replica"]) == ("degraded", "unavailable")
    assert ended.err.count("The read replica is unavailable") == 1
    assert "geheim" not in ended.err


def test_unreachable_postgresql(unmigrated: Siso) -> None:
    ended = unmigrated.run("serve", **UNREACHABLE)
    assert ended.code == 2
    first, second, last = ended.err.splitlines()
    assert "Retrying in 0.5 s (attempt 1 of 3)" in first
    assert "Retrying in 1 s (attempt 2 of 3)" in second
    assert last.startswith("siso: PostgreSQL at 127.0.0.1:1/nothing cannot be used:")
    assert "geheim" not in ended.err


def test_unreachable_postgresql_with_a_fallback(unmigrated: Siso) -> None:
    settings = UNREACHABLE | {"GATEWAY_DATABASE_FALLBACK": "sqlite"}
    with unmigrated.serving(**settings) as served:
        health = served.get("/health")
        ended = served.stop()
    assert health["database"]["fallback"] is True
    assert health["status"] == "degraded"
    assert ended.code == 0
    assert "WARNING gateway: PostgreSQL at 127.0.0.1:1/nothing cannot be used" in ended.err
    assert "Falling back to the SQLite file" in ended.err
    assert "geheim" not in ended.err + ended.out


def test_postgresql_without_a_token_secret(on_postgresql: Siso) -> None:
    del on_postgresql.settings["GATEWAY_JWT_SECRET"]
    assert "GATEWAY_JWT_SECRET is needed" in on_postgresql.expect_error("serve", "--port", "0")


def test_the_demo_is_loaded_once(unmigrated: Siso) -> None:
    with unmigrated.serving("--demo") as served:
        answer = served.ask("{ tasks { totalCount } categories { totalCount } }", _token(served))
        first = served.stop()
    assert answer == {"tasks": {"totalCount": 300}, "categories": {"totalCount": 8}}
    assert "Loaded demo data: 2400 tasks." in first.out
    with unmigrated.serving("--demo") as served:
        assert served.ask("{ tasks { totalCount } }", _token(served)) == {"tasks": {"totalCount": 300}}
        second = served.stop()
    assert "Loaded" not in second.out


def _token(served: RunningGateway) -> str:
    """Returns the token that `serve --demo` prints after the address."""
    assert served.process.stdout is not None
    line = served.process.stdout.readline()
    assert line.startswith("As ada@example.com")
    return line.partition('"Bearer ')[2].partition('"')[0]


def test_the_demo_does_not_change_postgresql(on_postgresql: Siso) -> None:
    with on_postgresql.serving("--demo") as served:
        ended = served.stop()
    assert "so --demo loads nothing" in ended.out
    assert "There is no user ada@example.com" in on_postgresql.expect_error("token", "ada@example.com")
