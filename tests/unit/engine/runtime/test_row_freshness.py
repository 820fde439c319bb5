"""The age of rows at their acknowledgement, which the freshness objective is measured by."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import app
from streams.connect.sinks.delivery import Delivery
from streams.connect.sinks.rollup_queue import RollUpQueue
from streams.core.clock import settle
from streams.core.degradation.degradation import Degradation
from streams.engine.runtime.commit.commit import commit
from streams.engine.runtime.commit.handover import Handover
from streams.engine.runtime.effects.cache_writes import CacheWrites
from streams.engine.runtime.effects.sink_writes import SinkWrites

AGE_S = 7.0
DAY_MS = 86_400_000


@pytest.fixture
async def handover(rig):
    delivery = Delivery(rig.shards, rig.clock, rig.metrics, batch_rows=100, queue_rows=100)
    roll_ups = RollUpQueue(rig.shards, rig.clock, rig.metrics, interval_s=2.0)
    caches = CacheWrites(rig.cache, rig.clock, rig.metrics)
    sinks = SinkWrites((), rig.settings, rig.clock, rig.metrics)
    running = asyncio.ensure_future(delivery.run())
    queues = (delivery, roll_ups, rig.clock, rig.metrics, caches, sinks)
    yield Handover(app.targets, rig.shards, *queues, Degradation(rig.clock, rig.metrics))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _committed(rig, handover):
    prepared = rig.partition.prepare(handover.room())
    await commit(rig.partition, prepared, rig.opened.producer, rig.clock, rig.metrics, 4.0)
    handover.committed(rig.partition, prepared)
    await settle()


def _measured(rig, what):
    return rig.metrics.registry.get_sample_value(f"dia_freshness_seconds_{what}")


async def test_a_row_is_as_old_as_its_last_event_in_seconds(rig, handover):
    """Its unit and its moment decide whether an alert fires."""
    await rig.open()
    await rig.produce_events(1)
    await rig.fold()
    rig.partition.idle_until(rig.clock.now_ms() + DAY_MS)
    rig.partition.backlog.reading = False
    await rig.clock.advance(AGE_S)
    await _committed(rig, handover)
    assert _measured(rig, "count") == 1
    assert _measured(rig, "sum") == pytest.approx(AGE_S, abs=0.01)


async def test_a_row_that_a_shard_has_not_acknowledged_has_no_age(rig, handover):
    """It is not visible: an age at the commit would show a healthy figure during an outage."""
    for shard in rig.shards.faults:
        shard.down = True
    await rig.open()
    await rig.produce_events(1)
    await rig.fold()
    rig.partition.idle_until(rig.clock.now_ms() + DAY_MS)
    rig.partition.backlog.reading = False
    await _committed(rig, handover)
    assert _measured(rig, "count") == 0
