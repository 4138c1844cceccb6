"""Settings of the database and of encrypted columns."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator

from gateway.settings.value_types import EncryptionKey, EncryptionKeys, PostgresURL


class DatabaseSettings(BaseModel):
    database_url: PostgresURL | None = Field(
        None,
        description="PostgreSQL database: `postgresql://user:password@host:5432/database`. Without it, the gateway "
        "uses the embedded SQLite file.",
    )
    service_database_url: PostgresURL | None = Field(
        None,
        description="URL with the login for the gateway's own work (seeding, imports, jobs). The default is "
        "`GATEWAY_DATABASE_URL`.",
    )
    owner_database_url: PostgresURL | None = Field(
        None,
        description="URL with the login that owns the tables, for `siso migrate`. The default is "
        "`GATEWAY_SERVICE_DATABASE_URL`, then `GATEWAY_DATABASE_URL`.",
    )
    database_read_url: PostgresURL | None = Field(
        None,
        description="URL of a streaming replica, one server, that answers viewers' queries over HTTP. Without it, the "
        "primary (`GATEWAY_DATABASE_URL`) answers them.",
    )
    database_read_wait: float = Field(
        0.1,
        ge=0,
        description="Seconds that a query with a consistency token waits until the replica has caught up. After that, "
        "the primary answers it.",
    )
    database_path: Path = Field(Path("var/siso.sqlite3"), description="Path of the embedded SQLite file.")
    database_fallback: Literal["none", "sqlite"] = Field(
        "none",
        description="What the gateway does if PostgreSQL is unreachable when it starts: `sqlite` serves the SQLite "
        "file instead, `none` stops.",
    )
    legacy_source: SecretStr | None = Field(
        None,
        min_length=1,
        description="Source of `siso import-legacy` if it gets no `--source`: a `postgresql://` URL, which may contain "
        "a password, or the path of a SQLite file.",
    )
    database_pool_size: int = Field(
        10, ge=1, le=1000, description="Maximum number of database connections for the requests of a process."
    )
    database_pool_timeout: float = Field(
        10.0, gt=0, description="Seconds that a request waits for a free database connection."
    )
    database_connect_timeout: float = Field(
        5.0, gt=0, description="Seconds that opening a database connection may take."
    )
    database_statement_timeout: float = Field(15.0, gt=0, description="Seconds that one SQL statement may run.")
    database_pgbouncer: bool = Field(
        default=False,
        description="Set this if PostgreSQL is behind PgBouncer in transaction mode. The gateway then uses neither "
        "prepared statements nor session settings.",
    )

    encryption_keys: EncryptionKeys | None = Field(
        None,
        description="Keys of encrypted columns, separated by commas, each as `name:base64` of 32 bytes. The first key "
        "encrypts, all keys decrypt. To rotate keys, put a new key first and run `siso keys rotate`. Encrypted columns "
        "on PostgreSQL need it. On SQLite, a missing key is generated and stored in the file `encryption_keys` beside "
        "the database file.",
    )
    index_key: EncryptionKey | None = Field(
        None,
        description="Key with which encrypted values are looked up, as base64 of 32 bytes. It cannot be changed later. "
        "On SQLite, a missing key is generated and stored in the file `index_key` beside the database file.",
    )

    @field_validator("database_read_url")
    @classmethod
    def _check_primary(cls, value: PostgresURL | None, info: ValidationInfo) -> PostgresURL | None:
        if value is not None and info.data.get("database_url") is None:
            message = "needs GATEWAY_DATABASE_URL, the primary of this replica"
            raise ValueError(message)
        return value

    def owner_url(self) -> str | None:
        """The URL for migrations; None for SQLite."""
        url = self.owner_database_url or self.service_database_url or self.database_url
        return url.get_secret_value() if self.database_url and url else None
