"""Laws of a host whose number of worker processes follows their load."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.runtime.process_scale import (
    DOWN_BEHIND_S,
    DOWN_BUSY,
    UP_BEHIND_S,
    UP_BUSY,
    HostLoad,
    ProcessScale,
)
from tests.depth import cases

UP_S, DOWN_S = 30.0, 120.0
_LOAD = st.builds(
    HostLoad,
    behind_s=st.sampled_from([0.0, 0.9, 1.0, 4.9, 5.1, 600.0]),
    busy=st.sampled_from([0.0, 0.4, 0.6, 1.1, 1.6, 5.0]),
    starting=st.booleans(),
    idle=st.booleans(),
)
# Loads last, as they do: else no time would ever be full.
_LOOKS = st.lists(st.tuples(_LOAD, st.integers(1, 200)), max_size=12)


@settings(max_examples=cases(200), deadline=None)
@given(st.integers(1, 4), st.integers(0, 4), _LOOKS)
def test_a_process_comes_or_goes_only_after_its_time_at_a_load_that_asks_for_it(least, more, looks):
    """A number that flaps would pay a rebalance of the group for each change."""
    scale, now_s, changes = ProcessScale(least, least + more, UP_S, DOWN_S), 0.0, []
    over_s = under_s = None
    for load, seconds in looks:
        for _ in range(seconds):
            now_s += 1.0
            size = scale.size
            over = load.behind_s > UP_BEHIND_S or load.busy > UP_BUSY * size
            under = load.behind_s < DOWN_BEHIND_S and load.busy < DOWN_BUSY * (size - 1)
            works = not load.starting
            over_s = None if not (over and works) else now_s if over_s is None else over_s
            under_s = None if not (under and works) else now_s if under_s is None else under_s
            decision = scale.step(load, now_s)
            assert least <= scale.size <= least + more
            if decision is None:
                assert scale.size == size
                continue
            assert (decision.before, decision.after) == (size, scale.size)
            assert abs(decision.after - decision.before) == 1
            if decision.after > size:
                assert now_s - over_s >= UP_S
                assert not load.idle
            else:
                assert now_s - under_s >= DOWN_S
            over_s = under_s = None
            changes.append(now_s)
    assert all(later - sooner >= UP_S for sooner, later in pairwise(changes))


@settings(max_examples=cases(100), deadline=None)
@given(st.floats(0.0, 6.0), st.integers(1, 4), st.integers(0, 4))
def test_a_steady_load_of_processors_is_followed_and_then_left_alone(busy, least, more):
    """Processes that hold the load use at most 70 % of a processor each, and one fewer would use more
    than half."""
    scale = ProcessScale(least, least + more, UP_S, DOWN_S)
    steps = [scale.step(HostLoad(0.0, busy), float(second)) for second in range(3000)]
    size = scale.size
    assert size == least + more or busy <= UP_BUSY * size
    assert all(scale.step(HostLoad(0.0, busy), 3000.0 + second) is None for second in range(1000))
    assert sum(step is not None for step in steps) == size - least


def test_a_backlog_reaches_the_most_and_silence_the_least():
    """Else the bounds of the options would be decoration."""
    scale, sizes = ProcessScale(1, 4, UP_S, DOWN_S), []
    for second in range(1200):
        behind_s = 60.0 if second < 300 else 0.0
        scale.step(HostLoad(behind_s, 0.2), float(second))
        sizes.append(scale.size)
    assert (sizes[29], max(sizes), sizes[-1]) == (1, 4, 1)
