"""Recognises the requests of this machine's own pages, for what must not leave the machine."""

import re

from starlette.types import Scope

from gateway.transport.requests import is_allowed_origin, request_headers
from resolvers.services.client_addresses import parse_address

_LOCAL_HOST = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)
_FORWARDING_HEADER = re.compile(
    rb"(x-)?forwarded(-.*)?|via|cdn-loop|(x-|true-|cf-|fastly-|x-cluster-)(client|connecting|real)-ip|cf-ray|"
    rb"x-(original|envoy|amzn|vercel|azure|appengine)-.*|fly-.*"
)
"""The headers by which a proxy says for which client it sends a request."""


def is_local_request(scope: Scope) -> bool:
    """Whether a page of the gateway on this machine sends the request.

    It is not if a proxy has forwarded it, if the page is another site's, or if its host name only resolves to this
    machine. Some proxies add no header, but forward requests with HTTP/1.0, which browsers do not use.
    """
    headers, peer = request_headers(scope), scope.get("client")
    return (
        peer is not None
        and _is_loopback(peer[0])
        and scope["http_version"] != "1.0"
        and not any(map(_FORWARDING_HEADER.fullmatch, headers))
        and _LOCAL_HOST.fullmatch(headers.get(b"host", b"")) is not None
        and is_allowed_origin(headers, frozenset())
    )


def _is_loopback(address: str) -> bool:
    peer = parse_address(address)
    return peer is not None and peer.is_loopback
