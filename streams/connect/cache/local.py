"""L1: the process's own cache, bounded in bytes and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from cachetools import TLRUCache

from streams.core.clock import Clock

V = TypeVar("V")

OVERHEAD_BYTES = 512
"""of an entry beside its encoded value: name, objects, two container slots"""


@dataclass(frozen=True, slots=True)
class CachedEntry(Generic[V]):
    """None: the source has no value."""

    value: V | None
    version: int
    bytes: int
    ends_at: float
    """monotonic seconds"""


class LoadStart(NamedTuple):
    """Monotonic seconds, and the number of removals before."""

    at_s: float
    generation: int


class LocalCache(Generic[V]):
    """Evicts the least recently used entry; the TTL counts from the start of the load. A load that
    overlaps a removal may return the removed value, so it is not stored."""

    def __init__(self, clock: Clock, max_bytes: int) -> None:
        self._generation = 0
        self._clock = clock
        self._max_bytes = max_bytes
        self._kept: TLRUCache[str, CachedEntry[V]] = TLRUCache(
            max_bytes,
            ttu=lambda name, kept, now: kept.ends_at,
            timer=clock.monotonic,
            getsizeof=lambda kept: kept.bytes,
        )

    @property
    def bytes(self) -> int:
        return int(self._kept.currsize)

    def asking(self) -> LoadStart:
        return LoadStart(self._clock.monotonic(), self._generation)

    def get(self, name: str) -> CachedEntry[V] | None:
        return self._kept.get(name)

    def keep(
        self, name: str, value: V | None, version: int, size: int, ttl_s: float, asked: LoadStart
    ) -> None:
        """Unless an entry was removed since ``asked``, or the value is too large."""
        size += OVERHEAD_BYTES + len(name)
        if asked.generation != self._generation or size > self._max_bytes:
            self._kept.pop(name, None)
            return
        self._kept[name] = CachedEntry(value, version, size, asked.at_s + ttl_s)

    def forget(self, name: str, version: int) -> None:
        """Unless the entry is of ``version``. Equality, not order: after Redis's clock goes back, a
        newer stamp may be smaller."""
        self._generation += 1
        kept = self._kept.get(name)
        if kept is not None and kept.version != version:
            self._kept.pop(name, None)

    def clear(self) -> None:
        self._generation += 1
        self._kept.clear()
