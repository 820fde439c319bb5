"""When a crashed service is tried again: bounded patience, bounded haste."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.core.process.restart import (
    DEATHS_MAX,
    DELAY_MAX_S,
    FIRST_DELAY_S,
    WITHIN_S,
    RestartPolicy,
)

_gaps = st.lists(st.floats(0, 2 * WITHIN_S), max_size=60)


@given(_gaps)
def test_it_is_given_up_exactly_when_too_many_deaths_fall_together(gaps):
    """Never sooner: a fault test may kill a service now and then for hours. Never later: a
    service that dies at once would burn a core for ever."""
    policy, now, deaths = RestartPolicy(), 0.0, []
    for gap in gaps:
        now += gap
        deaths.append(now)
        together = sum(1 for death in deaths if now - death < WITHIN_S)
        assert (policy.died(now) is None) == (together > DEATHS_MAX)


@given(_gaps)
def test_every_delay_is_within_its_bounds(gaps):
    """No restart without a breath, none later than a person would wait."""
    policy, now = RestartPolicy(), 0.0
    for gap in gaps:
        now += gap
        delay_s = policy.died(now)
        assert delay_s is None or FIRST_DELAY_S <= delay_s <= DELAY_MAX_S


def test_deaths_in_a_row_wait_longer_each_time():
    """What fails twice is likely to fail again: leave it time to pass."""
    policy = RestartPolicy()
    delays = [policy.died(0.0) for _ in range(DEATHS_MAX)]
    assert delays == sorted(set(delays))


def test_forgiveness_starts_over():
    """After a repair the old deaths say nothing."""
    policy = RestartPolicy()
    while policy.died(0.0) is not None:
        pass
    policy.forgive()
    assert policy.died(0.0) == FIRST_DELAY_S
