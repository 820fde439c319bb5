"""A bug of the engine that one partition meets costs that partition."""

from __future__ import annotations

import asyncio

from streams.engine.runtime.partition.meters import PartitionMeters
from tests.unit.engine.runtime.running_world import HERE, THERE, counted, held, history, send, until


def test_a_bug_met_between_two_lists_stops_its_partition_and_no_other(monkeypatch):
    """Every worker that got the partition ended, and with it all of its partitions, again and again."""
    real = PartitionMeters.measure

    def broken(self, partition, *figures):
        if partition.tp == HERE and partition.position:
            raise IndexError("a bug")
        real(self, partition, *figures)

    monkeypatch.setattr(PartitionMeters, "measure", broken)

    async def story(world, process):
        await send(world, HERE, 3)
        await send(world, THERE, 3)
        await until(lambda: held(process, HERE).phase == "stopped")
        assert held(process, HERE).stopped_by.code == "engine_failed"
        await send(world, THERE, 2)
        await until(lambda: counted(world, THERE) == 5)
        await asyncio.sleep(5.0)
        assert process.failure is None

    history(story)
