"""The state machine of one signal: rises at once, falls one level at a time.

    reading        level              low readings in a row
    above it       the reading's      0
    equal to it    stays              0
    below it       stays              one more; the `FALL_READINGS`-th lowers the level by one
                                      and resets the count

With N = `FALL_READINGS`, the level after readings m_0 ... m_t is max over s of m_s - floor((t - s)
/ N) (tests/properties/test_fading_laws.py). Readings are counted, not seconds, so that sleep is not
recovery.
"""

from __future__ import annotations

from streams.core.degradation.level import Level

FALL_READINGS = 10


class Fading:
    def __init__(self, fall_readings: int = FALL_READINGS) -> None:
        self.level = Level.HEALTHY
        self._fall_readings = fall_readings
        self._low = 0

    def read(self, level: Level) -> Level:
        if level >= self.level:
            self.level, self._low = level, 0
            return self.level
        self._low += 1
        if self._low == self._fall_readings:
            self.level, self._low = Level(self.level - 1), 0
        return self.level
