"""`siso doctor`: its findings about healthy and misconfigured gateways."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.api.mailbox import check_password, mail_server
from tests.cli.siso import Siso
from tests.databases import Server, Standby, postgres_server
from tests.stores import redis_server


def findings(siso: Siso, *, code: int, **settings: str) -> dict[str, tuple[str, str]]:
    """Runs `siso doctor` and returns its verdicts and texts by the name of the check."""
    ended = siso.run("doctor", **settings)
    assert ended.code == code, ended
    assert ended.err == ""
    return {line[9:22].strip(): (line[:8].strip(), line[22:]) for line in ended.out.splitlines()}


def test_a_healthy_gateway(siso: Siso) -> None:
    found = findings(siso, code=0)
    verdict, text = found.pop("e-mail")
    texts = {"ok": "messages are logged", "warning": "Set GATEWAY_SMTP_URL, GATEWAY_MAIL_FROM and GATEWAY_APP_URL"}
    assert verdict == ("warning" if "GATEWAY_DATABASE_URL" in siso.settings else "ok")
    assert texts[verdict] in text
    assert {verdict for verdict, _ in found.values()} == {"ok"}
    assert {"settings", "token secret", "database", "migrations"} < set(found)


def test_doctor_creates_no_files(unmigrated: Siso) -> None:
    """It says that the first start creates the secrets and keys."""
    found = findings(unmigrated, code=1)
    assert found["token secret"] == ("ok", "the first start creates jwt_secret in var")
    assert found["keys"] == ("ok", "the first start creates encryption_keys and index_key in var")
    assert list(unmigrated.folder.iterdir()) == []


def test_files_of_the_gateway_are_accessible_only_to_their_owner(unmigrated: Siso) -> None:
    """The folder, the database, the files that SQLite creates beside it, and the secrets. Doctor warns about others."""
    unmigrated.expect_output("migrate", "up")
    unmigrated.expect_output("seed", "--demo", "--users", "1", "--tasks", "1")
    folder = unmigrated.folder / "var"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert findings(unmigrated, code=0)["file"] == ("ok", "only its owner has access to it")
    (folder / "siso.sqlite3").chmod(0o644)
    verdict, text = findings(unmigrated, code=0)["file"]
    assert (verdict, "chmod 600" in text) == ("warning", True)


def test_an_unmigrated_sqlite_database(unmigrated: Siso) -> None:
    verdict, text = findings(unmigrated, code=1)["migrations"]
    assert (verdict, "siso migrate up" in text) == ("error", True)


def test_invalid_settings(unmigrated: Siso) -> None:
    verdict, text = findings(unmigrated, code=1, GATEWAY_PORT="many")["settings"]
    assert (verdict, "GATEWAY_PORT" in text) == ("error", True)


def test_unreachable_postgresql(unmigrated: Siso) -> None:
    found = findings(unmigrated, code=1, GATEWAY_DATABASE_URL="postgresql://a:geheim@127.0.0.1:1/b")
    assert found["database"][0] == found["token secret"][0] == "error"
    assert "geheim" not in str(found)


def test_a_login_without_the_viewers_roles(on_postgresql: Siso) -> None:
    service = on_postgresql.settings["GATEWAY_SERVICE_DATABASE_URL"]
    found = findings(on_postgresql, code=1, GATEWAY_DATABASE_URL=service)
    verdict, text = found["login"]
    assert verdict == "error"
    assert "GRANT siso_viewer, siso_writer TO service" in text


def test_a_login_without_any_grant(on_postgresql: Siso, server: Server) -> None:
    """This is the state between the first migration and the grant that follows it."""
    server.sql("CREATE ROLE newcomer LOGIN")
    try:
        url = on_postgresql.settings["GATEWAY_DATABASE_URL"].replace("//gateway:", "//newcomer:")
        found = findings(on_postgresql, code=1, GATEWAY_DATABASE_URL=url)
        error = on_postgresql.expect_error("serve", GATEWAY_DATABASE_URL=url)
    finally:
        server.sql("DROP ROLE newcomer")
    verdict, text = found["login"]
    assert (verdict, "GRANT siso_viewer, siso_writer TO newcomer" in text) == ("error", True)
    assert found["database"][0] == found["service login"][0] == "ok"
    assert "migrations" not in found
    assert " cannot switch to the viewers' roles yet. " in error
    assert error.endswith(" As the owner of the tables: GRANT siso_viewer, siso_writer TO newcomer.")


def test_reachable_and_unreachable_redis(siso: Siso, tmp_path: Path) -> None:
    assert "redis" not in findings(siso, code=0)
    with redis_server(tmp_path) as socket:
        assert findings(siso, code=0, GATEWAY_REDIS_URL=f"unix://{socket}")["redis"] == ("ok", "it responds")
    verdict, text = findings(siso, code=0, GATEWAY_REDIS_URL="redis://:geheim@127.0.0.1:1")["redis"]
    assert (verdict, "Check GATEWAY_REDIS_URL" in text, "geheim" in text) == ("warning", True, False)


def test_reachable_and_unreachable_mail_server(siso: Siso) -> None:
    """Doctor signs in to the server. It prints neither the password nor the server's reply."""
    sender = {"GATEWAY_MAIL_FROM": "no-reply@example.com"}
    with mail_server(authenticator=check_password("geheim"), auth_require_tls=False) as port:
        url = f"smtp://user:geheim@127.0.0.1:{port}"
        found = findings(siso, code=0, GATEWAY_SMTP_URL=url, GATEWAY_APP_URL="https://app.example.com", **sender)
        assert found["e-mail"] == ("ok", "the server responds")
        assert "instead of links" in findings(siso, code=0, GATEWAY_SMTP_URL=url, **sender)["e-mail"][1]
        wrong = findings(siso, code=0, GATEWAY_SMTP_URL=url.replace("geheim", "falsch"), **sender)["e-mail"]
    fix = "Messages wait in the outbox. Check GATEWAY_SMTP_URL and that the server is running"
    assert wrong == ("warning", f"the server cannot be used: SMTPAuthenticationError 535. {fix}")
    down = findings(siso, code=0, GATEWAY_SMTP_URL=url, **sender)["e-mail"]
    assert down == ("warning", f"the server cannot be used: SMTPConnectError. {fix}")


def test_invitations_without_a_mail_server_are_an_error(on_postgresql: Siso) -> None:
    verdict, text = findings(on_postgresql, code=1, GATEWAY_SIGN_UP="invite")["e-mail"]
    assert (verdict, text[:27]) == ("error", "no invitations can be sent,")


def test_a_service_login_without_the_service_role(on_postgresql: Siso) -> None:
    found = findings(on_postgresql, code=1, GATEWAY_SERVICE_DATABASE_URL=on_postgresql.settings["GATEWAY_DATABASE_URL"])
    verdict, text = found["service login"]
    assert verdict == "error"
    assert "GRANT service_role TO gateway" in text


def test_a_superuser_login_causes_a_warning(on_postgresql: Siso) -> None:
    url = on_postgresql.settings["GATEWAY_DATABASE_URL"].replace("//gateway:", "//postgres:")
    verdict, text = findings(on_postgresql, code=0, GATEWAY_DATABASE_URL=url)["login"]
    assert (verdict, "is a superuser" in text) == ("warning", True)


def test_a_table_without_forced_row_level_security(on_postgresql: Siso, server: Server) -> None:
    url = on_postgresql.settings["GATEWAY_DATABASE_URL"]
    name = url.partition("@/")[2].partition("?")[0]
    server.sql("ALTER TABLE life_lock.tasks NO FORCE ROW LEVEL SECURITY", database=name)
    verdict, text = findings(on_postgresql, code=1)["policies"]
    assert (verdict, "life_lock.tasks" in text) == ("error", True)
    assert "life_lock.categories" not in text


def test_database_that_folds_ascii_letters_only(on_postgresql: Siso, server: Server) -> None:
    name = on_postgresql.settings["GATEWAY_DATABASE_URL"].partition("@/")[2].partition("?")[0]
    assert findings(on_postgresql, code=0)["search"] == (
        "ok",
        "upper and lower case are equal for letters beyond ASCII too",
    )
    server.sql(
        "CREATE OR REPLACE FUNCTION public.fold(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE "
        'AS $$ SELECT lower($1 COLLATE "C") $$',
        database=name,
    )
    verdict, text = findings(on_postgresql, code=0)["search"]
    assert (verdict, "letters such as \u00c9 differ" in text) == ("warning", True)
    server.sql("DROP FUNCTION public.fold", database=name)
    assert findings(on_postgresql, code=0)["search"] == (
        "warning",
        "not checked, because migration 0032 is not applied",
    )


def test_other_clients_that_may_do_more_than_read(on_postgresql: Siso, server: Server) -> None:
    """Doctor prints the statements that revoke it. A place for their own objects alone is a warning."""
    name = on_postgresql.settings["GATEWAY_DATABASE_URL"].partition("@/")[2].partition("?")[0]
    assert findings(on_postgresql, code=0)["clients"] == ("ok", "anon and authenticated can read, and change nothing")
    server.sql(f"GRANT TEMPORARY ON DATABASE {name} TO PUBLIC", "GRANT CREATE ON SCHEMA public TO anon", database=name)
    verdict, text = findings(on_postgresql, code=0)["clients"]
    assert verdict == "warning"
    assert text == (
        "anon or authenticated may do more than read. As the owner, run: "
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC, anon, authenticated; "
        f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC, anon, authenticated"
    )
    server.sql(
        "GRANT ALL ON public.domain_events TO authenticated",
        "GRANT UPDATE (title) ON life_lock.tasks TO PUBLIC",
        "GRANT SELECT (password_hash) ON identity.users TO authenticated",
        "GRANT EXECUTE ON FUNCTION gamification.reward_redemptions_take() TO PUBLIC",
        database=name,
    )
    verdict, text = findings(on_postgresql, code=1)["clients"]
    assert verdict == "error"
    revoked = re.findall(r"REVOKE (.+?) FROM PUBLIC, anon, authenticated", text)
    assert sorted(revoked) == [
        "CREATE ON SCHEMA public",
        "DELETE, INSERT, REFERENCES, TRIGGER, TRUNCATE, UPDATE ON public.domain_events",
        "EXECUTE ON FUNCTION gamification.reward_redemptions_take()",
        "SELECT (password_hash) ON identity.users",
        f"TEMPORARY ON DATABASE {name}",
        "UPDATE ON life_lock.tasks",
    ]
    server.sql(*(f"REVOKE {right} FROM PUBLIC, anon, authenticated" for right in revoked), database=name)
    assert findings(on_postgresql, code=0)["clients"][0] == "ok"


def test_an_unmigrated_postgresql_database(on_postgresql: Siso) -> None:
    on_postgresql.expect_output("migrate", "down", "base", "--yes")
    found = findings(on_postgresql, code=1)
    assert found["migrations"][0] == "error"


@pytest.fixture
def replica_url(on_postgresql: Siso, server: Server, running_standby: Standby) -> str:
    """The URL of the gateway's login on the replica, which has replayed everything."""
    asyncio.run(running_standby.catch_up())
    primary, replica = (url.partition("?")[2] for url in (server.url, running_standby.url))
    return on_postgresql.settings["GATEWAY_DATABASE_URL"].replace(primary, replica)


def test_a_lagging_and_an_unreachable_replica(on_postgresql: Siso, running_standby: Standby, replica_url: str) -> None:
    """Doctor reports the replica lag. An unreachable replica is a warning, because the gateway works without it."""
    found = findings(on_postgresql, code=0, GATEWAY_DATABASE_READ_URL=replica_url)
    del found["e-mail"]
    assert {verdict for verdict, _ in found.values()} == {"ok"}
    assert found["read login"] == found["login"]
    asyncio.run(running_standby.pause())
    on_postgresql.expect_output("seed", "--demo", "--users", "2", "--tasks", "20")
    verdict, text = findings(on_postgresql, code=0, GATEWAY_DATABASE_READ_URL=replica_url)["replica"]
    asyncio.run(running_standby.resume())
    behind = re.fullmatch(r"it responds and is (\d+) bytes behind", text)
    assert verdict == "ok"
    assert behind is not None
    assert int(behind[1]) > 1000
    running_standby.stop()
    verdict, text = findings(on_postgresql, code=0, GATEWAY_DATABASE_READ_URL=replica_url)["replica"]
    running_standby.start()
    assert (verdict, "The primary serves its reads" in text) == ("warning", True)


def test_a_server_that_is_not_a_replica(on_postgresql: Siso) -> None:
    """The primary itself is a warning. Another server is an error, because its WAL positions cannot be compared."""
    url = on_postgresql.settings["GATEWAY_DATABASE_URL"]
    verdict, text = findings(on_postgresql, code=0, GATEWAY_DATABASE_READ_URL=url)["replica"]
    assert (verdict, text[:40]) == ("warning", "it is not a replica, it accepts writes. ")
    with postgres_server() as other:
        other_url = other.login("gateway", "postgres")
        verdict, text = findings(on_postgresql, code=1, GATEWAY_DATABASE_READ_URL=other_url)["replica"]
    assert (verdict, text[:30]) == ("error", "it belongs to another primary.")


def test_a_superuser_login_on_the_replica_causes_a_warning(on_postgresql: Siso, replica_url: str) -> None:
    """Row-level security would not apply to the queries on the replica."""
    url = replica_url.replace("//gateway:", "//postgres:")
    verdict, text = findings(on_postgresql, code=0, GATEWAY_DATABASE_READ_URL=url)["read login"]
    assert (verdict, "is a superuser" in text) == ("warning", True)
