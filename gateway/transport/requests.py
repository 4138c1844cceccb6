"""Parses and checks an HTTP request up to the GraphQL parameters: headers, origin, body. Every step is bounded."""

import itertools
import re
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive, Scope

from gateway.transport.error_responses import RequestRejected
from gateway.transport.negotiation import is_json
from repositories.core.errors import QueryTooComplex

Headers = dict[bytes, bytes]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_MAX_DEPTH = 64
_BRACES_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHER_BYTES = bytes(set(range(256)) - set(b'",[]{}'))
"""All bytes except quotes, commas and brackets."""
MAX_URL_SIZE = 16 * 1024
_MAX_QUERY_PARAMETERS = 16
_MAX_LENGTH_DIGITS = 15
_PREFLIGHT_HEADERS = (b"apollo-require-preflight", b"x-apollo-operation-name", b"graphql-require-preflight")


class Disconnected(Exception):
    """The client has disconnected, so no response is sent."""


@dataclass(slots=True)
class Parameters:
    """The parameters of a GraphQL request. ``query`` is None if the request names a persisted query."""

    query: str | None
    operation_name: str | None
    variables: dict[str, Any]
    extensions: dict[str, Any]


def request_headers(scope: Scope) -> Headers:
    """The headers by name. The values of a repeated header are joined with commas (RFC 9110, section 5.3)."""
    pairs: list[tuple[bytes, bytes]] = scope["headers"]
    headers = dict(pairs)
    if len(headers) != len(pairs):
        headers = {}
        for name, value in pairs:
            headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


_PROCESS_ID = secrets.token_hex(4)
_numbers = itertools.count()
"""A new request id is a random prefix of this process and a number: cheaper than a random id for each request."""


def request_id_of(headers: Headers) -> str:
    """The client's ``X-Request-ID`` if it is safe to log, else a new id."""
    value = headers.get(b"x-request-id")
    return value.decode() if value and _REQUEST_ID.fullmatch(value) else f"{_PROCESS_ID}{next(_numbers):08x}"


def check_cross_site_get(headers: Headers, origins: frozenset[str]) -> None:
    """Rejects a GET that another site can make a browser send without a preflight (docs/decisions/0012-http.md)."""
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site in {b"same-origin", b"none"} or (site is None and origin is None):
        return
    if origin is not None and (origin.decode("latin-1") in origins or "*" in origins):
        return
    if not any(name in headers for name in _PREFLIGHT_HEADERS):
        message = (
            "A page of another site seems to have sent this request. Send the header `GraphQL-Require-Preflight: 1`, "
            "or use POST with JSON."
        )
        raise RequestRejected(403, "FORBIDDEN", message)


def is_allowed_origin(headers: Headers, origins: frozenset[str]) -> bool:
    """Whether a WebSocket may be opened: by a page of this origin or of ``origins``, or by another kind of client."""
    origin = headers.get(b"origin")
    if origin is None or headers.get(b"sec-fetch-site") == b"same-origin":
        return True
    if "*" in origins or origin.decode("latin-1") in origins:
        return True
    _, separator, host = origin.lower().partition(b"://")
    return bool(separator) and host == headers.get(b"host", b"").lower()


def check_body_headers(headers: Headers, limit: int) -> None:
    """Rejects a body by its headers, before it is read. ``limit`` is the size in bytes."""
    if not is_json(headers.get(b"content-type", b"")):
        message = "The body must be JSON in UTF-8: send `Content-Type: application/json`."
        raise RequestRejected(415, "UNSUPPORTED_MEDIA_TYPE", message, {"Accept-Post": "application/json"})
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        message = "Compressed bodies are not supported: send the body without `Content-Encoding`."
        raise RequestRejected(415, "UNSUPPORTED_MEDIA_TYPE", message, {"Accept-Encoding": "identity"})
    length = headers.get(b"content-length", b"")
    if length.isdigit() and (len(length) > _MAX_LENGTH_DIGITS or int(length) > limit):
        raise _too_large(limit)


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body, rejected as soon as it exceeds ``limit`` bytes."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)


def _too_large(limit: int) -> RequestRejected:
    """Closes the connection, because the rest of the body is not read."""
    message = f"The request has more than {limit} bytes."
    return RequestRejected(413, "PAYLOAD_TOO_LARGE", message, {"Connection": "close"})


def parse_body(body: bytes, max_batch: int, max_values: int) -> list[Parameters] | Parameters:
    """The parameters of a POST; a list of them for a batch of up to ``max_batch`` operations.

    Each operation may have ``max_values`` values. A body with more is rejected before they are made.
    """
    most = max_values * max(1, max_batch)
    if body.count(b",") > most and (values := _structure(body).count(b",")) > most:
        message = f"The body has more than {most:,} values. Split it into several requests."
        raise RequestRejected.from_exception(QueryTooComplex(message, values, most))
    value = parse_json(body, "The body")
    if not isinstance(value, list):
        return parse_parameters(value)
    if not max_batch:
        message = "Batches are switched off: send one operation."
        raise _bad_request(message)
    if not 1 <= len(value) <= max_batch:
        message = f"A batch must have 1 to {max_batch} operations."
        raise _bad_request(message)
    return [parse_parameters(item) for item in value]


def parse_query_string(query: bytes) -> Parameters:
    """The parameters of a GET."""
    if len(query) > MAX_URL_SIZE:
        raise RequestRejected(414, "URI_TOO_LONG", f"The query string has more than {MAX_URL_SIZE} bytes. Use POST.")
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY_PARAMETERS
        )
    except ValueError:
        message = f"The query string must be percent-encoded UTF-8, with at most {_MAX_QUERY_PARAMETERS} parameters."
        raise _bad_request(message) from None
    values: dict[str, Any] = dict(pairs)
    if len(values) != len(pairs):
        message = "The query string has the same parameter twice."
        raise _bad_request(message)
    for name in ("variables", "extensions"):
        text = values.get(name)
        values[name] = parse_json(text.encode(), f"`{name}`") if text else None
    return parse_parameters(values)


def parse_json(text: bytes | str, name: str) -> Any:
    """The value of a JSON text, rejected if it is invalid or nested too deeply. Messages call the text ``name``."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        message = f"{name} is not JSON: {error}."
        raise _bad_request(message) from None
    if _is_too_deep(text if isinstance(text, bytes) else text.encode()):
        message = f"{name} is nested more than {_MAX_DEPTH} levels deep."
        raise _bad_request(message)
    return value


def _is_too_deep(text: bytes) -> bool:
    """Whether valid JSON is nested too deeply."""
    if text.count(b"{") + text.count(b"[") <= _MAX_DEPTH:
        return False
    brackets = _structure(text).replace(b",", b"")
    for _ in range(_MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # removes the innermost level
        if not brackets:
            return False
    return True


def _structure(text: bytes) -> bytes:
    """The commas and brackets of JSON outside of its strings, with brackets for braces.

    A few passes over the bytes, without a value for each. Without backslashes, each text in quotes is a string. Two
    quotes in a row are an empty string, or they separate two strings: both contain nothing that counts.
    """
    unescaped = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    quoted = unescaped.translate(_BRACES_AS_BRACKETS, _OTHER_BYTES).replace(b'""', b"")
    return b"".join(quoted.split(b'"')[::2])


def parse_parameters(value: Any) -> Parameters:
    """The parameters in a JSON value, rejected if one has the wrong type."""
    if not isinstance(value, dict):
        message = 'The body must be a JSON object such as {"query": "{ viewer { id } }"}.'
        raise _bad_request(message)
    for name, kind, kind_name in _PARAMETER_TYPES:
        if value.get(name) is not None and not isinstance(value[name], kind):
            message = f"`{name}` must be {kind_name}."
            raise _bad_request(message)
    query, extensions = value.get("query"), value.get("extensions") or {}
    if not query and "persistedQuery" not in extensions:
        message = "`query` is missing: send the text of the operation."
        raise _bad_request(message)
    return Parameters(query or None, value.get("operationName") or None, value.get("variables") or {}, extensions)


_PARAMETER_TYPES = (
    ("query", str, "a string"),
    ("operationName", str, "a string"),
    ("variables", dict, "an object"),
    ("extensions", dict, "an object"),
)


def _bad_request(message: str) -> RequestRejected:
    return RequestRejected(400, "BAD_REQUEST", message)
