"""Laws of load tests: what is due does not depend on answers, and each due request is measured once."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.dev.simulation.loop import LoopClock, VirtualLoop, run
from streams.operate.loadtest.open_loop import UNANSWERED, UNSENT, Horizon, OpenLoop
from streams.operate.loadtest.recorder import GROWTH, LOWEST_S, FlowRecord, RequestOutcome
from streams.operate.loadtest.schedule import due_times
from tests.depth import cases

_TICK_S = 1e-3
"""What the virtual loop adds to a wait of no length, many times over."""


class _Listed(FlowRecord):
    """Keeps each request, too."""

    def __init__(self):
        super().__init__(60.0)
        self.listed = []

    def add(self, due_s, latency_s, outcome):
        super().add(due_s, latency_s, outcome)
        self.listed.append((due_s, latency_s, outcome))


def _measured(due_s, serve, in_flight, duration_s=60.0, drain_s=1e6, stop_at_s=None):
    """Every recorded request, in the order of their due times. ``serve(clock)`` is one request."""
    loop = VirtualLoop()
    clock, record = LoopClock(loop), _Listed()

    async def main():
        horizon = Horizon(clock, duration_s, drain_s)
        if stop_at_s is not None:
            loop.call_later(stop_at_s, horizon.stop)
        flow = OpenLoop(horizon, in_flight, record)
        await flow.run(np.array(due_s, np.float64), lambda: serve(clock))

    run(loop, main())
    return sorted(record.listed, key=lambda one: one[0])


_DUE = st.lists(st.floats(0, 30), min_size=1, max_size=25, unique=True).map(sorted)


@settings(max_examples=cases(90), deadline=None)
@given(_DUE, st.lists(st.floats(0.001, 5), min_size=25, max_size=25), st.integers(1, 30))
def test_latencies_of_a_queue_do_not_depend_on_the_bound_of_open_requests(due_s, works, in_flight):
    """A server of one desk: by Lindley, each answer comes when the one before it and its own work
    are done. A closed loop of few clients would hide the queue (coordinated omission)."""
    desk = asyncio.Lock()
    left = iter(works)

    async def serve(clock):
        async with desk:
            await clock.sleep(next(left))
        return RequestOutcome()

    found = _measured(due_s, serve, in_flight)
    done_s = 0.0
    for (due, latency_s, _), expected_due, work_s in zip(found, due_s, works, strict=False):
        done_s = max(done_s, expected_due) + work_s
        assert due == expected_due
        assert latency_s == pytest.approx(done_s - due, abs=_TICK_S * len(due_s))
    assert len(found) == len(due_s)


@settings(max_examples=cases(90), deadline=None)
@given(_DUE, st.integers(1, 5), st.floats(0.1, 10))
def test_requests_of_a_server_that_never_answers_are_measured(due_s, in_flight, drain_s):
    """Those without an answer and those that were never sent are failures as old as they are."""

    async def serve(clock):
        await clock.sleep(1e9)

    found = _measured(due_s, serve, in_flight, duration_s=30.5, drain_s=drain_s)
    assert [due for due, _, _ in found] == due_s
    assert [outcome for *_, outcome in found[:in_flight]] == [UNANSWERED] * min(
        in_flight, len(due_s)
    )
    assert {outcome for *_, outcome in found[in_flight:]} <= {UNSENT}
    for due, latency_s, _ in found:
        assert latency_s == pytest.approx(30.5 + drain_s - due, abs=0.3)


@settings(max_examples=cases(60), deadline=None)
@given(_DUE, st.floats(0.1, 30), st.integers(1, 30))
def test_a_stop_measures_what_was_due_and_nothing_else(due_s, stop_at_s, in_flight):
    """Ctrl-C ends a test early; what was due by then is in the report."""

    async def serve(clock):
        await clock.sleep(0.5)
        return RequestOutcome()

    found = _measured(due_s, serve, in_flight, stop_at_s=stop_at_s)
    sent = [due for due, _, _ in found]
    assert sent == due_s[: len(sent)]
    assert all(due < stop_at_s for due in sent)
    # a sending wakes up a little behind its due time
    assert all(due >= stop_at_s - _TICK_S for due in due_s[len(sent) :])


@settings(max_examples=cases(60), deadline=None)
@given(st.floats(0.5, 200), st.floats(1, 60), st.floats(0, 1), st.booleans())
def test_the_rate_rises_through_the_ramp_and_then_holds(rate, duration_s, ramp_share, poisson):
    """The number of requests before any time follows the integral of the rate."""
    ramp_s = duration_s * ramp_share
    due = due_times(rate, duration_s, ramp_s, np.random.default_rng(1) if poisson else None)
    assert np.all(np.diff(due) >= 0)
    assert np.all((due >= 0) & (due < duration_s + 1e-9))
    for at_s in np.linspace(0, duration_s, 9):
        early = min(at_s, ramp_s)
        expected = (rate * early**2 / (2 * ramp_s) if ramp_s else 0) + rate * (at_s - early)
        slack = 6 * np.sqrt(expected + 1) if poisson else 1
        assert abs(np.count_nonzero(due < at_s) - expected) <= slack


@settings(max_examples=cases(90), deadline=None)
@given(st.lists(st.floats(1e-6, 9e3), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_never_below_the_true_one_and_at_most_a_hundredth_above(latencies, share):
    """A threshold that holds in the report holds in truth."""
    record = FlowRecord(60.0)
    for one in latencies:
        record.add(1.0, one, RequestOutcome())
    true = float(np.quantile(latencies, share, method="inverted_cdf"))
    found = record.quantile_s(share)
    assert true * (1 - 1e-9) <= found <= max(LOWEST_S, true * GROWTH) * (1 + 1e-9)
