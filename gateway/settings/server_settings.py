"""Settings of the server: processes, requests, subscriptions, jobs, Redis and the cache."""

from typing import Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from gateway.settings.value_types import Networks, Origins, RedisURL, split_list


class ServerSettings(BaseModel):
    host: str = Field("127.0.0.1", description="Address to listen on. `0.0.0.0` listens on all IPv4 interfaces.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on. 0 selects a free port.")
    workers: int = Field(1, ge=1, le=64, description="Number of processes that serve requests.")
    shutdown_timeout: int = Field(
        10, ge=0, description="Seconds that running requests may take to finish after the gateway is told to stop."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum severity of log messages."
    )
    graphiql: bool = Field(default=True, description="Whether browsers that open the endpoint get GraphiQL.")
    max_request_size: int = Field(1_000_000, ge=1000, description="Maximum size of the body of a request, in bytes.")
    max_connections: int | None = Field(
        None,
        ge=1,
        description="Maximum number of client connections of a process. Further connections get status 503. The "
        "default is the process's limit of open files minus 100 and minus twice `GATEWAY_DATABASE_POOL_SIZE`, at most "
        "10,000.",
    )
    max_connections_per_address: int = Field(
        256,
        ge=1,
        description="Maximum number of connections of a process from one IP address; an IPv6 network of 64 bits counts "
        "as one address. It does not apply to `GATEWAY_TRUSTED_PROXIES`.",
    )
    head_timeout: float = Field(
        10.0,
        gt=0,
        description="Seconds in which the URL and the headers of a request must arrive. For the first request, they "
        "count from the start of the connection.",
    )
    min_upload_rate: int = Field(
        1000,
        ge=0,
        description="Bytes per second with which a body must arrive. A client that is slower for 10 seconds gets "
        "status 408. 0 switches the limit off.",
    )
    max_document_tokens: int = Field(
        4000,
        ge=100,
        description="Maximum number of tokens (names, punctuation, values) in the text of an operation.",
    )
    max_batch: int = Field(
        0,
        ge=0,
        le=100,
        description="Maximum number of operations in a batch (a JSON list of operations). 0 rejects batches.",
    )
    max_operations: int = Field(
        100,
        ge=1,
        description="Maximum number of operations that a process runs at the same time. Other operations wait.",
    )
    queue_timeout: float = Field(
        5.0,
        gt=0,
        description="Seconds that an operation waits to run before it is rejected with status 503, or 429 if it waits "
        "for other operations of its viewer, and `Retry-After`.",
    )
    operation_timeout: float = Field(
        30.0,
        gt=0,
        description="Seconds that an operation may take in total. After that, its SQL statements are cancelled.",
    )
    cors_origins: Origins = Field(
        "",
        description="Origins of other sites whose pages may use the gateway, separated by commas, such as "
        "`https://app.example.com`. `*` allows all origins. By default only pages of the gateway's own origin may.",
    )
    trusted_proxies: Networks = Field(
        "",
        description="Addresses or networks of proxies whose `X-Forwarded-For` header is trusted, separated by commas. "
        "Without them, the address of a client is that of its connection.",
    )
    server_timing: Literal["asked", "always"] = Field(
        "asked",
        description="Which responses have a `Server-Timing` header: with `asked`, those to requests that have the "
        "header `X-Server-Timing`; with `always`, all.",
    )
    persisted_queries: bool = Field(
        default=True,
        description="Whether clients may send the hash of a document instead of its text (automatic persisted queries, "
        "APQ).",
    )
    persisted_query_lifetime: int = Field(
        24 * 3600, ge=1, description="Seconds after its last use until Redis deletes a persisted query."
    )
    persisted_query_bytes: int = Field(
        32_000_000,
        ge=100_000,
        description="Maximum size of the persisted queries in Redis, in bytes. Those that one client has stored take "
        "at most a fourth of it; the least recently used are dropped.",
    )
    redis_url: RedisURL | None = Field(
        None,
        description="Redis server that all processes share for persisted queries, cached values and announcements of "
        "events, such as `redis://host:6379/0`. Without it, each process has its own persisted queries and cached "
        "values, and PostgreSQL announces events.",
    )
    idempotency_hours: int = Field(
        24,
        ge=1,
        le=24 * 365,
        description="Hours for which the outcome of a mutation with an idempotency key is kept. A repeated request "
        "gets the same payload in this time, and takes effect again afterwards.",
    )
    subscription_queue: int = Field(
        1000,
        ge=1,
        description="Maximum number of events that wait for a slow subscriber. Beyond it, the subscription ends with "
        "`TOO_SLOW`.",
    )
    subscription_replay: int = Field(
        10_000,
        ge=1,
        description="Maximum number of events that are read to resume a subscription after an interruption. Beyond it, "
        "the subscription is rejected with `CANNOT_RESUME`.",
    )
    live_interval: float = Field(
        1.0, ge=0, description="Minimum number of seconds between two results of a live query."
    )

    max_subscriptions: int = Field(
        200,
        ge=1,
        description="Maximum number of subscriptions per viewer in a process. Anonymous callers are counted by IP "
        "address.",
    )
    max_sockets: int = Field(
        100,
        ge=1,
        description="Maximum number of WebSockets per viewer in a process. Anonymous callers are counted by IP "
        "address.",
    )
    max_socket_message_size: int = Field(
        256_000, ge=1000, description="Maximum size of a message of a WebSocket client, in bytes."
    )
    max_socket_operations: int = Field(
        50, ge=1, description="Maximum number of open operations on a WebSocket, subscriptions included."
    )
    socket_init_timeout: float = Field(
        3.0, gt=0, description="Seconds in which the client of a new WebSocket must send `connection_init`."
    )
    socket_send_timeout: float = Field(
        10.0,
        gt=0,
        description="Seconds after which a client that reads none of its data is disconnected, over WebSocket or HTTP.",
    )
    event_stream_heartbeat: float = Field(
        15.0,
        gt=0,
        description="Seconds between two comments on an event stream, which keep proxies from closing it as idle.",
    )
    socket_ping_interval: float = Field(
        20.0,
        ge=0,
        description="Seconds between two pings on a WebSocket, and the time limit for each pong. 0 switches pings off.",
    )

    jobs: Literal["on", "off"] = Field(
        "on",
        description="Whether this process runs scheduled jobs (see `siso jobs list`). If several processes do, each "
        "run of a job takes place in one of them.",
    )
    analytics_retention_days: int = Field(
        730,
        ge=400,
        le=100_000,
        description="Days after which task analytics are deleted. The trend of a year needs 400.",
    )
    cache: Literal["auto", "memory", "redis", "off"] = Field(
        "auto",
        validate_default=True,
        description="Where dashboards and reference data are cached: in the `memory` of each process, or in `redis` "
        "for all processes. `auto` selects Redis if `GATEWAY_REDIS_URL` is set, otherwise memory if there is one "
        "worker, otherwise `off`.",
    )
    cache_lifetime: float = Field(
        60.0, gt=0, description="Maximum age of a cached value, in seconds. A change invalidates it immediately."
    )
    cache_entries: int = Field(
        10_000, ge=100, description="Maximum number of versions of cached values that a process remembers."
    )
    cache_bytes: int = Field(
        64 * 2**20,
        ge=2**20,
        description="Maximum size, in bytes, of all caches in a process whose keys come from clients: documents and "
        "their plans, statements, verified tokens, and cached values in memory. The least recently used entries are "
        "evicted.",
    )

    @field_validator("cache")
    @classmethod
    def _check_cache(cls, value: str, info: ValidationInfo) -> str:
        if value == "redis" and not info.data.get("redis_url"):
            message = "`redis` needs GATEWAY_REDIS_URL"
            raise ValueError(message)
        return value

    def origins(self) -> frozenset[str]:
        return frozenset(split_list(self.cors_origins))

    def cache_kind(self) -> Literal["memory", "redis", "off"]:
        """Where values are cached. Caches of several processes in memory would not be invalidated by each other."""
        if self.cache != "auto":
            return self.cache
        if self.redis_url is not None:
            return "redis"
        return "memory" if self.workers == 1 else "off"
