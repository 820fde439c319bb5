"""The state machine of one signal: up at once, down one level at a time.

    reading        level              low readings in a row
    above it       the reading's      0
    equal to it    stays              0
    below it       stays              one more; with the `FALL_READINGS`-th the level falls by
                                      one, and they count from 0 again

So a reading fades by one level every N = `FALL_READINGS` readings, and the level is what is left of
the worst: after readings m_0 ... m_t it is max over s of m_s - floor((t - s) / N). That law is
tests/properties/test_fading_laws.py. Readings are counted and not seconds, so that a process which
slept is not taken for one that was well.
"""

from __future__ import annotations

from streams.core.degradation.level import Level

FALL_READINGS = 10


class Fading:
    """The level of one signal."""

    def __init__(self, fall_readings: int = FALL_READINGS) -> None:
        self.level = Level.HEALTHY
        self._fall_readings = fall_readings
        self._low = 0

    def read(self, level: Level) -> Level:
        """Take one reading; the level after it."""
        if level >= self.level:
            self.level, self._low = level, 0
            return self.level
        self._low += 1
        if self._low == self._fall_readings:
            self.level, self._low = Level(self.level - 1), 0
        return self.level
