"""Settings of the gateway, from environment variables ``GATEWAY_*`` and a ``.env`` file.

:func:`load_settings` builds them once; they are frozen and passed down. Only this package reads the environment.
docs/settings.md is generated from the descriptions, which are the documentation for operators.
"""

import difflib
import os
from collections.abc import Mapping
from typing import Literal

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.settings.auth_settings import AuthSettings
from gateway.settings.database_settings import DatabaseSettings
from gateway.settings.limit_settings import LimitSettings
from gateway.settings.mail_settings import MailSettings
from gateway.settings.server_settings import ServerSettings
from gateway.settings.value_types import parse_key, parse_keys
from repositories.engines.database import DatabaseOptions

PREFIX = "GATEWAY_"


class SettingsError(Exception):
    """A setting that cannot be used. The message is one line that names the setting and says how to fix it."""


_ROW_BYTES = 2
"""The rows of one statement may have this many times the bytes of a response, because they have all columns."""


class Settings(LimitSettings, MailSettings, AuthSettings, DatabaseSettings, ServerSettings, BaseSettings):
    """All settings. Pydantic puts the fields of the last base class first."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="forbid", frozen=True, allow_inf_nan=False
    )

    def introspection_mode(self) -> Literal["always", "signed_in", "never"]:
        return self.introspection or ("signed_in" if self.database_url else "always")

    def database_options(self) -> DatabaseOptions:
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
            max_result_bytes=_ROW_BYTES * self.max_response_bytes,
            account_rows=self.max_account_rows or None,
            account_bytes=self.max_account_bytes or None,
            encryption_keys=parse_keys(self.encryption_keys.get_secret_value()) if self.encryption_keys else {},
            index_key=parse_key(self.index_key.get_secret_value()) if self.index_key else b"",
        )


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings; SettingsError for the first setting that is invalid or unknown.

    ``environment`` replaces the names of the process environment for the check of unknown names.
    """
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
