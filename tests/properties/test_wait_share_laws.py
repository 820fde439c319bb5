"""Laws of waits (docs/protocols/agent_waits.md): tenants whose events wait longer than those of others take a bounded share
of an agent's time, and one that keeps to its share is refused nothing."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from streams.core.clock import VirtualClock
from streams.engine.runtime.partition.wait_shares import LEAST_S, ORDINARY, WaitShares

TIMEOUT_S = 300.0
BURST_S = 60.0
HOSTILE = ("h1", "h2", "h3")
waits_s = st.sampled_from([0.0, 0.005, 0.02, 0.9, 5.0, 60.0, TIMEOUT_S])


class Line:
    """A partition that gives one event after another, on a clock that only waits move."""

    def __init__(self, share):
        self.clock = VirtualClock()
        self.shares = WaitShares(self.clock, share, BURST_S)
        self.excess_s = 0.0
        self.refused = set()

    def pass_time(self, seconds):
        self.clock._now_s += seconds

    def give(self, tenant, wait_s, free_s):
        """Whether it was given."""
        if self.shares.is_over(tenant):
            self.refused.add(tenant)
            return False
        self.pass_time(wait_s)
        if wait_s:
            self.shares.waited(tenant, wait_s)
        else:
            self.shares.passed(tenant)
        self.excess_s += max(0.0, wait_s - free_s)
        return True


histories = st.lists(
    st.tuples(st.sampled_from(HOSTILE), waits_s, st.sampled_from([0.0, 0.0, 1.0, 400.0])),
    max_size=80,
)


@given(st.sampled_from([0.1, 0.5, 0.9]), histories)
@example(0.5, [("h1", TIMEOUT_S, 0.0)] * 30)
@example(0.5, [(one, 60.0, 0.0) for _ in range(20) for one in HOSTILE])
def test_all_excess_together_is_bounded(share, history):
    """In any time: the share of it, and for each tenant 60 s and one event. The victim's event, which waits behind them,
    is given after at most ``(n (60 s + timeout) + ordinary waits) / (1 - share)``."""
    line = Line(share)
    line.give("victim", 0.0, 0.0)
    began_s = line.clock.monotonic()
    for tenant, wait_s, pause_s in history:
        line.give(tenant, wait_s, LEAST_S)
        line.pass_time(pause_s)
        passed_s = line.clock.monotonic() - began_s
        assert line.excess_s <= share * passed_s + len(HOSTILE) * (BURST_S + TIMEOUT_S)
    assert "victim" not in line.refused


@given(st.lists(st.tuples(waits_s, waits_s), max_size=60), st.integers(1, 3))
def test_a_tenant_that_keeps_to_its_part_is_refused_nothing(history, tenants):
    """Whatever others do: fast ones make every wait of it an excess, slow ones take part in the share."""
    line, others = Line(0.5), HOSTILE[:tenants]
    for own_s, other_s in history:
        for other in others:
            line.give(other, other_s, 0.0)
        line.give("steady", min(own_s, BURST_S / 2), 0.0)
        line.pass_time(min(own_s, BURST_S / 2) * 2 * (tenants + 1))
    assert "steady" not in line.refused


@given(st.floats(0.05, 250.0), st.floats(1.0, ORDINARY), st.integers(1, 60))
def test_waits_like_those_of_others_are_no_excess(mean_s, factor, events):
    """A service that is slow for all is no tenant's fault, however many events one of them has."""
    line = Line(0.1)
    line.shares.waited("small", mean_s)
    for _ in range(events):
        assert line.give("big", min(mean_s * factor, mean_s * ORDINARY), 0.0)


@given(histories)
def test_excess_ends_with_time(history):
    """Nothing has to be done once the waits are short again."""
    line = Line(0.5)
    line.give("victim", 0.0, 0.0)
    for tenant, wait_s, pause_s in history:
        line.give(tenant, wait_s, 0.0)
        line.pass_time(pause_s)
    line.pass_time(len(HOSTILE) * (BURST_S + TIMEOUT_S) / 0.5)
    assert not any(line.shares.is_over(tenant) for tenant in HOSTILE)
    assert not line.shares.strained


@given(st.lists(st.floats(0.02, 100.0), min_size=1, max_size=300), st.floats(0.0, 500.0))
@example([5.0] * 49, 2.0)
@example([5.0] * 103, 2.0)
def test_tenants_together_drain_the_share_of_the_time(waits_s, pause_s):
    """Whatever their number: 1 s in 49 equal parts is not 1 s again in floating point, and the event loop must not divide
    the rest without end."""
    line = Line(0.5)
    line.give("victim", 0.0, 0.0)
    for at, wait_s in enumerate(waits_s):
        line.shares.waited(f"slow-{at}", wait_s)
    before_s = list(line.shares._excess_s.values())
    line.pass_time(pause_s)
    line.shares.waited("slow-0", 2 * LEAST_S)
    after_s = sum(line.shares._excess_s.values()) - LEAST_S
    assert abs(after_s - max(0.0, sum(before_s) - 0.5 * pause_s)) < 1e-6
