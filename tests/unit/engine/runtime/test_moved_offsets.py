"""Committed offsets that an operator resets or deletes: counts stay exact, health reports it, and
the worker sets them again.
"""

from __future__ import annotations

import asyncio

import pytest

from agents.app import DIA_GROUP
from streams.core.topics.topology import DeclaredSource
from streams.core.types import CommittedOffset, LogBounds
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.observation import Observation, SourceObservation
from streams.engine.health.rule import judge
from tests.unit.engine.runtime.running_world import HERE, counted, held, history, send, until


def move(world, offset):
    """Do what `kafka-consumer-groups --reset-offsets`, or `--delete-offsets` (None), does."""
    offsets = world.broker._cluster.group(DIA_GROUP).offsets
    if offset is None:
        del offsets[HERE]
    else:
        offsets[HERE] = CommittedOffset(offset, "")


@pytest.mark.parametrize("offset", [0, 2, None])
def test_a_moved_offset_under_a_running_worker_changes_no_count(offset):
    """The state holds the offset that was read; the next commit writes it to the group again."""

    async def story(world, process):
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 5)
        move(world, offset)
        await send(world, HERE, 3)
        await until(lambda: counted(world, HERE) == 8)
        await asyncio.sleep(5.0)
        assert counted(world, HERE) == 8
        assert world.broker.committed(DIA_GROUP, HERE).offset == held(process, HERE).next_offset

    history(story)


@pytest.mark.parametrize("offset", [0, 2, None])
def test_a_restart_sets_a_moved_offset_again_without_a_new_record(offset):
    """Otherwise a partition without new records would show a lag that does not exist."""

    async def story(world, process):
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 5)
        await asyncio.sleep(5.0)
        left = world.broker.committed(DIA_GROUP, HERE)
        await process.stop()
        move(world, offset)
        again = world.process(1)
        again.start()
        await until(
            lambda: (world.broker.committed(DIA_GROUP, HERE) or left).metadata > left.metadata
        )
        assert world.broker.committed(DIA_GROUP, HERE).offset == left.offset
        metrics = again.worker.groups[0]._metrics
        labels = {"topic": HERE.topic, "partition": "0"}
        assert metrics.registry.get_sample_value("dia_group_offset_moved_total", labels) == 1
        await send(world, HERE, 3)
        await until(lambda: counted(world, HERE) == 8)
        await again.stop()
        process.start()

    history(story)


def observed(committed, reached):
    source = DeclaredSource("g", "t")
    partition = {"group": "g", "topic": "t", "partition": 0, "next_offset": reached}
    return Observation(
        at_ms=0,
        sources=(SourceObservation(source=source, logs={0: LogBounds(0, 9)}, committed=committed),),
        workers=(LiveWorker(pid=1, slot=0, partitions=[partition]),),
    )


def codes(observation):
    return [one.code for one in judge(observation).findings]


@pytest.mark.parametrize(
    ("committed", "reached", "found"),
    [
        ({0: 3}, 7, True),
        ({}, 7, True),
        ({0: 7}, 7, False),
        ({0: 8}, 7, False),  # > committed after the worker's report
        ({}, None, False),  # > the worker has not committed yet
        (None, 7, False),  # > the broker gave no answer
    ],
)
def test_an_offset_below_the_owners_commit_is_a_finding(committed, reached, found):
    """The lag looks like unread records; `dia status` and `dia doctor` name the cause."""
    assert ("group_offset_moved" in codes(observed(committed, reached))) is found
