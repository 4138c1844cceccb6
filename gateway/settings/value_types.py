"""The types of settings whose text has a format of its own: URLs, keys, rates, lists. Each checks its format."""

import base64
import re
from email.headerregistry import Address
from email.utils import getaddresses
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from limits import parse
from limits.errors import ConfigurationError
from pydantic import AfterValidator, SecretStr

from repositories.core.encryption import KEY_BYTES
from resolvers.services.rate_limits import rate_limiter

_LOCAL = {("http", host) for host in ("localhost", "127.0.0.1", "::1")}
_MIN_SECRET_LENGTH = 32
"""HS256 needs a key that is at least as long as its hash (RFC 7518, section 3.2)."""


def split_list(text: str) -> list[str]:
    """The items of a list that is separated by commas."""
    return [item.strip() for item in text.split(",") if item.strip()]


def parse_keys(text: str) -> dict[str, bytes]:
    """The keys in ``name:base64,name:base64``, in their order; ValueError if the text has another format."""
    keys: dict[str, bytes] = {}
    for item in text.split(","):
        name, _, key = item.strip().partition(":")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name) or name in keys:
            message = "must be name:base64,name:base64 with different names of letters, digits, - and _"
            raise ValueError(message)
        keys[name] = parse_key(key)
    return keys


def parse_key(text: str) -> bytes:
    """A key in base64; ValueError if it is not."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        message = f"must be base64 of {KEY_BYTES} bytes; `openssl rand -base64 {KEY_BYTES}` generates a key"
        raise ValueError(message)
    return key


def parse_mail_sender(text: str) -> Address:
    """The sender in ``Name <address>`` or ``address``; ValueError if it is none."""
    (name, email), *others = getaddresses([text])
    if others or not re.fullmatch(r"[^@\s<>,\"]+@[A-Za-z0-9.-]+", email) or not (text.isascii() and text.isprintable()):
        message = "must look like Example <no-reply@example.com>, in ASCII"
        raise ValueError(message)
    local, _, domain = email.rpartition("@")
    return Address(display_name=name, username=local, domain=domain)


def _split_url(url: SecretStr) -> SplitResult:
    """The parts of a URL; empty parts if its port is not a number."""
    try:
        parts = urlsplit(url.get_secret_value())
        _ = parts.port
    except ValueError:
        return urlsplit("")
    return parts


def _check_keys(value: SecretStr) -> SecretStr:
    parse_keys(value.get_secret_value())
    return value


def _check_key(value: SecretStr) -> SecretStr:
    parse_key(value.get_secret_value())
    return value


def _check_secret(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < _MIN_SECRET_LENGTH:
        message = f"must have {_MIN_SECRET_LENGTH} characters or more; `openssl rand -hex 32` generates a secret"
        raise ValueError(message)
    return value


def _check_postgres_url(value: SecretStr) -> SecretStr:
    parts = _split_url(value)
    if parts.scheme not in {"postgresql", "postgres", "postgresql+asyncpg"} or not parts.path.strip("/"):
        message = "must look like postgresql://user:password@host:5432/database"
        raise ValueError(message)
    return value


def _check_redis_url(value: SecretStr) -> SecretStr:
    parts = _split_url(value)
    is_server = parts.scheme in {"redis", "rediss"} and re.fullmatch(r"(/\d*)?", parts.path)
    if not is_server and not (parts.scheme == "unix" and parts.path.strip("/")):
        message = "must look like redis://host:6379/0, or unix:///path/of/the/socket"
        raise ValueError(message)
    return value


def _check_smtp_url(value: SecretStr) -> SecretStr:
    parts = _split_url(value)
    is_bare = parts.path in {"", "/"} and not parts.query and not parts.fragment
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or not is_bare:
        message = "must look like smtp://user:password@host:587 or smtps://user:password@host:465"
        raise ValueError(message)
    return value


def _check_web_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        message = "must be an address such as https://app.example.com"
        raise ValueError(message)
    if not value.isprintable() or " " in value or parts.username:
        message = "must contain no spaces, no control characters and no user"
        raise ValueError(message)
    return value


def _check_mail_sender(value: str) -> str:
    parse_mail_sender(value)
    return value


def _check_jwks_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in _LOCAL:
        message = "must be an https address, because keys fetched over http can be forged"
        raise ValueError(message)
    return value


def _check_rate(value: str) -> str:
    try:
        parse(value)
    except ValueError as error:
        message = "must look like `10 per 15 minutes`"
        raise ValueError(message) from error
    return value


def _check_rate_limit_store(value: SecretStr) -> SecretStr:
    try:
        rate_limiter(value.get_secret_value())
    except (ConfigurationError, AssertionError):  # AssertionError if the store is not asynchronous
        message = "must be a store that the library `limits` can use, such as async+redis://host:6379"
        raise ValueError(message) from None
    return value


def _check_origins(value: str) -> str:
    for origin in split_list(value):
        if origin != "*" and not re.fullmatch(r"https?://[^/?#\s@]+", origin):
            message = "must be origins such as https://app.example.com, separated by commas, without a path"
            raise ValueError(message)
    return value


def _check_networks(value: str) -> str:
    for network in filter(None, value.replace(" ", "").split(",")):
        ip_network(network)
    return value


EncryptionKeys = Annotated[SecretStr, AfterValidator(_check_keys)]
EncryptionKey = Annotated[SecretStr, AfterValidator(_check_key)]
SigningSecret = Annotated[SecretStr, AfterValidator(_check_secret)]
PostgresURL = Annotated[SecretStr, AfterValidator(_check_postgres_url)]
RedisURL = Annotated[SecretStr, AfterValidator(_check_redis_url)]
SMTPURL = Annotated[SecretStr, AfterValidator(_check_smtp_url)]
WebURL = Annotated[str, AfterValidator(_check_web_url)]
MailSender = Annotated[str, AfterValidator(_check_mail_sender)]
JWKSURL = Annotated[str, AfterValidator(_check_jwks_url)]
Rate = Annotated[str, AfterValidator(_check_rate)]
RateLimitStoreURL = Annotated[SecretStr, AfterValidator(_check_rate_limit_store)]
Origins = Annotated[str, AfterValidator(_check_origins)]
Networks = Annotated[str, AfterValidator(_check_networks)]
