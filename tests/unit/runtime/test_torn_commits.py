"""Commits that Kafka carries out in part: the partition goes on, and counts each record once."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS
from streams.types import TopicPartition
from tests.unit.runtime.running_world import HERE, counted, held, history, send, until

CHANGELOG = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), HERE.partition)


def settled(world, process):
    committed = world.broker.committed(DIA_GROUP, HERE)
    return committed is not None and committed.offset == held(process, HERE).next_offset


@pytest.mark.parametrize("earlier", [0, 5], ids=["the first commit", "a later commit"])
@pytest.mark.parametrize("offsets_stand", [True, False], ids=["offset stands", "link stands"])
def test_a_torn_commit_is_made_good_without_an_operator(earlier, offsets_stand):
    """Three brokers do this when a coordinator is killed and back at once: the offset is committed
    and the changelog's record aborted, or the other way round. Nothing is lost by it."""

    async def story(world, process):
        if earlier:
            await send(world, HERE, earlier)
            await until(lambda: counted(world, HERE) == earlier and settled(world, process))
        world.broker.faults.tear_commit(offsets_stand=offsets_stand)
        await send(world, HERE, 3)
        await until(lambda: counted(world, HERE) == earlier + 3 and settled(world, process))
        assert not world.broker.faults.tears
        await asyncio.sleep(60.0)
        assert counted(world, HERE) == earlier + 3
        assert held(process, HERE).stopped_by is None

    history(story)


def test_a_lost_commit_is_not_taken_for_a_torn_one():
    """The same commit was aborted once, then made, and then lost with its leader: only the second
    attempt's offset stands, and counting again would double what it counted."""

    async def story(world, process):
        world.broker.faults.tear_commit(offsets_stand=True)
        await send(world, HERE, 3)
        await until(lambda: counted(world, HERE) == 3 and settled(world, process))
        await process.kill()
        log = world.broker.log(CHANGELOG)
        [made, *_] = log.readable().offsets
        assert log.read_all(0, 1, made).offsets == [0], "the aborted attempt is still there"
        log.lose_tail(made)
        again = world.process(0, "bereaved")
        again.start()
        await until(lambda: any(HERE in group.partitions for group in again.worker.groups))
        await until(lambda: held(again, HERE).stopped_by is not None)
        assert held(again, HERE).stopped_by.code == "changelog_lost"
        await again.stop()
        process.start()

    history(story)
