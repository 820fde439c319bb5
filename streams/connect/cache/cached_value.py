"""One shared value, read again after it expires, by one reader for all callers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from streams.connect.cache.single_flight import SingleFlight
from streams.core.clock import Clock

T = TypeVar("T")


class _Read(NamedTuple, Generic[T]):
    began_s: float
    value: T


class CachedValue(Generic[T]):
    """Calls ``read`` at most once within ``fresh_s`` seconds, counted from its start. Callers share
    the value and must not change it."""

    def __init__(self, read: Callable[[], Awaitable[T]], fresh_s: float, clock: Clock) -> None:
        self._read = read
        self._fresh_s = fresh_s
        self._clock = clock
        self._flights: SingleFlight[T] = SingleFlight()
        self._generation = 0
        self._last: _Read[T] | None = None

    async def get(self, at_most_s: float | None = None) -> T:
        """At most ``at_most_s`` old if given. Raises the errors of ``read``, which must have its
        own deadline."""
        last, now_s, generation = self._last, self._clock.monotonic(), self._generation
        fresh_s = self._fresh_s if at_most_s is None else at_most_s
        if last is not None and now_s - last.began_s < fresh_s:
            return last.value
        return await self._flights.run(generation, lambda: self._anew(generation, now_s))

    def forget(self) -> None:
        """Later calls wait for a new read."""
        self._generation += 1
        self._last = None

    async def close(self) -> None:
        await self._flights.close()

    async def _anew(self, generation: int, began_s: float) -> T:
        value = await self._read()
        if generation == self._generation:
            self._last = _Read(began_s, value)
        return value
