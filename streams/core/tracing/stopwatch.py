"""Span times: start by the wall clock, duration by the monotonic one."""

from __future__ import annotations

from streams.core.clock import Clock

_MS_NS = 1_000_000
_S_NS = 1_000_000_000


class Stopwatch:
    """Nanoseconds since the epoch; never decreases."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_s = clock.monotonic()
        self.began_ns = clock.now_ms() * _MS_NS

    def now_ns(self) -> int:
        return self.began_ns + round((self._clock.monotonic() - self._at_s) * _S_NS)
