"""Replays among the changes: one a plan, with the state that all its partitions have together."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.cache.cached_value import CachedValue
from streams.core.clock import VirtualClock
from streams.core.types import TopicPartition
from streams.http.console.history.ordered import OrderedChanges
from streams.operate.replay.journal.status import PartitionStatus, PlanStatus


class _Topic(NamedTuple):
    name: str


TOPIC = _Topic("model.metrics")


def _journal(number: int, **plan) -> PartitionStatus:
    found = PartitionStatus(TopicPartition("model.metrics.dlq.journal", number))
    found.plans["p1"] = PlanStatus("p1", None, False, 9, actor="ann", **plan)
    return found


@pytest.mark.parametrize("worse", ["running", "entered", "stopped", "paused", "cancelled"])
@pytest.mark.parametrize("first", [True, False])
async def test_a_replay_is_finished_when_every_partition_is(worse, first):
    """A plan that stopped in one partition must not read as finished, whichever comes last."""
    clock = VirtualClock()
    journals = [
        _journal(0, state=worse, letters=3, began_ms=50, last_ms=60),
        _journal(1, state="finished", letters=4, began_ms=20, last_ms=70),
    ]

    async def read():
        return {TOPIC: journals if first else journals[::-1]}

    changes = OrderedChanges(MemoryBroker(clock), [], CachedValue(read, 0.0, clock), clock)
    [found] = await changes.read()
    assert found.text == f"plan p1, 7 letters, {worse}, by ann"
    assert (found.at_ms, found.bad) == (20, worse == "stopped")
    await changes.close()
