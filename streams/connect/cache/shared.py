"""The layer that processes share, as `Cache` sees it: entries, floors, claims and notices.

`RedisShared` is the real one, `MemoryShared` the first-party form; both pass
tests/contract/cache/test_shared_cache.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

ENTRY_TTL_S = 300.0
NOTHING = b"-"
"""The body of an entry that says that the source has no value."""
FLOOR_TTL_S = 86_400.0
"""Longer than any entry's: a floor that ends earlier would only cost a load."""


class CacheKey(NamedTuple):
    """A name in one cache."""

    cache: str
    name: str


class SharedEntry(NamedTuple):
    """What L2 holds of a name; either may be missing. ``rest_s`` is how long the entry still lives."""

    floor: int | None
    version: int | None
    body: bytes | None
    rest_s: float = 0.0

    @property
    def valid(self) -> bool:
        """The body is as true as anything the cache was told."""
        return self.version is not None and self.version == self.floor


def present(encoded: bytes) -> bytes:
    """The body of an entry that holds a value."""
    return b"+" + encoded


class Notice(NamedTuple):
    """``name`` changed at ``version``; a None name stands for every name of the cache."""

    cache: str
    name: str | None
    version: int


class Listener(Protocol):
    """Whom `SharedCache.listen` tells."""

    def connected(self) -> None:
        """From here on every notice is heard; any earlier one may have been missed."""
        ...

    def heard(self, notice: Notice) -> None: ...


class Claim(Protocol):
    """The right to load a name, until it is released or its time is over."""

    async def release(self) -> None: ...


class SharedCache(Protocol):
    """Every call raises `CacheUnavailable` when the layer does not answer in time."""

    async def read(self, key: CacheKey) -> SharedEntry: ...

    async def floor(self, key: CacheKey, *, stamped: bool) -> int:
        """The floor of ``key``. Where there is none, a new one: a stamp above all before it, or 0
        where versions come from the source."""
        ...

    async def fill(self, key: CacheKey, floor: int, body: bytes, ttl_s: float) -> None:
        """K4 with stamps: keep a loaded value with the floor seen before the load."""
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
        """Raise the floor to ``version`` (None: to a stamp above it), replace the entry by
        ``body`` (None: delete it), publish the name; all at once. Returns the floor.

        Below the floor nothing happens. ``floored`` is K4 with versions of the source: nothing
        happens either, and None is returned, if the floor is gone. A change may have been told,
        and forgotten, since the load began.
        """
        ...

    def matching(self, cache: str, pattern: str) -> AsyncIterator[str]:
        """Names of ``cache`` that match the glob (``*``, ``?``, ``[ab]``); each at least once
        if it had a floor from beginning to end."""
        ...

    async def announce(self, notice: Notice) -> None:
        """Publish alone."""
        ...

    async def tell(self, event: bytes) -> None:
        """Publish an event for other programs; nobody may hear it."""
        ...

    async def claim(self, key: CacheKey, ttl_s: float) -> Claim | None:
        """None while someone else has it."""
        ...

    async def listen(self, listener: Listener) -> None:
        """Tell ``listener`` until the connection is lost: returns only by raising."""
        ...

    async def close(self) -> None: ...
