"""Write-behind: coalesced, bounded, retried, and flushed on stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from streams.connect.cache.write_behind import WriteBehind
from streams.core.clock import VirtualClock, settle
from streams.core.errors import CacheUnavailable
from streams.core.telemetry.metrics import Metrics


class Target:
    """The target of writes; it fails while ``away``."""

    def __init__(self) -> None:
        self.batches: list[dict[str, int]] = []
        self.away = False

    async def write(self, batch: Mapping[str, int]) -> None:
        if self.away:
            raise CacheUnavailable("away")
        self.batches.append(dict(batch))


def _made(target: Target, clock: VirtualClock, bound: int = 3) -> WriteBehind[int]:
    return WriteBehind("w", target.write, clock, Metrics(), bound=bound, interval_s=1.0)


async def test_the_newest_value_of_each_name_is_written():
    """Ten changes of one name within an interval make one write."""
    target, clock = Target(), VirtualClock()
    behind = _made(target, clock)
    task = asyncio.create_task(behind.run())
    await settle()
    for value in range(10):
        await behind.put("a", value)
    await behind.put("b", 1)
    assert behind.waiting("a") == 9
    await clock.advance(1.0)
    assert target.batches == [{"a": 9, "b": 1}]
    assert len(behind) == 0
    task.cancel()


async def test_a_full_queue_makes_writers_wait():
    """The queue in memory is bounded, so faster writers are slowed down."""
    target, clock = Target(), VirtualClock()
    behind = _made(target, clock, bound=2)
    await behind.put("a", 1)
    await behind.put("b", 1)
    third = asyncio.create_task(behind.put("c", 1))
    await settle()
    assert not third.done()
    await behind.put("a", 2)
    await behind.flush()
    await third
    await behind.flush()
    assert target.batches == [{"a": 2, "b": 1}, {"c": 1}]


async def test_an_absent_target_gets_all_values_later():
    """A failed batch stays in the queue with later changes."""
    target, clock = Target(), VirtualClock()
    behind = _made(target, clock)
    task = asyncio.create_task(behind.run())
    await settle()
    target.away = True
    await behind.put("a", 1)
    await clock.advance(1.0)
    await behind.put("b", 2)
    target.away = False
    await clock.advance(10.0)
    assert target.batches == [{"a": 1, "b": 2}]
    task.cancel()


async def test_flush_returns_the_unwritten_names():
    """A stop reports lost values."""
    target = Target()
    behind = _made(target, VirtualClock())
    await behind.put("a", 1)
    target.away = True
    with pytest.raises(CacheUnavailable):
        await behind.flush()
    assert behind.waiting("a") == 1


async def test_an_offer_is_accepted_or_refused_at_once():
    """A request handler cannot wait for room; a name that is already in the queue needs none."""
    target, clock = Target(), VirtualClock()
    behind = _made(target, clock, bound=2)
    assert [behind.offer(name, 1) for name in "abc"] == [True, True, False]
    assert behind.offer("a", 2)
    await behind.flush()
    assert target.batches == [{"a": 2, "b": 1}]
    assert behind.offer("c", 3)


async def test_the_number_of_waiting_writes_is_shown():
    """What waits is lost with the process: its gauge is the only warning."""
    metrics, target = Metrics(), Target()
    behind = WriteBehind("w", target.write, VirtualClock(), metrics, bound=3, interval_s=1.0)

    def shown():
        return metrics.registry.get_sample_value("dia_cache_write_behind_entries", {"cache": "w"})

    await behind.put("a", 1)
    assert shown() == 1
    behind.offer("b", 1)
    assert shown() == 2
    await behind.flush()
    assert shown() == 0


@pytest.mark.parametrize(
    ("interval_s", "pauses"),
    [(1.0, [1.0, 2.0, 4.0, 5.0, 5.0]), (0.01, [0.01, 0.1, 0.2, 0.4, 0.8])],
)
async def test_attempts_at_an_absent_target_get_rarer(interval_s, pauses):
    """Twice the interval at first, a tenth of a second at least, and 5 s at most."""
    clock, slept = VirtualClock(), []

    class Sleeping(VirtualClock):
        async def sleep(self, delay_s):
            slept.append(delay_s)
            await clock.sleep(delay_s)

    target = Target()
    target.away = True
    behind = WriteBehind("w", target.write, Sleeping(), Metrics(), bound=3, interval_s=interval_s)
    await behind.put("a", 1)
    task = asyncio.create_task(behind.run())
    await settle()
    for pause_s in pauses[:-1]:
        await clock.advance(pause_s)
        await settle()
    assert slept == pytest.approx(pauses)
    target.away = False
    await clock.advance(pauses[-1])
    await settle()
    assert target.batches == [{"a": 1}]
    assert slept[-1] == interval_s, "after a success the interval counts again"
    target.away = True
    await behind.put("a", 2)
    await clock.advance(interval_s)
    await settle()
    assert slept[-1] == pauses[1], "and so does the first pause"
    task.cancel()
