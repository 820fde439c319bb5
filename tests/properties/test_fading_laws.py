"""A decaying level against its law: the worst reading, lowered by one level every N readings."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streams.core.degradation.fading import Fading
from streams.core.degradation.level import Level

READINGS = st.lists(st.sampled_from(list(Level)), min_size=1, max_size=80)


def _left(readings, fall_readings):
    last = len(readings) - 1
    return max(level - (last - at) // fall_readings for at, level in enumerate(readings))


@given(READINGS, st.integers(1, 12))
def test_the_level_is_the_decayed_worst_reading(readings, fall_readings):
    """The state machine's table must agree with its description."""
    fading = Fading(fall_readings)
    for count in range(1, len(readings) + 1):
        assert fading.read(readings[count - 1]) == _left(readings[:count], fall_readings)


@given(READINGS, st.integers(1, 12))
def test_the_level_is_at_least_the_last_reading_and_falls_one_step_at_a_time(
    readings, fall_readings
):
    """It rises at once and falls slowly."""
    fading = Fading(fall_readings)
    falls = []
    before = Level.HEALTHY
    for at, reading in enumerate(readings):
        after = fading.read(reading)
        assert after >= reading
        assert after >= before - 1
        if after < before:
            falls.append(at)
        before = after
    assert all(later - earlier >= fall_readings for earlier, later in pairwise(falls))
