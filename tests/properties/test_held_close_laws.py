"""Laws of held windows (docs/protocols/held_closes.md): one owner's failing calls delay no other owner, take a bounded
share of the time, and each of its windows is tried repeatedly."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from streams.core.clock import VirtualClock
from streams.core.settings import Settings
from streams.core.types import TopicPartition
from streams.engine.runtime.partition.held_closes import LONGEST_PAUSE_S, HeldCloses, HeldWindow

TP = TopicPartition("orders", 0)
OWNERS = ("a", "b")
"""fewer than `DIA_POISON_MIN_TENANTS`"""
MINUTE_MS = 60_000


class Line:
    """A partition that closes windows one after another, on a clock that only its calls and pauses move."""

    def __init__(self):
        self.clock = VirtualClock()
        self.held = HeldCloses(TP, Settings(poison_min_records=1), self.clock, {})
        self.began = self.clock.monotonic()
        self.spent_s = Counter()
        self.tried = {}
        self.open = set()

    def pass_time(self, seconds):
        self.clock._now_s += seconds

    def call(self, owner, window, took_s, fails):
        self.pass_time(took_s)
        self.spent_s[owner] += took_s
        self.tried[window] = self.clock.monotonic()
        if fails:
            self.held.failed(owner, window, "agent_failed", "why", took_s)
            self.open.add(window)
        else:
            self.held.closed(owner, window)
            self.open.discard(window)

    def due(self, owner, window, took_s, fails):
        if self.held.waits(owner):
            self.held.add(owner, window)
            self.tried.setdefault(window, self.clock.monotonic())
            self.open.add(window)
        else:
            self.call(owner, window, took_s, fails)

    def try_held(self, took_s, fails):
        window = self.held.next_due()
        if window is not None:
            self.call(window.key, window, took_s, fails)
        return window is not None


def _window(owner, number):
    return HeldWindow("counts", owner, number * MINUTE_MS, (number + 1) * MINUTE_MS)


steps = st.lists(
    st.tuples(
        st.sampled_from(OWNERS),
        st.sampled_from([0.0, 0.05, 2.0, 10.0]),
        st.booleans(),
        st.sampled_from([0.0, 0.5, 30.0, 400.0]),
    ),
    max_size=60,
)


@given(steps)
def test_what_is_held_is_what_failed_and_did_not_close_since(history):
    """A window that is forgotten never closes; one that stays held after its close would close twice."""
    line = Line()
    for number, (owner, took_s, fails, pause_s) in enumerate(history):
        line.due(owner, _window(owner, number), took_s, fails)
        line.pass_time(pause_s)
        line.try_held(took_s, fails)
        assert len(line.held) == len(line.open)
        assert all(window in line.held for window in line.open)
        assert sum(one.windows for one in line.held.owners()) == len(line.open)


@given(steps)
def test_an_owner_makes_no_other_owner_wait(history):
    """Its failed and slow calls say nothing about windows of others."""
    line = Line()
    for number, (owner, took_s, _, pause_s) in enumerate(history):
        if owner == "a":
            line.due("a", _window("a", number), took_s, fails=True)
        assert not line.held.waits("b")
        line.pass_time(pause_s)
        line.try_held(took_s, fails=True)


@given(st.integers(1, 40), st.sampled_from([0.2, 2.0, 10.0]), st.sampled_from([0.1, 1.0, 7.0]))
def test_calls_that_wait_and_fail_take_a_tenth_of_the_time(windows, took_s, look_s):
    """However many windows of the owner are due, and however often the partition looks."""
    line = Line()
    for number in range(windows):
        line.due("a", _window("a", number), took_s, fails=True)
    while line.clock.monotonic() - line.began < 2000:
        line.pass_time(look_s)
        line.try_held(took_s, fails=True)
    assert line.spent_s["a"] <= 0.1 * (line.clock.monotonic() - line.began) + took_s


@given(st.integers(1, 6), st.sampled_from([0.0, 2.0]))
def test_each_held_window_is_tried_again_in_its_turn(windows, took_s):
    """The first one, which may fail for ever, does not keep the others from theirs."""
    line = Line()
    for number in range(windows):
        line.due("a", _window("a", number), took_s, fails=True)
    before = dict(line.tried)
    until_s = line.clock.monotonic() + (windows + 1) * (LONGEST_PAUSE_S + 20 * took_s + 1)
    while line.clock.monotonic() < until_s:
        line.pass_time(1.0)
        line.try_held(took_s, fails=True)
    assert all(line.tried[window] > before[window] for window in before)


@given(steps)
def test_once_calls_succeed_nothing_is_held_within_the_longest_pause(history):
    """The end of a fault needs no operator."""
    line = Line()
    for number, (owner, took_s, fails, pause_s) in enumerate(history):
        line.due(owner, _window(owner, number), took_s, fails)
        line.pass_time(pause_s)
    line.pass_time(LONGEST_PAUSE_S + 90.0)
    while line.try_held(0.0, fails=False):
        pass
    assert len(line.held) == 0
