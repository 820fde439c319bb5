"""The connections of one web process: how many each client address may hold, and which makes room.

1. **C1** An address holds at most ``address_max`` connections, a process at most ``total_max``.
2. **C2** A connection *waits* before its first request, between two requests, while the headers of a
   request come, and during a TLS handshake. Otherwise a request of it is being answered.
3. **C3** A new connection beyond a bound takes the place of a waiting one. Beyond the bound of its
   address that is the one of this address that has waited longest. Beyond the bound of the process
   it is the one that has waited longest of the address with the most waiting connections. Where none
   waits, the new one is refused.

Law: connections that only wait never keep a client of another address out.
"""

from __future__ import annotations

import ipaddress
from typing import Protocol

_IPV6_SITE_BITS = 64
"""One subscriber has a whole network of this prefix length (RFC 6177)."""


class Connection(Protocol):
    def make_room(self) -> None:
        """Close at once: another connection takes this place."""
        ...


class _Address:
    __slots__ = ("held", "waiting")

    def __init__(self) -> None:
        self.held = 0
        self.waiting: dict[Connection, None] = {}
        """in the order in which they began to wait"""


class Connections:
    """See the module docstring. ``address_max`` 0: no bound of an address, as behind a proxy, from
    whose address all connections come."""

    def __init__(self, *, total_max: int, address_max: int) -> None:
        assert 0 <= address_max <= total_max, "an address may not hold more than all"
        self._total_max = total_max
        self._address_max = address_max or total_max
        self._addresses: dict[str, _Address] = {}
        self._held: dict[Connection, str] = {}

    def __len__(self) -> int:
        return len(self._held)

    def admit(self, host: str, connection: Connection) -> bool:
        """Count a new connection, which waits; False when it is refused (C3)."""
        site = site_of(host)
        address = self._addresses.get(site)
        if address is not None and address.held >= self._address_max:
            crowded: _Address | None = address
        elif len(self._held) >= self._total_max:
            crowded = max(self._addresses.values(), key=lambda one: len(one.waiting))
        else:
            crowded = None
        if crowded is not None:
            if not crowded.waiting:
                return False
            oldest = next(iter(crowded.waiting))
            self.leave(oldest)
            oldest.make_room()
        address = self._addresses.setdefault(site, _Address())
        address.held += 1
        address.waiting[connection] = None
        self._held[connection] = site
        return True

    def answering(self, connection: Connection) -> None:
        """A request of it came whole, but for its body."""
        if (site := self._held.get(connection)) is not None:
            self._addresses[site].waiting.pop(connection, None)

    def waiting(self, connection: Connection) -> None:
        """Its requests are answered."""
        if (site := self._held.get(connection)) is not None:
            self._addresses[site].waiting[connection] = None

    def leave(self, connection: Connection) -> None:
        """It is closed. Harmless for one that was refused or has left."""
        site = self._held.pop(connection, None)
        if site is None:
            return
        address = self._addresses[site]
        address.waiting.pop(connection, None)
        address.held -= 1
        if not address.held:
            del self._addresses[site]


def site_of(host: str) -> str:
    """What one client has for an address: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _IPV6_SITE_BITS), strict=False))
    return str(found)
