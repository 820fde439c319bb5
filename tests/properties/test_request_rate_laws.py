"""The request limit against a log of all requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.access import request_rate
from streams.connect.access.refusals import RateLimited
from streams.connect.access.request_rate import RequestRate

PERIOD_S = 60.0

steps = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 0.1, 1.0, 7.5, 60.0, 500.0])),
    max_size=80,
)


class ManualClock:
    """A clock set by the test."""

    def __init__(self) -> None:
        self.at = 0.0

    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, delay_s: float) -> None:
        raise AssertionError


def _wait_s(rate: RequestRate, client: str) -> float | None:
    try:
        rate.take(client)
    except RateLimited as refused:
        return refused.retry_after_s
    return None


@given(steps, st.integers(1, 9))
def test_no_span_exceeds_burst_plus_rate(taken, limit):
    """In any span of s seconds, a client gets at most limit * (1 + s / period) requests; a client
    that waits as answered is accepted."""
    clock = ManualClock()
    rate = RequestRate(clock, limit=limit, period_s=PERIOD_S)
    granted: dict[str, list[float]] = {"a": [], "b": []}
    for client, pause_s in taken:
        clock.at += pause_s
        wait_s = _wait_s(rate, client)
        if wait_s is not None:
            assert 0 < wait_s <= PERIOD_S
            clock.at += wait_s
            rate.take(client)
        granted[client].append(clock.at)
    for moments in granted.values():
        for i, start in enumerate(moments):
            for count, end in enumerate(moments[i:], 1):
                assert count <= limit * (1 + (end - start) / PERIOD_S) + 1e-6


def test_the_whole_limit_may_come_at_once():
    """A client that was silent may use its whole burst."""
    rate = RequestRate(ManualClock(), limit=1000, period_s=PERIOD_S)
    for _ in range(1000):
        rate.take("a")
    with pytest.raises(RateLimited):
        rate.take("a")
    rate.take("b")


def test_idle_clients_are_forgotten(monkeypatch):
    """Memory is bounded by the clients that are active, not by all that ever were."""
    monkeypatch.setattr(request_rate, "CLIENTS_MAX", 3)
    clock = ManualClock()
    rate = RequestRate(clock, limit=10, period_s=PERIOD_S)
    for name in "abc":
        rate.take(name)
    with pytest.raises(RateLimited):
        rate.take("d")
    clock.at += PERIOD_S
    for name in "def":
        rate.take(name)


def test_a_known_client_continues_while_there_are_too_many(monkeypatch):
    """A flood of new names must not lock out earlier clients."""
    monkeypatch.setattr(request_rate, "CLIENTS_MAX", 3)
    rate = RequestRate(ManualClock(), limit=10, period_s=PERIOD_S)
    for name in "abc":
        rate.take(name)
    with pytest.raises(RateLimited, match="too many clients"):
        rate.take("d")
    rate.take("a")
