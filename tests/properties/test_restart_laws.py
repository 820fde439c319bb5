"""When a supervisor restarts a crashed service: bounded attempts and bounded delays."""

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
def test_a_service_is_given_up_exactly_after_too_many_deaths_in_the_window(gaps):
    """Not earlier: a fault test kills a service now and then for hours. Not later: a service that
    dies at once would use a core endlessly."""
    policy, now, deaths = RestartPolicy(), 0.0, []
    for gap in gaps:
        now += gap
        deaths.append(now)
        together = sum(1 for death in deaths if now - death < WITHIN_S)
        assert (policy.died(now) is None) == (together > DEATHS_MAX)


@given(_gaps)
def test_every_delay_is_within_its_bounds(gaps):
    """A restart is never immediate and never later than an operator would accept."""
    policy, now = RestartPolicy(), 0.0
    for gap in gaps:
        now += gap
        delay_s = policy.died(now)
        assert delay_s is None or FIRST_DELAY_S <= delay_s <= DELAY_MAX_S


def test_consecutive_deaths_wait_longer_each_time():
    """A service that failed twice is likely to fail again."""
    policy = RestartPolicy()
    delays = [policy.died(0.0) for _ in range(DEATHS_MAX)]
    assert delays == sorted(set(delays))


def test_a_reset_starts_over():
    """After a repair, earlier deaths do not count."""
    policy = RestartPolicy()
    while policy.died(0.0) is not None:
        pass
    policy.forgive()
    assert policy.died(0.0) == FIRST_DELAY_S
