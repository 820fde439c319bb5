"""Retries are bounded in number, in time and in sum, and deterministic for a seed."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.clock import VirtualClock
from streams.core.errors import Disposition, ShardUnavailable, TransientError
from streams.core.records.bad_records import InvalidJson, RetriesExhausted
from streams.core.resilience.retry import Retrier, RetryPolicy


class HeldError(TransientError):
    """Stands for an open breaker."""

    code = "waiting"
    disposition = Disposition.PAUSE


class RecordingClock(VirtualClock):
    """A clock that advances by its sleeps and records them."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_s: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)
        await asyncio.sleep(0)


class Flaky:
    """Fails a given number of times, then succeeds."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or ShardUnavailable("away")
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return self.calls


policies = st.builds(
    RetryPolicy,
    pauses_s=st.lists(st.floats(0.01, 60), max_size=5).map(tuple),
    jitter=st.floats(0, 0.9),
    budget_max=st.floats(0, 20),
    budget_per_event=st.floats(0, 2),
)


def run(retrier: Retrier, attempt: Flaky) -> int | str:
    async def outcome() -> int | str:
        try:
            return await retrier.run(attempt)
        except RetriesExhausted as error:
            return error.code if error.attempts == attempt.calls else "miscounted"

    return asyncio.run(outcome())


@given(policy=policies, failures=st.integers(0, 7), seed=st.integers(0, 2**32))
def test_an_event_is_tried_as_often_as_the_schedule_allows(policy, failures, seed):
    """Within the budget, it succeeds after at most as many failures as there are pauses; each pause
    is within its jitter."""
    policy = RetryPolicy(pauses_s=policy.pauses_s, jitter=policy.jitter)
    clock, attempt = RecordingClock(), Flaky(failures)
    result = run(Retrier(policy, clock, seed), attempt)
    allowed = len(policy.pauses_s)
    assert result == (failures + 1 if failures <= allowed else "retries_exhausted")
    assert attempt.calls == min(failures, allowed) + 1
    assert len(clock.slept_s) == attempt.calls - 1
    for slept_s, pause_s in zip(clock.slept_s, policy.pauses_s, strict=False):
        assert pause_s * (1 - policy.jitter) <= slept_s <= pause_s * (1 + policy.jitter)
    assert sum(clock.slept_s) <= policy.longest_s * (1 + 1e-9)


@given(policy=policies, events=st.lists(st.integers(0, 7), max_size=30))
def test_retries_stay_within_the_budget(policy, events):
    """While a dependency is unavailable, its load stays near that of normal operation."""
    clock = RecordingClock()
    retrier = Retrier(policy, clock, 1)
    for count, failures in enumerate(events, 1):
        run(retrier, Flaky(failures))
        allowed = policy.budget_max + count * policy.budget_per_event
        assert len(clock.slept_s) <= allowed * (1 + 1e-9)


@given(policy=policies, events=st.lists(st.integers(0, 7), max_size=8), seed=st.integers(0, 99))
def test_the_same_seed_gives_the_same_pauses(policy, events, seed):
    """A crash in a simulation is investigated by running the seed again."""

    def slept() -> list[float]:
        clock = RecordingClock()
        retrier = Retrier(policy, clock, seed)
        for failures in events:
            run(retrier, Flaky(failures))
        return clock.slept_s

    assert slept() == slept()


@pytest.mark.parametrize("error", [HeldError("open"), InvalidJson("bad"), ValueError("a bug")])
async def test_errors_that_no_retry_cures_pass_through(error):
    """An open breaker pauses the partition, a bad record is dead-lettered at once, and a bug is
    raised."""
    clock, attempt = RecordingClock(), Flaky(9, error)
    with pytest.raises(type(error)):
        await Retrier(RetryPolicy(), clock, 1).run(attempt)
    assert (attempt.calls, clock.slept_s) == (1, [])


async def test_a_breaker_that_opens_between_attempts_ends_them():
    """The event itself is valid: it must not be dead-lettered because of the retries."""
    clock, calls = RecordingClock(), []

    async def attempt() -> None:
        calls.append(1)
        raise HeldError("open") if len(calls) == 4 else ShardUnavailable("away")

    with pytest.raises(HeldError):
        await Retrier(RetryPolicy(), clock, 1).run(attempt)
    assert len(calls) == 4


async def test_the_last_cause_is_in_the_message():
    """The operator sees only the dead letter's message."""
    policy = RetryPolicy(budget_max=2.0, budget_per_event=0.0)
    retrier = Retrier(policy, RecordingClock(), 1)
    with pytest.raises(
        RetriesExhausted, match=r"3 attempts, the partition's budget is spent; .*away"
    ):
        await retrier.run(Flaky(9))
    retrier = Retrier(RetryPolicy(), RecordingClock(), 1)
    with pytest.raises(RetriesExhausted, match="4 attempts, its retries are used up"):
        await retrier.run(Flaky(9))
