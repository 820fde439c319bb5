"""The interface of the layer that processes share. `RedisShared` and `MemoryShared` pass
tests/contract/cache/test_shared_cache.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

ENTRY_TTL_S = 300.0
NOTHING = b"-"
"""body of an entry for a value that the source does not have"""
FLOOR_TTL_S = 86_400.0
"""Longer than any entry's TTL: a floor that expires earlier costs a load."""


class CacheKey(NamedTuple):
    cache: str
    name: str


class SharedEntry(NamedTuple):
    """Either part may be missing. ``rest_s`` is the rest of the entry's life."""

    floor: int | None
    version: int | None
    body: bytes | None
    rest_s: float = 0.0

    @property
    def valid(self) -> bool:
        return self.version is not None and self.version == self.floor


def present(encoded: bytes) -> bytes:
    return b"+" + encoded


class Notice(NamedTuple):
    """``name`` None stands for every name of the cache."""

    cache: str
    name: str | None
    version: int


class Listener(Protocol):
    def connected(self) -> None:
        """Every later notice is delivered; earlier ones may have been missed."""
        ...

    def heard(self, notice: Notice) -> None: ...


class Claim(Protocol):
    """The right to load a name, until its release or expiry."""

    async def release(self) -> None: ...


class SharedCache(Protocol):
    """Every call raises `CacheUnavailable` when the layer does not answer in time."""

    async def read(self, key: CacheKey) -> SharedEntry: ...

    async def floor(self, key: CacheKey, *, stamped: bool) -> int:
        """Without one, a new floor: a stamp above all before it, or 0 where versions come from the
        source."""
        ...

    async def fill(self, key: CacheKey, floor: int, body: bytes, ttl_s: float) -> None:
        """K4 with stamps: the floor was read before the load."""
        ...

    async def advance(
        self,
        key: CacheKey,
        version: int | None,
        body: bytes | None,
        ttl_s: float,
        *,
        floored: bool = False,
    ) -> int | None:
        """Raise the floor to ``version`` (None: to a new stamp), replace the entry by ``body``
        (None: delete it) and publish the name, atomically. Returns the floor.

        A version below the floor changes nothing. ``floored`` is K4 with versions of the source: if
        the floor is gone, nothing changes and None is returned: a change may have been lost."""
        ...

    def matching(self, cache: str, pattern: str) -> AsyncIterator[str]:
        """Names that match the glob (``*``, ``?``, ``[ab]``), each at least once if it had a floor
        throughout."""
        ...

    async def announce(self, notice: Notice) -> None: ...

    async def tell(self, event: bytes) -> None:
        """For other programs; delivery is not guaranteed."""
        ...

    async def claim(self, key: CacheKey, ttl_s: float) -> Claim | None:
        """None while another process has it."""
        ...

    async def listen(self, listener: Listener) -> None:
        """Until the connection fails; ends only by raising."""
        ...

    async def close(self) -> None: ...
