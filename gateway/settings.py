"""Settings: the one place that reads the environment, ``GATEWAY_*`` and a ``.env`` file.

Built once by :func:`load_settings` and passed down, frozen. docs/settings.md is generated from this module.
"""

import base64
import difflib
import os
import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from limits import parse
from limits.errors import ConfigurationError
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from repositories.core.encryption import KEY_BYTES
from repositories.engines.database import DatabaseOptions
from resolvers.services.rate_limits import rate_limiter

PREFIX = "GATEWAY_"

_LOCAL = {("http", host) for host in ("localhost", "127.0.0.1", "::1")}


class SettingsError(Exception):
    """A setting that cannot be used; the message is one line that says which and how to mend it."""


class Settings(BaseSettings):
    """Every setting with its default. Times are seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="forbid", frozen=True, allow_inf_nan=False
    )

    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=64, description="How many processes serve requests.")
    shutdown_timeout: int = Field(
        10, ge=0, description="How long requests in flight may take after the gateway was told to stop."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe log lines shown."
    )
    graphiql: bool = Field(default=True, description="Whether a browser that opens the endpoint gets GraphiQL.")
    max_request_size: int = Field(
        1_000_000, ge=1000, description="How many bytes the body or the query string of a request may have."
    )
    max_document_tokens: int = Field(
        4000, ge=100, description="How many tokens (names, punctuation, values) the text of an operation may have."
    )
    max_batch: int = Field(
        0, ge=0, le=100, description="How many operations one request may have; 0 takes no batches (lists)."
    )
    max_operations: int = Field(
        100, ge=1, description="How many operations a process runs at once; others wait for their turn."
    )
    queue_timeout: float = Field(
        5.0, gt=0, description="How long an operation waits for its turn before the answer is 503 with `Retry-After`."
    )
    operation_timeout: float = Field(
        30.0, gt=0, description="How long an operation may take in all; then its statements are stopped."
    )
    cors_origins: str = Field(
        "",
        description="Origins of other sites whose pages may use the gateway, such as `https://app.example.com`, "
        "separated by commas; `*` allows all. Without any, only pages of its own origin may.",
    )
    server_timing: Literal["asked", "always"] = Field(
        "asked",
        description="Which answers have a `Server-Timing` header: those to requests with `X-Server-Timing`, or all.",
    )
    persisted_queries: bool = Field(
        default=True, description="Whether clients may send the hash of a document instead of its text (APQ)."
    )
    persisted_query_lifetime: int = Field(
        24 * 3600, ge=1, description="How long Redis keeps a persisted query that nobody asks for."
    )
    redis_url: SecretStr | None = Field(
        None,
        description="`redis://host`, where all processes keep persisted queries and what they cache, and tell each "
        "other of new events; without it, each keeps its own, and PostgreSQL tells them.",
    )
    subscription_queue: int = Field(
        1000, ge=1, description="How many events wait for a subscriber that is busy, before it is cut off."
    )
    subscription_replay: int = Field(
        10_000, ge=1, description="How many events are looked through for a subscriber that comes back."
    )
    live_interval: float = Field(
        1.0, ge=0, description="How long after an answer a live query waits at least before the next."
    )

    max_subscriptions: int = Field(
        200,
        ge=1,
        description="How many subscriptions a viewer, or anonymous callers of one address together, may have in a "
        "process.",
    )
    max_sockets: int = Field(100, ge=1, description="How many WebSockets, counted in the same way.")
    max_socket_operations: int = Field(
        50, ge=1, description="How many operations, subscriptions among them, one WebSocket may have open at once."
    )
    socket_init_timeout: float = Field(
        3.0, gt=0, description="How long a new WebSocket may take until it sends `connection_init`."
    )
    socket_send_timeout: float = Field(
        10.0,
        gt=0,
        description="How long a client may leave unread what it is sent, over WebSocket or HTTP, before it is cut off.",
    )
    event_stream_heartbeat: float = Field(
        15.0,
        gt=0,
        description="How often an event stream sends at least a comment, so that no proxy closes it for being silent.",
    )
    socket_ping_interval: float = Field(
        20.0, ge=0, description="How often a WebSocket is pinged, and how long its pong may take; 0 for no pings."
    )

    jobs: Literal["on", "off"] = Field(
        "on",
        description="Whether this process runs jobs when it is time (`siso jobs list`); of several processes one does.",
    )
    analytics_retention_days: int = Field(
        730, ge=400, le=100_000, description="How many days task analytics are kept; the trend of a year needs 400."
    )
    cache: Literal["auto", "memory", "redis", "off"] = Field(
        "auto",
        validate_default=True,
        description="Where dashboards and reference data are kept until they change: in the `memory` of each process, "
        "or in `redis` for all of them. `auto` takes Redis if there is a `redis_url`, else memory for one worker, else "
        "none.",
    )
    cache_lifetime: float = Field(
        60.0, gt=0, description="How long a cached value is used at most; what changes it ends it at once."
    )
    cache_entries: int = Field(
        10_000, ge=100, description="How many values and versions the cache has in a process's memory at most."
    )

    database_url: SecretStr | None = Field(
        None, description="`postgresql://user:password@host/database`; without it, the embedded SQLite file is used."
    )
    service_database_url: SecretStr | None = Field(
        None, description="The login for the gateway's own work (seeding, imports, jobs); by default `database_url`."
    )
    owner_database_url: SecretStr | None = Field(
        None,
        description="The login that owns the tables, for `siso migrate`; by default `service_database_url`, "
        "then `database_url`.",
    )
    database_read_url: SecretStr | None = Field(
        None,
        description="A streaming replica of `database_url`, one server, for viewers' queries over HTTP; without it, "
        "`database_url` answers them.",
    )
    database_read_wait: float = Field(
        0.1,
        ge=0,
        description="How long a query that brings a consistency token waits for the replica to catch up, before "
        "`database_url` answers it.",
    )
    database_path: Path = Field(Path("var/siso.sqlite3"), description="The embedded SQLite file.")
    database_fallback: Literal["none", "sqlite"] = Field(
        "none", description="With `sqlite`, the gateway starts on the SQLite file when PostgreSQL cannot be reached."
    )
    database_pool_size: int = Field(10, ge=1, le=1000, description="How many database connections a process may use.")
    database_pool_timeout: float = Field(10.0, gt=0, description="How long a request waits for a free connection.")
    database_connect_timeout: float = Field(5.0, gt=0, description="How long opening a connection may take.")
    database_statement_timeout: float = Field(15.0, gt=0, description="How long one statement may run.")
    database_pgbouncer: bool = Field(
        default=False,
        description="Set it behind PgBouncer in transaction mode: no prepared statements, no session settings.",
    )

    jwt_secret: SecretStr | None = Field(
        None,
        description="The secret that signs bearer tokens (HS256), 32 characters or more. On SQLite one is made in "
        "`jwt_secret` beside the database file if it is missing; on PostgreSQL it must be given.",
    )
    jwt_audience: str = Field("siso-gateway", min_length=1, description="The audience tokens must name.")
    token_lifetime: int = Field(12 * 3600, ge=1, description="How long a token from `siso token` is valid.")
    access_token_lifetime: int = Field(
        900,
        ge=1,
        description="How long an access token is valid; so long a role that was taken away, or a session that was "
        "revoked, may live on.",
    )
    refresh_token_lifetime: int = Field(
        30 * 24 * 3600, ge=1, description="How long a session lasts after it was last refreshed."
    )

    issuer_secret: SecretStr | None = Field(
        None, description="The secret an outside issuer signs with (HS256), such as Supabase's legacy JWT secret."
    )
    issuer_jwks_url: str | None = Field(
        None, description="Where an outside issuer publishes its keys (ES256, RS256); https, or http on this machine."
    )
    issuer_audience: str = Field(
        "authenticated", min_length=1, description="The audience that an outside issuer's tokens must name."
    )
    jwks_interval: float = Field(
        300.0, gt=0, description="The least time between two attempts to fetch an outside issuer's keys."
    )
    issuer_url: str | None = Field(
        None,
        validate_default=True,
        description="The `iss` of an outside issuer whose users may come in, such as "
        "`https://project.supabase.co/auth/v1`; needs `issuer_secret` or `issuer_jwks_url`.",
    )

    trusted_proxies: str = Field(
        "",
        description="Addresses or networks of proxies, separated by commas, whose `X-Forwarded-For` is believed; "
        "from anybody else a request's address is that of its connection.",
    )
    rate_limit_store: str = Field(
        "async+memory://",
        description="Where attempts are counted: in each process, or for all of them in a store that the library "
        "`limits` knows, such as `async+redis://host:6379`.",
    )
    password_attempts_per_account: str = Field(
        "10 per 15 minutes", description="How often a password may be tried for one account, known or not."
    )
    sign_ins_per_address: str = Field(
        "100 per 15 minutes", description="How often signing in may be tried from one address."
    )
    sign_ups_per_address: str = Field(
        "20 per hour", description="How many accounts may be tried to make from one address."
    )
    refreshes_per_address: str = Field(
        "1000 per hour", description="How often sessions may be refreshed from one address."
    )
    cost_per_minute: int = Field(
        1_000_000,
        ge=0,
        description="What one viewer's operations may cost in a minute together, and those of anonymous callers from "
        "one address; 0 for no limit.",
    )

    max_cost: int = Field(
        100_000,
        ge=1,
        description="What one operation may cost: about how many objects it asks for, by the page sizes it names, and "
        "more for what `@cost` in the contract says.",
    )
    max_depth: int = Field(15, ge=1, le=100, description="How deep the fields of an operation may be nested.")
    max_fields: int = Field(2000, ge=1, description="How many fields an operation may select, fragments spelled out.")
    max_root_fields: int = Field(50, ge=1, description="How many fields an operation may have at its root.")
    max_aliases: int = Field(100, ge=0, description="How many aliases an operation may have, fragments spelled out.")
    max_directives: int = Field(
        100, ge=0, description="How many directives an operation may have, fragments spelled out."
    )
    introspection: Literal["always", "signed_in", "never"] | None = Field(
        None,
        description="Who may ask what the contract is: `always` everybody, `signed_in` who is, `never` nobody; errors "
        "suggest names of it to the same. By default `always` on SQLite and `signed_in` on PostgreSQL.",
    )

    encryption_keys: SecretStr | None = Field(
        None,
        description="The keys of encrypted columns as `name:base64` of 32 bytes each, separated by commas. The first "
        "one encrypts, all of them decrypt: to change keys, put a new one in front and run `siso keys rotate`. On "
        "SQLite one is made in `encryption_keys` beside the database file if it is missing; on PostgreSQL encrypted "
        "columns need it.",
    )
    index_key: SecretStr | None = Field(
        None,
        description="The key by which encrypted values are looked up, base64 of 32 bytes; it cannot be changed later. "
        "On SQLite one is made in `index_key` beside the database file if it is missing.",
    )

    @field_validator("encryption_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_keys(value.get_secret_value())
        return value

    @field_validator("index_key")
    @classmethod
    def _is_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_key(value.get_secret_value())
        return value

    @field_validator("database_url", "service_database_url", "owner_database_url", "database_read_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parts = _parts(value)
            if parts.scheme not in {"postgresql", "postgres", "postgresql+asyncpg"} or not parts.path.strip("/"):
                message = "must look like postgresql://user:password@host:5432/database"
                raise ValueError(message)
        return value

    @field_validator("database_read_url")
    @classmethod
    def _has_primary(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and info.data.get("database_url") is None:
            message = "goes together with GATEWAY_DATABASE_URL"
            raise ValueError(message)
        return value

    @field_validator(
        "password_attempts_per_account", "sign_ins_per_address", "sign_ups_per_address", "refreshes_per_address"
    )
    @classmethod
    def _is_rate(cls, value: str) -> str:
        try:
            parse(value)
        except ValueError as error:
            message = "must look like `10 per 15 minutes`"
            raise ValueError(message) from error
        return value

    @field_validator("rate_limit_store")
    @classmethod
    def _is_store(cls, value: str) -> str:
        try:
            rate_limiter(value)
        except (ConfigurationError, AssertionError):  # the latter of stores that are not asynchronous
            message = "must be a store that the library `limits` can use, such as async+redis://host:6379"
            raise ValueError(message) from None
        return value

    @field_validator("cors_origins")
    @classmethod
    def _is_origins(cls, value: str) -> str:
        for origin in _listed(value):
            if origin != "*" and not re.fullmatch(r"https?://[^/?#\s@]+", origin):
                message = "must be origins such as https://app.example.com, separated by commas, without a path"
                raise ValueError(message)
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parts = _parts(value)
            is_server = parts.scheme in {"redis", "rediss"} and re.fullmatch(r"(/\d*)?", parts.path)
            if not is_server and not (parts.scheme == "unix" and parts.path.strip("/")):
                message = "must look like redis://host:6379/0, or unix:///path/of/the/socket"
                raise ValueError(message)
        return value

    @field_validator("cache")
    @classmethod
    def _has_redis(cls, value: str, info: ValidationInfo) -> str:
        if value == "redis" and not info.data.get("redis_url"):
            message = "`redis` needs GATEWAY_REDIS_URL"
            raise ValueError(message)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _is_networks(cls, value: str) -> str:
        for part in filter(None, value.replace(" ", "").split(",")):
            ip_network(part)
        return value

    @field_validator("issuer_jwks_url")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "https://x")
        if parts.scheme != "https" and (parts.scheme, parts.hostname) not in _LOCAL:
            message = "must be an https address, because keys that come over http can be anybody's"
            raise ValueError(message)
        return value

    @field_validator("issuer_url")
    @classmethod
    def _has_keys(cls, value: str | None, info: ValidationInfo) -> str | None:
        has_keys = bool(info.data.get("issuer_secret") or info.data.get("issuer_jwks_url"))
        if has_keys != (value is not None):
            message = "goes together with GATEWAY_ISSUER_SECRET or GATEWAY_ISSUER_JWKS_URL"
            raise ValueError(message)
        return value

    @field_validator("jwt_secret", "issuer_secret")
    @classmethod
    def _is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:  # noqa: PLR2004 (RFC 7518, 3.2: as long as the hash)
            message = "must have 32 characters or more; `openssl rand -hex 32` makes one"
            raise ValueError(message)
        return value

    def origins(self) -> frozenset[str]:
        """The sites whose pages may use the gateway."""
        return frozenset(_listed(self.cors_origins))

    def cache_kind(self) -> Literal["memory", "redis", "off"]:
        """Where values are cached; several processes with a memory of their own would not hear of each other."""
        if self.cache != "auto":
            return self.cache
        if self.redis_url is not None:
            return "redis"
        return "memory" if self.workers == 1 else "off"

    def introspection_for(self) -> Literal["always", "signed_in", "never"]:
        """Who may ask what the contract is."""
        return self.introspection or ("signed_in" if self.database_url else "always")

    def owner_url(self) -> str | None:
        """The login for migrations, None for SQLite."""
        url = self.owner_database_url or self.service_database_url or self.database_url
        return url.get_secret_value() if self.database_url and url else None

    def database_options(self) -> DatabaseOptions:
        """What the data floor needs of them."""
        return DatabaseOptions(
            url=self.database_url.get_secret_value() if self.database_url else None,
            service_url=self.service_database_url.get_secret_value() if self.service_database_url else None,
            read_url=self.database_read_url.get_secret_value() if self.database_read_url else None,
            read_wait=self.database_read_wait,
            sqlite_path=self.database_path,
            pool_size=self.database_pool_size,
            pool_timeout=self.database_pool_timeout,
            connect_timeout=self.database_connect_timeout,
            statement_timeout=self.database_statement_timeout,
            pgbouncer=self.database_pgbouncer,
            announces_events=self.redis_url is None,
            encryption_keys=parse_keys(self.encryption_keys.get_secret_value()) if self.encryption_keys else {},
            index_key=parse_key(self.index_key.get_secret_value()) if self.index_key else b"",
        )


def _parts(url: SecretStr) -> SplitResult:
    """Those of a URL; none of one whose port is no number."""
    try:
        parts = urlsplit(url.get_secret_value())
        _ = parts.port
    except ValueError:
        return urlsplit("")
    return parts


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_keys(text: str) -> dict[str, bytes]:
    """The keys in ``name:base64,name:base64``, in their order, or ValueError."""
    keys: dict[str, bytes] = {}
    for part in text.split(","):
        name, _, body = part.strip().partition(":")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name) or name in keys:
            message = "must be name:base64,name:base64 with different names of letters, digits, - and _"
            raise ValueError(message)
        keys[name] = parse_key(body)
    return keys


def parse_key(text: str) -> bytes:
    """A key in base64, or ValueError."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        message = f"must be base64 of {KEY_BYTES} bytes; `openssl rand -base64 {KEY_BYTES}` makes a key"
        raise ValueError(message)
    return key


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings, or SettingsError with one line for the first thing that is wrong."""
    for name in os.environ if environment is None else environment:
        known = name.removeprefix(PREFIX).lower()
        if name.startswith(PREFIX) and known not in Settings.model_fields:
            raise SettingsError(_unknown(name))
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        if first["type"] == "extra_forbidden":
            raise SettingsError(_unknown(name.upper())) from None
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{PREFIX}{name.upper()}: {message}. See docs/settings.md.") from None


def _unknown(name: str) -> str:
    names = [f"{PREFIX}{field.upper()}" for field in Settings.model_fields]
    near = difflib.get_close_matches(name.upper(), names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{name}: there is no such setting.{hint} See docs/settings.md."
