"""The connections of one web process: bounds by client address, and which connection is evicted.

1. **C1** An address holds at most ``address_max`` connections, a process at most ``total_max``.
2. **C2** A connection *waits* before its first request, between two requests, while the headers of
   a request arrive, and during a TLS handshake.
3. **C3** A new connection beyond a bound evicts the one that has waited longest: of its own
address,
   or beyond the bound of the process of the address with the most waiting connections. Without a
   waiting one the new connection is refused.

Law: waiting connections never keep out a client of another address."""

from __future__ import annotations

import ipaddress
from typing import Protocol

from starlette.requests import Request

_IPV6_SITE_BITS = 64
"""An IPv6 subscriber has a whole network of this prefix length (RFC 6177)."""


class Connection(Protocol):
    def make_room(self) -> None: ...


class _Address:
    __slots__ = ("held", "waiting")

    def __init__(self) -> None:
        self.held = 0
        self.waiting: dict[Connection, None] = {}
        """oldest wait first"""


class Connections:
    """``address_max`` 0: no bound by address, as behind a proxy."""

    def __init__(self, *, total_max: int, address_max: int) -> None:
        assert 0 <= address_max <= total_max, "an address may not hold more than all"
        self._total_max = total_max
        self._address_max = address_max or total_max
        self._addresses: dict[str, _Address] = {}
        self._held: dict[Connection, str] = {}

    def __len__(self) -> int:
        return len(self._held)

    def admit(self, host: str, connection: Connection) -> bool:
        """False when it is refused (C3)."""
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
        """The head of a request has arrived."""
        if (site := self._held.get(connection)) is not None:
            self._addresses[site].waiting.pop(connection, None)

    def waiting(self, connection: Connection) -> None:
        if (site := self._held.get(connection)) is not None:
            self._addresses[site].waiting[connection] = None

    def leave(self, connection: Connection) -> None:
        site = self._held.pop(connection, None)
        if site is None:
            return
        address = self._addresses[site]
        address.waiting.pop(connection, None)
        address.held -= 1
        if not address.held:
            del self._addresses[site]


def site_of(host: str) -> str:
    """An IPv4 address, or the /64 network of an IPv6 one."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _IPV6_SITE_BITS), strict=False))
    return str(found)


FORWARDED_FOR = "x-forwarded-for"


def client_site(request: Request, *, behind_proxy: bool) -> str:
    """As `site_of`. Behind a proxy, the last entry of X-Forwarded-For, which the proxy appended;
    earlier entries come from the client."""
    if behind_proxy:
        last = ",".join(request.headers.getlist(FORWARDED_FOR)).rpartition(",")[2].strip()
        if last:
            return site_of(last[:64])
    return site_of(request.client.host) if request.client else ""
