"""The rules for the head of an HTTP request: sizes, and everything that two servers could understand differently.

Each check raises RequestRejected. The parser (llhttp) already rejects what is not HTTP, such as folded headers, two
lengths, a length together with chunks, and control characters.
"""

import re
from collections.abc import Sequence

from gateway.auth.tokens import MAX_TOKEN_LENGTH
from gateway.transport.error_responses import RequestRejected
from gateway.transport.requests import MAX_URL_SIZE

MAX_HEAD_SIZE = 64 * 1024
MAX_HEADERS = 100
MAX_HEADER_SIZE = 16 * 1024
MAX_HANDSHAKE_LINE = 8000
"""The library `websockets` accepts lines of 8,192 bytes in a handshake."""

_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]*)?")
_LINE_OVERHEAD = len(b": \r\n")
_SLASH = ord("/")
_VERSIONS = frozenset({"1.1", "1.0"})

Headers = Sequence[tuple[bytes, bytes]]


def bad_request(message: str) -> RequestRejected:
    return RequestRejected(400, "BAD_REQUEST", message)


def head_too_large(url: bytes) -> RequestRejected:
    """The error of a head whose URL or headers are too large."""
    if len(url) > MAX_URL_SIZE:
        return RequestRejected(414, "URI_TOO_LONG", f"The URL has more than {MAX_URL_SIZE} bytes. Use POST.")
    return _too_large(f"The URL and the headers have more than {MAX_HEAD_SIZE} bytes.")


def check_head(version: str, url: bytes, headers: Headers, *, is_large: bool) -> bytes | None:
    """Checks a complete head, and its sizes if it ``is_large``. Returns the host."""
    if version not in _VERSIONS:
        raise RequestRejected(505, "HTTP_VERSION_NOT_SUPPORTED", "The gateway supports HTTP/1.1 and HTTP/1.0.")
    if len(headers) > MAX_HEADERS:
        raise _too_large(f"The request has more than {MAX_HEADERS} headers.")
    if is_large:
        _check_sizes(url, headers)
    values = dict(headers)
    host = values.get(b"host")
    if host is None:
        if version == "1.1":
            raise invalid_host()
    elif len(values) != len(headers) and sum(name == b"host" for name, _ in headers) > 1:
        raise invalid_host()
    if len(values.get(b"authorization", b"")) > MAX_TOKEN_LENGTH:
        raise _too_large(f"The `Authorization` header has more than {MAX_TOKEN_LENGTH} bytes.")
    if b"transfer-encoding" in values:
        _check_transfer_encoding(version, [value for name, value in headers if name == b"transfer-encoding"])
    if url[0] != _SLASH and url != b"*":
        _check_absolute_url(url, host)
    return host


def _check_sizes(url: bytes, headers: Headers) -> None:
    sizes = [len(name) + len(value) for name, value in headers]
    if len(url) > MAX_URL_SIZE or len(url) + sum(sizes) + _LINE_OVERHEAD * len(sizes) > MAX_HEAD_SIZE:
        raise head_too_large(url)
    if max(sizes, default=0) > MAX_HEADER_SIZE:
        raise _too_large(f"A header has more than {MAX_HEADER_SIZE} bytes.")


def _check_transfer_encoding(version: str, values: Sequence[bytes]) -> None:
    if version != "1.1":
        raise bad_request("A request of HTTP/1.0 cannot be chunked.")
    if [value.lower() for value in values] != [b"chunked"]:
        message = "The only transfer coding that is supported is `chunked`."
        raise RequestRejected(501, "NOT_IMPLEMENTED", message)


def is_valid_host(host: bytes) -> bool:
    """Whether the value of the header ``Host`` is a host name or an IP address with an optional port."""
    return _HOST.fullmatch(host) is not None


def _check_absolute_url(url: bytes, host: bytes | None) -> None:
    """An absolute URL must name the same host as the ``Host`` header, because only that header is read later."""
    scheme, separator, rest = url.partition(b"://")
    authority = re.split(rb"[/?#]", rest, maxsplit=1)[0]
    if not separator or scheme.lower() not in {b"http", b"https"} or authority.lower() != (host or b"").lower():
        message = "The request must have the path of a resource, or an absolute URL with the host of its `Host` header."
        raise bad_request(message)


def check_handshake(version: str, url: bytes, headers: Headers, *, is_waiting: bool) -> None:
    """Checks the request that opens a WebSocket. ``is_waiting`` if earlier requests have no response yet."""
    if version != "1.1":
        raise bad_request("A WebSocket can be opened with HTTP/1.1 only.")
    if is_waiting:
        raise bad_request("A WebSocket cannot be opened before the responses to the requests before it.")
    if any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers):
        raise bad_request("A request that opens a WebSocket must not have a body.")
    if max(len(url), *(len(name) + len(value) for name, value in headers)) > MAX_HANDSHAKE_LINE:
        raise _too_large(f"The lines of a request that opens a WebSocket must have at most {MAX_HANDSHAKE_LINE} bytes.")


def _too_large(message: str) -> RequestRejected:
    return RequestRejected(431, "HEADERS_TOO_LARGE", message)


def invalid_host() -> RequestRejected:
    return bad_request("The request must have one `Host` header: a host name or an IP address with an optional port.")
