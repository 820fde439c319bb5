"""Loses the end of a changelog after a run: its next owner must stop."""

from __future__ import annotations

import asyncio
import random

from streams.connect.broker.memory.faults import COORDINATOR_REFUSALS
from streams.core.topics.topic import Topic
from streams.core.types import TopicPartition
from streams.dev.simulation.checks.quiet import CHANGELOG_STOPS
from streams.dev.simulation.world import Difference, World
from streams.engine.state.changelog import unpack

LOST_MAX = 3
"""Commits; with more of them, the trim of a lost one shows the loss."""
REFUSED_S = 30.0
"""Long enough for the group to settle on its new member."""
PATIENCE_S = 120


async def check_lost_tail(world: World, source: Topic, group: str, rng: random.Random) -> None:
    """Cut one changelog between two commits, then open its partition on a new host. Raises
    `Difference` unless it stops."""
    tp = TopicPartition(source.name, rng.randrange(world.partitions))
    log = world.broker.log(TopicPartition(source.changelog(group), tp.partition))
    kept = log.readable()
    rows = zip(kept.offsets, kept.values, strict=True)
    commits = [offset for offset, value in rows if unpack(value or b"")[0].part == 0]
    if not commits:
        return
    log.lose_tail(rng.choice(commits[-LOST_MAX:]))
    if rng.random() < 0.5:
        world.broker.faults.refuse_offsets(rng.choice([*COORDINATOR_REFUSALS]), REFUSED_S)
    process = world.process(0, "bereaved")
    process.start()
    for _ in range(PATIENCE_S):
        await asyncio.sleep(1.0)
        if process.failure is not None:
            raise process.failure
        held = [g.partitions[tp] for g in process.worker.groups if tp in g.partitions]
        for partition in held:
            if partition.stopped_by is not None and partition.stopped_by.code in CHANGELOG_STOPS:
                await process.kill()
                return
            if partition.stopped_by is not None or partition.phase == "ready":
                raise Difference(
                    f"{tp} lost the end of its changelog and is {partition.phase}: "
                    f"{partition.stopped_by}"
                )
    raise Difference(f"{tp} lost the end of its changelog and neither stops nor opens")
