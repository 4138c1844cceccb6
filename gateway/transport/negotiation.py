"""Content negotiation: which media type an answer has, and which a request may have (RFC 9110, 12 and 8.3)."""

from collections.abc import Iterator
from functools import lru_cache

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
EVENTS = "text/event-stream"
HTML = "text/html"

_UTF8 = {"utf-8", "utf8"}


@lru_cache(maxsize=256)
def negotiated(accept: bytes | None) -> str | None:
    """The media type of a GraphQL response to a request with this Accept header; None if it takes none there is.

    The one with the greater weight; if they are equal the one that is named, if both are the newer one, and JSON for
    ``*/*``, which clients send that know nothing better. An event stream only for who would rather have it.
    """
    if not accept:
        return JSON
    ranges = list(_ranges(accept))
    json, graphql = _weight(ranges, JSON), _weight(ranges, GRAPHQL)
    if takes_events(accept) and _weight(ranges, EVENTS)[0] > max(json[0], graphql[0]):
        return EVENTS
    if json[0] == graphql[0] == 0:
        return None
    if graphql == json:
        return GRAPHQL if graphql[1] == _NAMED else JSON
    return GRAPHQL if graphql > json else JSON


@lru_cache(maxsize=256)
def takes_events(accept: bytes | None) -> bool:
    """Whether an event stream is named among what is accepted, as clients do that can read one."""
    weight, precision = _weight(list(_ranges(accept or b"")), EVENTS)
    return precision == _NAMED and weight > 0


@lru_cache(maxsize=256)
def prefers_page(accept: bytes | None) -> bool:
    """Whether it is a browser that wants a page rather than data."""
    ranges = list(_ranges(accept or b""))
    page = _weight(ranges, HTML)
    return page[1] == _NAMED and page[0] > 0 and page >= max(_weight(ranges, JSON), _weight(ranges, GRAPHQL))


@lru_cache(maxsize=256)
def is_json(content_type: bytes) -> bool:
    """Whether a body of this type is JSON in UTF-8."""
    name, parameters = _parsed(content_type.decode("latin-1"))
    return name == JSON and parameters.get("charset", "utf-8").lower() in _UTF8


_NAMED = 2
"""How precisely a range of an Accept header names a type: 0 for ``*/*``, 1 for ``application/*``."""


def _weight(ranges: list[tuple[str, float]], media_type: str) -> tuple[float, int]:
    """The weight of a type, and how precise the range is that gives it; of several the most precise counts."""
    kind = media_type.partition("/")[0]
    found = [
        (precision, weight)
        for name, weight in ranges
        for precision, matching in enumerate(("*/*", f"{kind}/*", media_type))
        if name == matching
    ]
    precision, weight = max(found, default=(0, 0.0))
    return weight, precision


def _ranges(accept: bytes) -> Iterator[tuple[str, float]]:
    for part in accept.decode("latin-1").split(","):
        name, parameters = _parsed(part)
        if parameters.get("charset", "utf-8").lower() not in _UTF8:
            continue
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            continue
        if 0 <= weight <= 1:
            yield name, weight


def _parsed(value: str) -> tuple[str, dict[str, str]]:
    name, *parameters = (part.strip() for part in value.split(";"))
    pairs = (parameter.partition("=") for parameter in parameters)
    return name.lower(), {key.strip().lower(): text.strip().strip('"') for key, _, text in pairs}
