"""L1: what this process itself keeps, bounded in bytes and in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from cachetools import TLRUCache

from streams.core.clock import Clock

V = TypeVar("V")

OVERHEAD_BYTES = 512
"""Of an entry besides its encoded value: name, objects, places in two containers."""


@dataclass(frozen=True, slots=True)
class CachedEntry(Generic[V]):
    """A value (None: there is none, which is worth knowing too) and the version it is true at."""

    value: V | None
    version: int
    bytes: int
    ends_at: float
    """monotonic seconds"""


class LoadStart(NamedTuple):
    """When somebody began to ask for a value: monotonic seconds, and removals until then."""

    at_s: float
    generation: int


class LocalCache(Generic[V]):
    """Least recently used goes first; a life counts from when the value was asked for. Whoever
    asked before a removal and was answered after it may hold what was removed: it is not kept."""

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
        """Now, for `keep` later."""
        return LoadStart(self._clock.monotonic(), self._generation)

    def get(self, name: str) -> CachedEntry[V] | None:
        return self._kept.get(name)

    def keep(
        self, name: str, value: V | None, version: int, size: int, ttl_s: float, asked: LoadStart
    ) -> None:
        """Keep unless something was removed since ``asked``; what is too large is not kept."""
        size += OVERHEAD_BYTES + len(name)
        if asked.generation != self._generation or size > self._max_bytes:
            self._kept.pop(name, None)
            return
        self._kept[name] = CachedEntry(value, version, size, asked.at_s + ttl_s)

    def forget(self, name: str, version: int) -> None:
        """Remove the value unless it is that of ``version``. Not by which is larger: after a
        clock of Redis went back, a newer stamp may be the smaller one."""
        self._generation += 1
        kept = self._kept.get(name)
        if kept is not None and kept.version != version:
            self._kept.pop(name, None)

    def clear(self) -> None:
        self._generation += 1
        self._kept.clear()
