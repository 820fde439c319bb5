"""One value that many ask for: read again when it is too old, by one for all who wait."""

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
    """``read`` is asked at most once in ``fresh_s`` seconds. What it gives is shared: nobody
    changes it. Its age counts from when it was asked for."""

    def __init__(self, read: Callable[[], Awaitable[T]], fresh_s: float, clock: Clock) -> None:
        self._read = read
        self._fresh_s = fresh_s
        self._clock = clock
        self._flights: SingleFlight[T] = SingleFlight()
        self._generation = 0
        self._last: _Read[T] | None = None

    async def get(self, at_most_s: float | None = None) -> T:
        """At most ``at_most_s`` old, where that is given. Raises what ``read`` raises, which must have a deadline of its own."""
        last, now_s, generation = self._last, self._clock.monotonic(), self._generation
        fresh_s = self._fresh_s if at_most_s is None else at_most_s
        if last is not None and now_s - last.began_s < fresh_s:
            return last.value
        return await self._flights.run(generation, lambda: self._anew(generation, now_s))

    def forget(self) -> None:
        """It changed: who asks from now on gets what is read from now on."""
        self._generation += 1
        self._last = None

    async def close(self) -> None:
        """End a reading under way."""
        await self._flights.close()

    async def _anew(self, generation: int, began_s: float) -> T:
        value = await self._read()
        if generation == self._generation:
            self._last = _Read(began_s, value)
        return value
