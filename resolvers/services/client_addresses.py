"""IP addresses of clients as they are compared and counted."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_IPV6_PREFIX = 64
"""The bits of an IPv6 address that a provider assigns. A client chooses the others itself (RFC 4291, section 2.5.4)."""


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """The address, as IPv4 if it is an IPv4 address inside an IPv6 address; None if the text is no address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def network_of(address: IPv4Address | IPv6Address) -> str:
    """What counts as one client: an IPv4 address, or an IPv6 network."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, _IPV6_PREFIX), strict=False))


@lru_cache(maxsize=4096)
def client_network(text: str | None) -> str | None:
    """What counts as one client, for the text of an address. Any other text, such as a socket's name, as it is."""
    address = None if text is None else parse_address(text)
    return text if address is None else network_of(address)
