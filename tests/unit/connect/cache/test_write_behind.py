"""Write-behind: coalesced, bounded, repeated, and flushed on stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from streams.connect.cache.write_behind import WriteBehind
from streams.core.clock import VirtualClock, settle
from streams.core.errors import CacheUnavailable
from streams.core.telemetry.metrics import Metrics


class Target:
    """What is written to; fails while ``away``."""

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
    """Ten changes of one name within an interval are one write."""
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
    """What waits in memory has a bound; whoever writes faster is slowed down."""
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


async def test_a_target_that_is_away_gets_everything_later():
    """A failed batch goes on waiting, together with what came meanwhile."""
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


async def test_flush_says_what_could_not_be_written():
    """At a stop, silence would be loss."""
    target = Target()
    behind = _made(target, VirtualClock())
    await behind.put("a", 1)
    target.away = True
    with pytest.raises(CacheUnavailable):
        await behind.flush()
    assert behind.waiting("a") == 1


async def test_an_offer_is_taken_or_left_at_once():
    """Who answers people cannot wait for room; a name that waits already needs none."""
    target, clock = Target(), VirtualClock()
    behind = _made(target, clock, bound=2)
    assert [behind.offer(name, 1) for name in "abc"] == [True, True, False]
    assert behind.offer("a", 2)
    await behind.flush()
    assert target.batches == [{"a": 2, "b": 1}]
    assert behind.offer("c", 3)
