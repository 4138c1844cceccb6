"""`siso doctor`: one line for each part of the configuration, with the fix for each problem."""

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
from gateway.cli.console import CommandError, print_result, redact_passwords
from gateway.cli.preconditions import database_location, failure_reason, require_newest_revision
from gateway.settings import Settings, SettingsError, load_settings
from repositories import inspection
from repositories.core.errors import ServiceUnavailable
from repositories.sql.policy import SERVICE_ROLE, VIEWER, WRITER
from resolvers.services.mail import MailDeferred
from resolvers.services.smtp import SMTPTransport


class Severity(Enum):
    """An error makes the command exit with code 1; with a warning, the gateway works but not as well as it could."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """The result of one check; ``subject`` is the part of the configuration that was checked."""

    severity: Severity
    subject: str
    text: str


def doctor() -> None:
    """Runs all checks and prints their findings; exits with code 1 if one is an error."""
    has_error = False
    for finding in _findings():
        print_result(redact_passwords(f"{finding.severity.value:8} {finding.subject:12} {finding.text}"))
        has_error = has_error or finding.severity is Severity.ERROR
    if has_error:
        raise typer.Exit(1)


def _findings() -> Iterator[Finding]:
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Finding(Severity.ERROR, "settings", str(error))
        return
    yield Finding(Severity.OK, "settings", "all names are known and all values are valid")
    yield _check_token_secret(settings)
    yield _check_keys(settings)
    yield _check_mail(settings)
    if settings.redis_url is not None:
        yield _check_redis(settings.redis_url.get_secret_value(), settings.database_connect_timeout)
    yield from _check_database(settings)


def _secrets_to_create(settings: Settings, subject: str, *names: str) -> Finding | None:
    """Names the secret files that a gateway on SQLite creates at its first start; the doctor must not create them."""
    folder = settings.database_path.parent
    missing = [name for name in names if not (folder / name).exists()] if settings.database_url is None else []
    if not missing:
        return None
    return Finding(Severity.OK, subject, f"the first start creates {' and '.join(missing)} in {folder}")


def _check_token_secret(settings: Settings) -> Finding:
    subject = "token secret"
    if settings.jwt_secret is None and (pending := _secrets_to_create(settings, subject, JWT_SECRET)):
        return pending
    try:
        signing_key(settings)
    except (SettingsError, OSError) as error:
        return Finding(Severity.ERROR, subject, str(error))
    source = "GATEWAY_JWT_SECRET" if settings.jwt_secret else f"{settings.database_path.parent / JWT_SECRET}"
    return Finding(Severity.OK, subject, f"from {source}")


def _check_keys(settings: Settings) -> Finding:
    configured = {ENCRYPTION_KEYS: settings.encryption_keys, INDEX_KEY: settings.index_key}
    missing = (name for name, value in configured.items() if value is None)
    if pending := _secrets_to_create(settings, "keys", *missing):
        return pending
    try:
        options = database_options(settings)
    except (SettingsError, OSError) as error:
        return Finding(Severity.ERROR, "keys", str(error))
    if not options.encryption_keys:
        fix = "Set GATEWAY_ENCRYPTION_KEYS and GATEWAY_INDEX_KEY, see docs/settings.md"
        return Finding(Severity.ERROR, "keys", f"encrypted columns cannot be used without keys. {fix}")
    current, *older = options.encryption_keys
    also = f"; {', '.join(older)} can still decrypt" if older else ""
    return Finding(Severity.OK, "keys", f"{current} encrypts{also}")


def _check_redis(url: str, timeout: float) -> Finding:
    """An unreachable Redis is a warning: the gateway works without it, but slower."""
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        with Redis.from_url(url, socket_connect_timeout=timeout, socket_timeout=timeout) as client:
            client.ping()
    except (RedisError, OSError) as error:
        fix = "Without it, nothing is cached. Check GATEWAY_REDIS_URL and that Redis is running"
        return Finding(Severity.WARNING, "redis", f"cannot be used: {failure_reason(error)}. {fix}")
    return Finding(Severity.OK, "redis", "it responds")


def _check_mail(settings: Settings) -> Finding:
    """A gateway without e-mails works, but its users cannot reset their passwords, and nobody can be invited."""
    subject = "e-mail"
    if settings.smtp_url is None and settings.database_url is None:
        return Finding(Severity.OK, subject, "messages are logged instead of sent, which is for development only")
    if settings.smtp_url is None:
        fix = "Set GATEWAY_SMTP_URL, GATEWAY_MAIL_FROM and GATEWAY_APP_URL"
        if settings.sign_up == "invite":
            return Finding(Severity.ERROR, subject, f"no invitations can be sent, so nobody can sign up. {fix}")
        text = f"none can be sent: addresses are not verified, and passwords cannot be reset. {fix}"
        return Finding(Severity.WARNING, subject, text)
    try:
        asyncio.run(SMTPTransport(settings.smtp_url.get_secret_value()).check())
    except MailDeferred as error:
        fix = "Messages wait in the outbox. Check GATEWAY_SMTP_URL and that the server is running"
        return Finding(Severity.WARNING, subject, f"the server cannot be used: {error.reason}. {fix}")
    if settings.app_url is None:
        text = "the server responds; messages contain codes instead of links, because GATEWAY_APP_URL is not set"
        return Finding(Severity.OK, subject, text)
    return Finding(Severity.OK, subject, "the server responds")


def _check_file_mode(path: Path) -> Iterator[Finding]:
    """Checks that only the owner can access the database file. Windows has no such permissions."""
    if os.name == "posix" and path.exists():
        others = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        if others:
            fix = f"Run: chmod 600 {path}"
            yield Finding(Severity.WARNING, "file", f"other users of this machine have access to it. {fix}")
        else:
            yield Finding(Severity.OK, "file", "only its owner has access to it")


def _check_database(settings: Settings) -> Iterator[Finding]:
    url = settings.database_url.get_secret_value() if settings.database_url else None
    timeout = settings.database_connect_timeout
    is_granted, revision = True, None
    try:
        revision = asyncio.run(inspection.fetch_revision(url, settings.database_path, timeout=timeout))
    except inspection.MissingGrant:
        is_granted = False
    except ServiceUnavailable as error:
        fix = "Check GATEWAY_DATABASE_URL and that the server is running." if url else "Check GATEWAY_DATABASE_PATH."
        text = f"{database_location(settings)} cannot be used: {failure_reason(error)}. {fix}"
        yield Finding(Severity.ERROR, "database", text)
        return
    yield Finding(Severity.OK, "database", database_location(settings))
    if is_granted:
        yield _check_migrations(revision)
    if url is None:
        yield from _check_file_mode(settings.database_path)
        yield Finding(Severity.OK, "roles", "SQLite has no roles; every statement contains the policies instead")
    else:
        yield from _check_postgresql(settings, url, is_migrated=revision is not None)


def _check_migrations(revision: str | None) -> Finding:
    try:
        require_newest_revision(revision)
    except CommandError as error:
        return Finding(Severity.ERROR, "migrations", str(error))
    return Finding(Severity.OK, "migrations", f"at revision {revision}, the newest")


def _check_postgresql(settings: Settings, url: str, *, is_migrated: bool) -> Iterator[Finding]:
    timeout = settings.database_connect_timeout
    yield from _check_login("login", url, timeout, setting="GATEWAY_DATABASE_URL")
    service_url = settings.service_database_url.get_secret_value() if settings.service_database_url else url
    yield from _check_login(
        "service login", service_url, timeout, setting="GATEWAY_SERVICE_DATABASE_URL", is_service=True
    )
    if settings.database_read_url is not None:
        yield from _check_replica(url, settings.database_read_url.get_secret_value(), timeout)
    if is_migrated:
        checks = {"policies": _check_policies, "clients": _check_clients, "search": _check_search}
        for subject, check in checks.items():
            try:
                yield check(url, timeout)
            except ServiceUnavailable as error:
                yield Finding(Severity.ERROR, subject, failure_reason(error))


def _check_login(
    subject: str, url: str, timeout: float, *, setting: str, is_service: bool = False
) -> Iterator[Finding]:
    """Checks that the login can switch to its roles and that row-level security applies to it."""
    try:
        login = asyncio.run(inspection.inspect_login(url, service=is_service, timeout=timeout))
    except ServiceUnavailable as error:
        yield Finding(Severity.ERROR, subject, f"cannot be used: {failure_reason(error)}. Check {setting}.")
        return
    if login.missing_roles:
        roles = ", ".join(login.missing_roles)
        fix = f"Migrate first, then run as the owner of the tables: GRANT {roles} TO {login.name}"
        yield Finding(Severity.ERROR, subject, f"{login.name} cannot switch to {roles}. {fix}")
    elif login.is_superuser or login.bypasses_policies:
        power = "is a superuser" if login.is_superuser else "has BYPASSRLS"
        fix = f"Use another login, or run: ALTER ROLE {login.name} NOSUPERUSER NOBYPASSRLS"
        yield Finding(
            Severity.WARNING, subject, f"{login.name} {power}, so row-level security does not apply to it. {fix}"
        )
    else:
        roles = SERVICE_ROLE if is_service else f"{VIEWER} and {WRITER}"
        yield Finding(Severity.OK, subject, f"{login.name} can switch to {roles} and cannot bypass row-level security")


def _check_replica(url: str, read_url: str, timeout: float) -> Iterator[Finding]:
    """An unreachable replica is a warning: the primary then serves its reads."""
    try:
        replica = asyncio.run(inspection.inspect_replica(url, read_url, timeout=timeout))
    except ServiceUnavailable as error:
        fix = "The primary serves its reads. Check GATEWAY_DATABASE_READ_URL and that the replica is running"
        yield Finding(Severity.WARNING, "replica", f"cannot be used: {failure_reason(error)}. {fix}")
        return
    fix = "Set GATEWAY_DATABASE_READ_URL to a streaming replica of GATEWAY_DATABASE_URL"
    if not replica.is_of_primary:
        yield Finding(Severity.ERROR, "replica", f"it belongs to another primary. {fix}")
    elif not replica.is_replica:
        yield Finding(Severity.WARNING, "replica", f"it is not a replica, it accepts writes. {fix}")
    else:
        yield Finding(Severity.OK, "replica", f"it responds and is {replica.bytes_behind} bytes behind")
    yield from _check_login("read login", read_url, timeout, setting="GATEWAY_DATABASE_READ_URL")


def _check_policies(url: str, timeout: float) -> Finding:
    tables = asyncio.run(inspection.tables_without_forced_rls(url, timeout=timeout))
    if tables:
        names = ", ".join(tables)
        fix = "For each, run: ALTER TABLE ... ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
        return Finding(Severity.ERROR, "policies", f"row-level security is not enabled or not forced on {names}. {fix}")
    return Finding(Severity.OK, "policies", "row-level security is enabled and forced on every table")


def _check_search(url: str, timeout: float) -> Finding:
    folds = asyncio.run(inspection.folds_all_letters(url, timeout=timeout))
    if folds is None:
        return Finding(Severity.WARNING, "search", "not checked, because migration 0032 is not applied")
    if not folds:
        fix = "Use PostgreSQL 17 or later, or one with ICU, and create the function fold again as in migration 0032"
        return Finding(Severity.WARNING, "search", f"upper and lower case of letters such as \u00c9 differ. {fix}")
    return Finding(Severity.OK, "search", "upper and lower case are equal for letters beyond ASCII too")


def _check_clients(url: str, timeout: float) -> Finding:
    """Checks that other clients of the database can only read. A place for their own objects alone is a warning."""
    rights = asyncio.run(inspection.excessive_client_rights(url, timeout=timeout))
    if not rights:
        return Finding(Severity.OK, "clients", "anon and authenticated can read, and change nothing")
    is_harmless = all(right.startswith(("CREATE ON", "TEMPORARY ON")) for right in rights)
    fix = f"As the owner, run: {'; '.join(f'REVOKE {right} FROM PUBLIC, anon, authenticated' for right in rights)}"
    severity = Severity.WARNING if is_harmless else Severity.ERROR
    return Finding(severity, "clients", f"anon or authenticated may do more than read. {fix}")
