"""What is visible at a quiet moment: all that was folded, although its windows are still open."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from streams.runtime.assigned import AssignedPartition
from streams.simulation.comparison import newest, young_from_s
from streams.simulation.difference import Difference
from streams.simulation.sheds import shed_ranges
from streams.simulation.truth import Expected, Series, judge
from streams.simulation.weather import refusable
from streams.simulation.world import Process, World
from streams.sinks.memory import KEYS
from streams.topology import MODEL_METRICS
from streams.types import TopicPartition

_QUIET_S = 12
"""Enough for every early row to have its turn within the small row budget of a history."""
_PATIENCE_S = 60


async def check_shown(world: World, processes: Sequence[Process]) -> None:
    """Wait for a quiet moment; raise `Difference` if a value that was folded is not visible then.
    Windows too old for m1 are not looked at, nor those whose rows a shard may have refused."""
    quiet_s = 0
    for _ in range(_PATIENCE_S):
        await asyncio.sleep(1.0)
        quiet_s = quiet_s + 1 if _quiet(world, processes) else 0
        if quiet_s >= _QUIET_S:
            _compare(world)
            return


def _quiet(world: World, processes: Sequence[Process]) -> bool:
    """Every partition has an owner that has read, committed and may show all there is."""
    held = [
        partition
        for process in processes
        for group in process.worker.groups
        for partition in group.partitions.values()
    ]
    spared = [p.worker.degradation.without_early_rows(world.shard_count) for p in processes]
    return len(held) == world.partitions and not any(spared) and all(map(_at_the_end, held))


def _at_the_end(held: AssignedPartition) -> bool:
    ready = held.partition if held.taking and not held.paused else None
    return ready is not None and held.read_all and held.lag == 0 and not ready.has_changes()


def _compare(world: World) -> None:
    expected = Expected()
    shed = shed_ranges(world)
    for number in range(world.partitions):
        log = world.broker.log(TopicPartition(MODEL_METRICS.name, number))
        judge(log.readable(), world.settings, expected, shed[number])
    shown: Counter[Series] = Counter()
    for row in newest(world.shards.rows("m1"), KEYS["m1"]):
        shown[row["tenant"], row["model"], row["metric"], int(row["w"])] += int(row["n"])
    for series, values in expected.values.items():
        tenant, model, _, start_s = series
        if start_s < young_from_s(world) or refusable(tenant, model, start_s):
            continue
        if shown[series] != len(values):
            raise Difference(f"{series}: {len(values)} values are folded, {shown[series]} shown")
