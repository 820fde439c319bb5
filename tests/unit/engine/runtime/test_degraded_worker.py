"""A whole worker with slow or absent dependencies or a full disk: it waits and loses no record."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import AGGREGATE_METRICS
from streams.core.clock import settle
from streams.core.degradation.level import FINE, Level, Reading
from streams.engine.runtime.worker import Worker


@pytest.fixture
async def degraded(rig):
    """A worker, and the reading of its disk, which the test can change."""
    disk = [FINE]
    worker = Worker(
        agents=(AGGREGATE_METRICS,),
        broker=rig.broker,
        shards=rig.shards,
        stores=lambda group: rig.disk,
        clock=rig.clock,
        settings=rig.settings,
        metrics=rig.metrics,
        instance_id="host-0",
        disk=lambda: disk[0],
    )
    task = asyncio.ensure_future(worker.run(lambda: None))
    await settle()
    await rig.clock.advance(5)
    yield worker, disk
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await worker.abandon()


def _counted(rig):
    return sum(row["n"] for row in rig.shards.m1_rows())


def _offset(rig):
    return rig.broker.committed("dia-group", rig.opened_source).offset


async def test_a_full_disk_stops_the_intake_until_there_is_room(rig, degraded):
    """Unread records stay in Kafka, folded records are still committed, and each record counts
    once.
    """
    worker, disk = degraded
    assert worker.settled
    disk[0] = Reading(Level.MINIMAL, "full")
    await rig.clock.advance(2)
    await rig.produce_events(5)
    await rig.clock.advance(30)
    assert not worker.settled, "the lag is unknown while the partition is paused"
    assert rig.metrics.registry.get_sample_value(
        "dia_paused_partitions", {"group": "dia-group"}
    ) == len(worker.groups[0].partitions)
    assert _counted(rig) == 0
    disk[0] = FINE
    await rig.clock.advance(8)
    assert _counted(rig) == 0, "the partition is still paused right after the disk has room"
    await rig.clock.advance(5)
    assert _offset(rig) == 5
    await rig.clock.advance(200)
    assert _counted(rig) == 5


async def test_an_absent_shard_delays_provisional_rows_of_its_own_only(rig, degraded):
    """At levels 1 and 2, rows of that shard's open windows wait; rows of the other shard are sent."""
    worker, _ = degraded
    sick = int(rig.shards.maps[0].shard_of(["t"], ["m"], ["x"])[0])
    rig.shards.faults[sick].down = True
    await rig.produce_events(1)
    await rig.clock.advance(20)
    assert worker.degradation.level == Level.PARTIAL
    assert worker.degradation.without_early_rows(2) == {sick}
    await rig.produce_events(40, model_id="m2")
    await rig.produce_events(1)
    rig.shards.faults[sick].down = False
    await rig.clock.advance(6)
    told = rig.shards.rows("m1", sick)
    assert sum(row["n"] for row in told) <= 1, "the waiting rows have been sent and no further ones"
    assert not worker.groups[0].partitions[rig.opened_source].paused
    await rig.clock.advance(60)
    assert worker.degradation.level == Level.HEALTHY
    await rig.produce_events(1)
    await rig.clock.advance(200)
    assert _counted(rig) == 43


async def test_kafka_away_is_level_three_and_pauses_no_partition(rig, degraded):
    """There are no records to take; no partition may be paused when the first fetch succeeds."""
    worker, _ = degraded
    rig.broker.faults.down()
    await rig.clock.advance(20)
    assert worker.degradation.level == Level.MINIMAL
    assert [cause.signal for cause in worker.degradation.standing.causes] == ["kafka"]
    assert not any(p.paused for p in worker.groups[0].partitions.values())
    rig.broker.faults.up()
    await rig.produce_events(2)
    await rig.clock.advance(8)
    assert _counted(rig) == 2
    assert worker.degradation.level == Level.MINIMAL, "the level falls only after a delay"
    await rig.clock.advance(40)
    assert worker.degradation.level == Level.HEALTHY


async def test_a_shard_without_rows_to_send_is_probed(rig, degraded):
    """Otherwise the level would last until a row for the shard is due."""
    worker, _ = degraded
    for fault in rig.shards.faults:
        fault.down = True
    await rig.clock.advance(40)
    assert worker.degradation.level == Level.PARTIAL
    for fault in rig.shards.faults:
        fault.down = False
    await rig.clock.advance(70)
    assert worker.degradation.level == Level.HEALTHY
