"""Limits the connections of a process, and the memory that incomplete request bodies take."""

import logging
import time
from collections import Counter
from ipaddress import IPv4Network, IPv6Network, ip_network

from gateway.settings import Settings
from gateway.settings.value_types import split_list
from resolvers.services.client_addresses import network_of, parse_address

try:
    import resource
except ImportError:  # Windows does not limit open files per process
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

_RESERVED_FILES = 100
"""Open files that are no client connections: the log, the listener, connections to Redis, to issuers, to SMTP."""
_MOST_CONNECTIONS = 10_000
_MAX_BODY_BYTES = 64_000_000
_MAX_BODY_BYTES_PER_ADDRESS = 16_000_000
_WARNING_INTERVAL = 60.0


def default_max_connections(pool_size: int) -> int:
    """The number of connections that leaves enough open files to the rest of the process."""
    if resource is None:
        return _MOST_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(1, min(_MOST_CONNECTIONS, files - _RESERVED_FILES - 2 * pool_size))


class ConnectionLimits:
    """Counts the connections of a process by the address of the peer.

    The peer of all clients behind a proxy is the proxy. Trusted proxies are therefore only limited in total.
    """

    def __init__(self, total: int, per_address: int, trusted: frozenset[IPv4Network | IPv6Network]) -> None:
        self.total = total
        self._per_address = per_address
        self._trusted = trusted
        self._connections: Counter[str] = Counter()
        self._body_bytes: Counter[str] = Counter()
        self._all_body_bytes = 0
        self._warned_at = -_WARNING_INTERVAL

    @classmethod
    def from_settings(cls, settings: Settings) -> "ConnectionLimits":
        total = settings.max_connections or default_max_connections(settings.database_pool_size)
        trusted = frozenset(ip_network(network) for network in split_list(settings.trusted_proxies))
        return cls(total, settings.max_connections_per_address, trusted)

    def network_of(self, address: str | None) -> str | None:
        """What is counted as one peer: an IPv4 address or an IPv6 network. None for peers that only count in total."""
        peer = None if address is None else parse_address(address)
        if peer is None or any(peer in network for network in self._trusted):
            return None
        return network_of(peer)

    def enter(self, network: str | None, count: int) -> str | None:
        """Counts a connection. ``count`` is the number of all connections. Returns why it must be rejected, if so."""
        if network is not None:
            self._connections[network] += 1
        if count > self.total:
            self._warn()
            return "The gateway has as many connections as it can serve. Try again in a moment."
        if network is not None and self._connections[network] > self._per_address:
            return (
                f"Your address has {self._per_address} open connections, which is the limit. "
                "Close some of them, or send several requests over one connection."
            )
        return None

    def leave(self, network: str | None) -> None:
        """Counts a connection less."""
        if network is not None:
            _subtract(self._connections, network, 1)

    def reserve_body(self, network: str | None, size: int) -> bool:
        """Counts bytes of an incomplete body. False, and nothing is counted, if there are too many."""
        if self._all_body_bytes + size > _MAX_BODY_BYTES:
            return False
        if network is not None:
            if self._body_bytes[network] + size > _MAX_BODY_BYTES_PER_ADDRESS:
                return False
            self._body_bytes[network] += size
        self._all_body_bytes += size
        return True

    def release_body(self, network: str | None, size: int) -> None:
        """Counts bytes less, because the body is complete or its connection is closed."""
        self._all_body_bytes -= size
        if network is not None:
            _subtract(self._body_bytes, network, size)

    def _warn(self) -> None:
        """Logs at most once per minute, because an attacker may cause it thousands of times per second."""
        now = time.monotonic()
        if now - self._warned_at >= _WARNING_INTERVAL:
            self._warned_at = now
            log.warning("There are %d connections, which is the limit. Further ones are rejected.", self.total)


def _subtract(counter: Counter[str], key: str, amount: int) -> None:
    counter[key] -= amount
    if not counter[key]:
        del counter[key]
