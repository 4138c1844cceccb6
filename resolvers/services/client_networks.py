"""The network of a client: what limits per address count, because a client can choose its address within it."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

_IPV6_PREFIX = 64
"""The bits of an IPv6 address that a provider assigns. A client chooses the others itself (RFC 4291, section 2.5.4)."""


@lru_cache(maxsize=4096)
def client_network(address: str | None) -> str | None:
    """An IPv4 address as it is, also if it is mapped to IPv6; the /64 of an IPv6 address; any other text as it is."""
    if address is None:
        return None
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), _IPV6_PREFIX), strict=False))
