"""What comes in over HTTP, until it is a GraphQL request: headers, origin, body, parameters. Bounded at every step."""

import itertools
import re
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
from starlette.types import Receive, Scope

from gateway.transport.error_responses import RequestRejected
from gateway.transport.negotiation import is_json

Headers = dict[bytes, bytes]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_DEEPEST = 64
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_MOST_PARAMETERS = 16
_PREFLIGHTED = (b"apollo-require-preflight", b"x-apollo-operation-name", b"graphql-require-preflight")


class Disconnected(Exception):
    """The client has gone; nobody waits for an answer."""


@dataclass(slots=True)
class Parameters:
    """A GraphQL-over-HTTP request. A persisted one has no query."""

    query: str | None
    operation_name: str | None
    variables: dict[str, Any]
    extensions: dict[str, Any]


def headers_of(scope: Scope) -> Headers:
    """The headers by name; repeated ones are one list, as RFC 9110 has it."""
    found: list[tuple[bytes, bytes]] = scope["headers"]
    headers = dict(found)
    if len(headers) != len(found):
        headers = {}
        for name, value in found:
            headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


_PROCESS = secrets.token_hex(4)
_numbers = itertools.count()
"""The ids of requests begin with their process' and count on, which costs less than asking for chance each time."""


def request_id_of(headers: Headers) -> str:
    """The id that the client gave the request, if it is one that can be logged, else a new one."""
    given = headers.get(b"x-request-id")
    return given.decode() if given and _REQUEST_ID.fullmatch(given) else f"{_PROCESS}{next(_numbers):08x}"


def refuse_forged(headers: Headers, origins: frozenset[str]) -> None:
    """Refuses a GET that another site may have made a browser send without asking (docs/decisions/0012-http.md)."""
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site in {b"same-origin", b"none"} or (site is None and origin is None):
        return
    if origin is not None and (origin.decode("latin-1") in origins or "*" in origins):
        return
    if not any(name in headers for name in _PREFLIGHTED):
        message = (
            "This looks like a request that another site made a browser send. Send the header "
            "`GraphQL-Require-Preflight: 1`, or use POST with JSON."
        )
        raise RequestRejected(403, "FORBIDDEN", message)


def is_own(headers: Headers, origins: frozenset[str]) -> bool:
    """Whether no other site's page has made a browser connect, unless it is one of ``origins``."""
    origin = headers.get(b"origin")
    if origin is None or headers.get(b"sec-fetch-site") == b"same-origin":
        return True
    text = origin.decode("latin-1")
    return text in origins or "*" in origins or urlsplit(text).netloc.encode("latin-1") == headers.get(b"host")


def refuse_unreadable(headers: Headers, limit: int) -> None:
    """Refuses a body by its headers, before it is read."""
    if not is_json(headers.get(b"content-type", b"")):
        message = "The body must be JSON: send `Content-Type: application/json`, in UTF-8."
        raise RequestRejected(415, "UNSUPPORTED_MEDIA_TYPE", message, {"Accept-Post": "application/json"})
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        message = "Compressed bodies are not taken: send it as it is."
        raise RequestRejected(415, "UNSUPPORTED_MEDIA_TYPE", message, {"Accept-Encoding": "identity"})
    length = headers.get(b"content-length", b"")
    if length.isdigit() and (len(length) > 15 or int(length) > limit):  # noqa: PLR2004 (of digits)
        raise _too_large(limit)


async def body_of(receive: Receive, limit: int) -> bytes:
    """The whole body, refused as soon as it is larger than ``limit``."""
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
    """The connection is closed, because the rest of the body is not read."""
    message = f"The request has more than {limit} bytes."
    return RequestRejected(413, "PAYLOAD_TOO_LARGE", message, {"Connection": "close"})


def parameters_of_body(body: bytes, most: int) -> list[Parameters] | Parameters:
    """The parameters of a POST; a list of them for a batch of up to ``most``."""
    given = loaded(body, "The body")
    if not isinstance(given, list):
        return checked(given)
    if not 1 <= len(given) <= most:
        message = f"A batch must have 1 to {most} operations." if most else "Batches are not taken: send one operation."
        raise _bad(message)
    return [checked(one) for one in given]


def parameters_of_query(query: bytes, limit: int) -> Parameters:
    """The parameters of a GET."""
    if len(query) > limit:
        raise RequestRejected(414, "URI_TOO_LONG", f"The query string has more than {limit} bytes. Use POST.")
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError:
        message = f"The query string must be percent-encoded UTF-8, with at most {_MOST_PARAMETERS} parameters."
        raise _bad(message) from None
    given: dict[str, Any] = dict(pairs)
    if len(given) != len(pairs):
        message = "A parameter is given twice."
        raise _bad(message)
    for name in ("variables", "extensions"):
        text = given.get(name)
        given[name] = loaded(text.encode(), f"`{name}`") if text else None
    return checked(given)


def loaded(text: bytes | str, what: str) -> Any:
    """The value of a JSON text, refused if it is none or nested too deeply."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        message = f"{what} is not JSON: {error}."
        raise _bad(message) from None
    if _is_deep(text if isinstance(text, bytes) else text.encode()):
        message = f"{what} is nested more than {_DEEPEST} deep."
        raise _bad(message)
    return value


def _is_deep(text: bytes) -> bool:
    """Whether valid JSON is nested too deeply: each pass takes its innermost level away."""
    if text.count(b"{") + text.count(b"[") <= _DEEPEST:
        return False
    brackets = _STRINGS.sub(b"", text).translate(None, _NO_BRACKETS)
    for _ in range(_DEEPEST):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return False
    return True


def checked(given: Any) -> Parameters:
    """The parameters in a JSON value, refused if one is not what it must be."""
    if not isinstance(given, dict):
        message = 'The body must be a JSON object such as {"query": "{ viewer { id } }"}.'
        raise _bad(message)
    for name, kind, spelled in _KINDS:
        if given.get(name) is not None and not isinstance(given[name], kind):
            message = f"`{name}` must be {spelled}."
            raise _bad(message)
    query, extensions = given.get("query"), given.get("extensions") or {}
    if not query and "persistedQuery" not in extensions:
        message = "`query` is missing: the text of the operation."
        raise _bad(message)
    return Parameters(query or None, given.get("operationName") or None, given.get("variables") or {}, extensions)


_KINDS = (
    ("query", str, "a string"),
    ("operationName", str, "a string"),
    ("variables", dict, "an object"),
    ("extensions", dict, "an object"),
)


def _bad(message: str) -> RequestRejected:
    return RequestRejected(400, "BAD_REQUEST", message)
