"""Wrong clocks: that of the brokers, or that of all other machines.

A run begins at the end of a minute, hour, day or month. Then one clock steps by up to a day in
either direction; most return within a few steps."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from streams.dev.simulation.loop import LoopClock
from streams.dev.simulation.world import World

_MINUTE_MS = 60_000
_STEPS_MS = (75_000, 10 * _MINUTE_MS, 120 * _MINUTE_MS)
_DAY_MS = 1440 * _MINUTE_MS
_BEGINS = (
    datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC),
    datetime(2025, 10, 9, 22, 59, 10, tzinfo=UTC),
    datetime(2025, 10, 9, 23, 58, 50, tzinfo=UTC),
    datetime(2025, 10, 31, 23, 59, 30, tzinfo=UTC),
    datetime(2025, 12, 31, 23, 57, 0, tzinfo=UTC),
    datetime(2028, 2, 28, 23, 59, 0, tzinfo=UTC),
    datetime(2026, 3, 1, 0, 0, 0, tzinfo=UTC),
)
_STRIKES_SHARE = 0.4
"""share of runs in which a clock is ever wrong"""


def begin_ms(rng: random.Random) -> int:
    return round(rng.choice(_BEGINS).timestamp() * 1000)


class Clocks:
    """`calm` corrects most of the steps."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._wrong: list[tuple[LoopClock, int]] = []
        self._strikes = rng.random() < _STRIKES_SHARE

    def strike(self) -> None:
        rng = self._rng
        if not self._strikes:
            return
        if self._wrong and rng.random() < 0.4:
            self._right()
        elif rng.random() < 0.12:
            # Rows expire by the age of their windows, so worker and shard clocks are off by hours
            # at most; a broker's by a day.
            of_brokers = rng.random() < 0.7
            clock = self._world.broker_clock if of_brokers else self._world.clock
            steps_ms = (*_STEPS_MS, _DAY_MS) if of_brokers else _STEPS_MS
            delta_ms = rng.choice(steps_ms) * rng.choice((-1, 1))
            clock.jump_wall(delta_ms)
            self._wrong.append((clock, delta_ms))

    def calm(self) -> None:
        while self._wrong and self._rng.random() < 0.8:
            self._right()

    def _right(self) -> None:
        clock, delta_ms = self._wrong.pop()
        clock.jump_wall(-delta_ms)
