"""`siso doctor`: one line for each thing that can be wrong, with how to mend it."""

import asyncio
import os
import stat
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import typer

from gateway.auth.keys import ENCRYPTION_KEYS, INDEX_KEY, database_options
from gateway.auth.tokens import JWT_SECRET, signing_key
from gateway.cli.console import CommandError, redacted, say
from gateway.cli.ready import place, refuse_unmigrated, why
from gateway.settings import Settings, SettingsError, load_settings
from repositories import inspection
from repositories.core.errors import ServiceUnavailable


class Verdict(Enum):
    """How something is. Only WRONG ends with exit code 1."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


class Finding(NamedTuple):
    """What was looked at, and how it is."""

    verdict: Verdict
    what: str
    text: str


def doctor() -> None:
    """Looks at everything and prints what it finds."""
    is_well = True
    for finding in _findings():
        say(redacted(f"{finding.verdict.value:8} {finding.what:12} {finding.text}"))
        is_well = is_well and finding.verdict is not Verdict.WRONG
    if not is_well:
        raise typer.Exit(1)


def _findings() -> Iterator[Finding]:
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Finding(Verdict.WRONG, "settings", str(error))
        return
    yield Finding(Verdict.OK, "settings", "all known and well-formed")
    yield _secret(settings)
    yield _keys(settings)
    if settings.redis_url is not None:
        yield _redis(settings.redis_url.get_secret_value(), settings.database_connect_timeout)
    yield from _database(settings)


def _unmade(settings: Settings, *names: str) -> Finding | None:
    """Of secrets that a gateway on SQLite makes for itself: that it did not yet. Looking must not make them."""
    folder = settings.database_path.parent
    missing = [name for name in names if not (folder / name).exists()] if settings.database_url is None else []
    if not missing:
        return None
    return Finding(Verdict.OK, "secrets", f"the first start makes {' and '.join(missing)} in {folder}")


def _secret(settings: Settings) -> Finding:
    if settings.jwt_secret is None and (unmade := _unmade(settings, JWT_SECRET)):
        return unmade._replace(what="token secret")
    try:
        signing_key(settings)
    except (SettingsError, OSError) as error:
        return Finding(Verdict.WRONG, "token secret", str(error))
    source = "GATEWAY_JWT_SECRET" if settings.jwt_secret else f"{settings.database_path.parent / JWT_SECRET}"
    return Finding(Verdict.OK, "token secret", f"from {source}")


def _keys(settings: Settings) -> Finding:
    given = {ENCRYPTION_KEYS: settings.encryption_keys, INDEX_KEY: settings.index_key}
    if unmade := _unmade(settings, *(name for name, value in given.items() if value is None)):
        return unmade._replace(what="keys")
    try:
        options = database_options(settings)
    except (SettingsError, OSError) as error:
        return Finding(Verdict.WRONG, "keys", str(error))
    if not options.encryption_keys:
        mend = "Set GATEWAY_ENCRYPTION_KEYS and GATEWAY_INDEX_KEY, see docs/settings.md"
        return Finding(Verdict.WRONG, "keys", f"encrypted columns cannot be used without. {mend}")
    current, *older = options.encryption_keys
    return Finding(Verdict.OK, "keys", f"{current} encrypts" + (f"; {', '.join(older)} may decrypt" if older else ""))


def _redis(url: str, timeout: float) -> Finding:
    """Without it the gateway works, but slower."""
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        with Redis.from_url(url, socket_connect_timeout=timeout, socket_timeout=timeout) as client:
            client.ping()
    except (RedisError, OSError) as error:
        mend = "Nothing is cached meanwhile. Check GATEWAY_REDIS_URL and that it is running"
        return Finding(Verdict.WARNING, "redis", f"cannot be used: {why(error)}. {mend}")
    return Finding(Verdict.OK, "redis", "it answers")


def _readers(path: Path) -> Iterator[Finding]:
    """Whether others on this machine may read the database file; Windows knows no such permissions."""
    if os.name == "posix" and path.exists():
        others = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        if others:
            yield Finding(Verdict.WARNING, "file", f"others on this machine may read it. Mend: chmod 600 {path}")
        else:
            yield Finding(Verdict.OK, "file", "for its owner alone")


def _database(settings: Settings) -> Iterator[Finding]:
    url = settings.database_url.get_secret_value() if settings.database_url else None
    timeout = settings.database_connect_timeout
    is_open, found = True, None
    try:
        found = asyncio.run(inspection.stored_revision(url, settings.database_path, timeout=timeout))
    except inspection.MissingGrant:
        is_open = False
    except ServiceUnavailable as error:
        hint = "Check GATEWAY_DATABASE_URL and that it is running." if url else "Check GATEWAY_DATABASE_PATH."
        yield Finding(Verdict.WRONG, "database", f"{place(settings)} cannot be used: {why(error)}. {hint}")
        return
    yield Finding(Verdict.OK, "database", place(settings))
    if is_open:
        yield _migrations(found)
    if url is None:
        yield from _readers(settings.database_path)
        yield Finding(Verdict.OK, "roles", "SQLite has none; the policies are part of every statement")
        return
    yield from _login("login", url, timeout, service=False)
    service_url = settings.service_database_url.get_secret_value() if settings.service_database_url else url
    yield from _login("service login", service_url, timeout, service=True)
    if settings.database_read_url is not None:
        yield from _replica(url, settings.database_read_url.get_secret_value(), timeout)
    if found is not None:
        yield _policies(url, timeout)


def _migrations(found: str | None) -> Finding:
    try:
        refuse_unmigrated(found)
    except CommandError as error:
        return Finding(Verdict.WRONG, "migrations", str(error))
    return Finding(Verdict.OK, "migrations", f"at revision {found}, the newest")


def _login(what: str, url: str, timeout: float, *, service: bool) -> Iterator[Finding]:
    try:
        login = asyncio.run(inspection.inspect_login(url, service=service, timeout=timeout))
    except ServiceUnavailable as error:
        yield Finding(Verdict.WRONG, what, f"cannot be used: {why(error)}. Check GATEWAY_SERVICE_DATABASE_URL.")
        return
    if login.missing_roles:
        roles = ", ".join(login.missing_roles)
        mend = f"Migrate first, then as the owner: GRANT {roles} TO {login.name}"
        yield Finding(Verdict.WRONG, what, f"{login.name} may not become {roles}. {mend}")
    elif login.is_superuser or login.bypasses_policies:
        power = "is a superuser" if login.is_superuser else "has BYPASSRLS"
        mend = f"Use another, or: ALTER ROLE {login.name} NOSUPERUSER NOBYPASSRLS"
        yield Finding(Verdict.WARNING, what, f"{login.name} {power}, which row-level security does not bind. {mend}")
    else:
        needed = "service_role" if service else "anon and authenticated"
        yield Finding(Verdict.OK, what, f"{login.name} may become {needed}, and no more")


def _replica(url: str, read_url: str, timeout: float) -> Iterator[Finding]:
    """Without it the gateway works, but for the primary's load."""
    try:
        found = asyncio.run(inspection.inspect_replica(url, read_url, timeout=timeout))
    except ServiceUnavailable as error:
        mend = "The primary answers for it. Check GATEWAY_DATABASE_READ_URL and that it is running"
        yield Finding(Verdict.WARNING, "replica", f"cannot be used: {why(error)}. {mend}")
        return
    mend = "Set GATEWAY_DATABASE_READ_URL to a streaming replica of GATEWAY_DATABASE_URL"
    if not found.is_of_primary:
        yield Finding(Verdict.WRONG, "replica", f"it is another database's. {mend}")
    elif not found.is_replica:
        yield Finding(Verdict.WARNING, "replica", f"it is none, it takes writes. {mend}")
    else:
        yield Finding(Verdict.OK, "replica", f"it answers, {found.bytes_behind} bytes behind")
    yield from _login("read login", read_url, timeout, service=False)


def _policies(url: str, timeout: float) -> Finding:
    try:
        tables = asyncio.run(inspection.tables_without_forced_rls(url, timeout=timeout))
    except ServiceUnavailable as error:
        return Finding(Verdict.WRONG, "policies", why(error))
    if tables:
        names = ", ".join(tables)
        mend = "For each: ALTER TABLE ... ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
        return Finding(Verdict.WRONG, "policies", f"not on or not forced on {names}. {mend}")
    return Finding(Verdict.OK, "policies", "row-level security is on and forced on every table")
