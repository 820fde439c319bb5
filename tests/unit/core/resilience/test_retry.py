"""Retries with the figures they have where a caller states none."""

from __future__ import annotations

import pytest

from streams.core.clock import VirtualClock
from streams.core.errors import ShardUnavailable
from streams.core.records.bad_records import RetriesExhausted
from streams.core.resilience.retry import Retrier, RetryPolicy


class Diary(VirtualClock):
    """Remembers each sleep, and sleeps none."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_s: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)


async def _fails() -> None:
    raise ShardUnavailable("away")


async def _slept(retrier: Retrier, clock: Diary) -> list[float]:
    clock.slept_s.clear()
    with pytest.raises(RetriesExhausted):
        await retrier.run(_fails)
    return list(clock.slept_s)


async def test_an_event_waits_one_two_and_four_seconds_give_or_take_a_fifth():
    """Over many seeds each pause fills its range: no longer and no shorter, and spread, so that
    events which failed together do not come back together."""
    clock = Diary()
    pauses = [await _slept(Retrier(RetryPolicy(), clock, seed), clock) for seed in range(300)]
    for pause_s, drawn in zip((1.0, 2.0, 4.0), zip(*pauses, strict=True), strict=True):
        assert pause_s * 0.8 <= min(drawn) < pause_s * 0.83
        assert pause_s * 1.17 < max(drawn) <= pause_s * 1.2


def test_the_longest_wait_of_an_event_is_all_its_pauses_at_their_longest():
    """Deadlines of a partition are set from it: seven seconds and a fifth."""
    assert RetryPolicy().longest_s == pytest.approx(8.4)


async def test_a_partition_has_a_hundred_retries_in_advance():
    """A whole partition that fails is not retried without end: after 33 events of three retries
    each and what they earned, retries are as scarce as new events."""
    clock = Diary()
    retrier = Retrier(RetryPolicy(), clock, 1)
    spent = [len(await _slept(retrier, clock)) for _ in range(200)]
    assert spent[:33] == [3] * 33
    assert sum(spent) == 100 + 19  # 200 events earn 20, and the first finds nothing spent


@pytest.mark.parametrize(("events", "earned"), [(8, 0), (11, 1)])
async def test_about_ten_events_earn_one_retry(events, earned):
    """Good times pay for bad ones, slowly: a tenth each, the one that needs the retry included."""
    clock = Diary()
    retrier = Retrier(RetryPolicy(pauses_s=(1.0,), budget_max=1.0), clock, 1)

    async def succeeds() -> None: ...

    assert len(await _slept(retrier, clock)) == 1
    for _ in range(events - 1):
        await retrier.run(succeeds)
    assert len(await _slept(retrier, clock)) == earned
