"""Quiet moments during a run: without faults, all sent records are accounted for, although windows
are open. Only they show a loss or duplicate that a later restart heals, and a stop without a
reason, which the next rebalance hides."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from streams.core.topics.topic import Topic
from streams.core.types import TopicPartition
from streams.dev.simulation.faults.sources import Sources
from streams.dev.simulation.world import Difference, Process, World
from streams.engine.runtime.assigned import AssignedPartition

QUIET_S = 12
"""long enough to show every provisional row within a run's row budget"""
PATIENCE_S = 60


async def quiet_moment(
    world: World, source: Topic, sources: Sources, processes: Sequence[Process]
) -> bool:
    """False if the system does not settle."""
    quiet_s = 0
    for _ in range(PATIENCE_S):
        await asyncio.sleep(1.0)
        await sources.skip()
        quiet_s = quiet_s + 1 if _quiet(world, source, processes) else 0
        if quiet_s >= QUIET_S:
            return True
    return False


def held(processes: Sequence[Process]) -> list[AssignedPartition]:
    groups = [group for process in processes for group in process.worker.groups]
    return [partition for group in groups for partition in group.partitions.values()]


def decided(world: World, source: Topic) -> bool:
    """No transaction in the source is open; the broker aborts another program's at its timeout."""
    logs = [world.broker.log(TopicPartition(source.name, n)) for n in range(world.partitions)]
    return all(log.last_stable_offset == log.high_watermark for log in logs)


def _quiet(world: World, source: Topic, processes: Sequence[Process]) -> bool:
    alive = [process for process in processes if process.alive]
    partitions = held(alive)
    if len(partitions) != world.partitions or not decided(world, source):
        return False
    spared = any(p.worker.degradation.without_early_rows(world.shards.count) for p in alive)
    return not spared and all(map(at_rest, partitions))


def at_rest(partition: AssignedPartition) -> bool:
    """It has read, committed and sent everything; windows may be open."""
    ready = partition.partition if partition.taking and not partition.paused else None
    return (
        ready is not None
        and partition.read_all
        and partition.lag == 0
        and not ready.has_changes()
        and not len(ready.outbox)
    )


CHANGELOG_STOPS: Final = frozenset({"changelog_lost", "changelog_gap"})


def check_stops(processes: Sequence[Process]) -> None:
    """Raises `Difference` where a partition is stopped for a missing part of a complete
    changelog."""
    for partition in held(processes):
        error = partition.stopped_by
        if error is not None and error.code in CHANGELOG_STOPS:
            raise Difference(f"{partition.tp} stopped, and its changelog is whole: {error}")
