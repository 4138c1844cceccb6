"""Content negotiation: the media type of a response and of a request body (RFC 9110, sections 12 and 8.3)."""

from collections.abc import Iterator
from sys import getsizeof

from repositories.core.byte_budget import bounded_cache

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
EVENTS = "text/event-stream"
HTML = "text/html"

_UTF8 = {"utf-8", "utf8"}


@bounded_cache(getsizeof)
def negotiate_media_type(accept: bytes | None) -> str | None:
    """The media type of the response to a request with this Accept header; None if it accepts none of ours.

    The type with the greater weight is chosen. With equal weights, the type that the header names is chosen; if it
    names both JSON types, the newer one. ``*/*`` gets ``application/json``, because clients that know the newer type
    name it. An event stream is chosen only if its weight is greater than that of both JSON types.
    """
    if not accept:
        return JSON
    ranges = list(_parse_accept(accept))
    json, graphql = _weight(ranges, JSON), _weight(ranges, GRAPHQL)
    if accepts_event_stream(accept) and _weight(ranges, EVENTS)[0] > max(json[0], graphql[0]):
        return EVENTS
    if json[0] == graphql[0] == 0:
        return None
    if graphql == json:
        return GRAPHQL if graphql[1] == _EXACT else JSON
    return GRAPHQL if graphql > json else JSON


@bounded_cache(getsizeof)
def accepts_event_stream(accept: bytes | None) -> bool:
    """Whether the Accept header names ``text/event-stream``; a wildcard is not enough."""
    weight, precision = _weight(list(_parse_accept(accept or b"")), EVENTS)
    return precision == _EXACT and weight > 0


@bounded_cache(getsizeof)
def prefers_html(accept: bytes | None) -> bool:
    """Whether the request comes from a browser that opens a page."""
    ranges = list(_parse_accept(accept or b""))
    html = _weight(ranges, HTML)
    return html[1] == _EXACT and html[0] > 0 and html >= max(_weight(ranges, JSON), _weight(ranges, GRAPHQL))


@bounded_cache(getsizeof)
def is_json(content_type: bytes) -> bool:
    """Whether a body of this type is JSON in UTF-8."""
    name, parameters = _parse_media_type(content_type.decode("latin-1"))
    return name == JSON and parameters.get("charset", "utf-8").lower() in _UTF8


_EXACT = 2
"""The precision of a range in an Accept header that names the type: 0 is ``*/*``, 1 is ``application/*``."""


def _weight(ranges: list[tuple[str, float]], media_type: str) -> tuple[float, int]:
    """The weight of a media type and the precision of the range that gives it. The most precise range counts."""
    kind = media_type.partition("/")[0]
    matches = [
        (precision, weight)
        for name, weight in ranges
        for precision, matching in enumerate(("*/*", f"{kind}/*", media_type))
        if name == matching
    ]
    precision, weight = max(matches, default=(0, 0.0))
    return weight, precision


def _parse_accept(accept: bytes) -> Iterator[tuple[str, float]]:
    """The ranges of an Accept header with their weights. Invalid weights and other charsets are skipped."""
    for part in accept.decode("latin-1").split(","):
        name, parameters = _parse_media_type(part)
        if parameters.get("charset", "utf-8").lower() not in _UTF8:
            continue
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            continue
        if 0 <= weight <= 1:
            yield name, weight


def _parse_media_type(value: str) -> tuple[str, dict[str, str]]:
    name, *parameters = (part.strip() for part in value.split(";"))
    pairs = (parameter.partition("=") for parameter in parameters)
    return name.lower(), {key.strip().lower(): text.strip().strip('"') for key, _, text in pairs}
