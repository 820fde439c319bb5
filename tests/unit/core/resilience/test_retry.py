"""Retries with their default limits."""

from __future__ import annotations

import pytest

from streams.core.clock import VirtualClock
from streams.core.errors import ShardUnavailable
from streams.core.records.bad_records import RetriesExhausted
from streams.core.resilience.retry import Retrier, RetryPolicy


class RecordedSleeps(VirtualClock):
    """Records each sleep and returns at once."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_s: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)


async def _fails() -> None:
    raise ShardUnavailable("away")


async def _slept(retrier: Retrier, clock: RecordedSleeps) -> list[float]:
    clock.slept_s.clear()
    with pytest.raises(RetriesExhausted):
        await retrier.run(_fails)
    return list(clock.slept_s)


async def test_an_event_waits_one_two_and_four_seconds_give_or_take_a_fifth():
    """Over many seeds each pause fills its range and no more, so that events which failed together
    are retried apart.
    """
    clock = RecordedSleeps()
    pauses = [await _slept(Retrier(RetryPolicy(), clock, seed), clock) for seed in range(300)]
    for pause_s, drawn in zip((1.0, 2.0, 4.0), zip(*pauses, strict=True), strict=True):
        assert pause_s * 0.8 <= min(drawn) < pause_s * 0.83
        assert pause_s * 1.17 < max(drawn) <= pause_s * 1.2


def test_the_longest_wait_of_an_event_is_all_its_pauses_at_their_longest():
    """Deadlines of a partition depend on it: 7 s plus a fifth."""
    assert RetryPolicy().longest_s == pytest.approx(8.4)


async def test_a_partition_has_a_hundred_retries_in_advance():
    """A partition in which every event fails must not retry without end: after 33 events with three
    retries each, retries come at the rate of new events.
    """
    clock = RecordedSleeps()
    retrier = Retrier(RetryPolicy(), clock, 1)
    spent = [len(await _slept(retrier, clock)) for _ in range(200)]
    assert spent[:33] == [3] * 33
    assert sum(spent) == 100 + 19  # > 200 events earn 20 retries; the first finds the full budget


@pytest.mark.parametrize(("events", "earned"), [(8, 0), (11, 1)])
async def test_about_ten_events_earn_one_retry(events, earned):
    """Each successful event earns a tenth of a retry, including an event that needed one."""
    clock = RecordedSleeps()
    retrier = Retrier(RetryPolicy(pauses_s=(1.0,), budget_max=1.0), clock, 1)

    async def succeeds() -> None: ...

    assert len(await _slept(retrier, clock)) == 1
    for _ in range(events - 1):
        await retrier.run(succeeds)
    assert len(await _slept(retrier, clock)) == earned
