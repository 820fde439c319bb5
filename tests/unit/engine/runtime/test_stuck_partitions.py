"""A revoked partition whose task suppresses its cancellation, as the close of a Kafka client may."""

from __future__ import annotations

import asyncio

import pytest

from streams.core.errors import PartitionStuck
from streams.engine.runtime.assignment import Opener
from tests.unit.engine.runtime.running_world import HERE, THERE, counted, history, send, until

EVENTS = 6


@pytest.fixture
def opening(monkeypatch):
    """Patches the opening of a partition so that it suppresses a given number of cancellations."""
    opens, allowed, suppressed = Opener.open, [0], []

    async def opened(self, agent, tp, *, fenced):
        found = await opens(self, agent, tp, fenced=fenced)
        while allowed[0]:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                suppressed.append(tp)
                allowed[0] -= 1
        return found

    monkeypatch.setattr(Opener, "open", opened)

    def suppresses(times):
        allowed[0] = times
        return suppressed

    return suppresses


async def _revoked_while_it_opens(world, suppresses, times):
    """Assign a partition to the second member and revoke it while it opens."""
    suppressed = suppresses(times)
    second = world.process(1)
    second.start()
    (group,) = second.worker.groups
    await until(lambda: group.partitions)
    owned = frozenset(group.partitions)
    await group.on_assigned(frozenset())
    assert suppressed == list(owned) * len(suppressed)
    return second, group, owned


async def _all_counted(world):
    for tp in (HERE, THERE):
        await send(world, tp, EVENTS)
    await until(lambda: counted(world, HERE) == counted(world, THERE) == EVENTS)


def test_one_suppressed_cancellation_does_not_block_the_member(opening):
    """Otherwise the member waits for the task without end and sends no heartbeat."""

    async def story(world, process):
        second, group, owned = await _revoked_while_it_opens(world, opening, 1)
        await group.on_assigned(owned)
        await _all_counted(world)
        await second.stop()

    history(story)


def test_a_partition_that_survives_its_cancellations_ends_the_worker(opening):
    """The process leaves the group, and the next owner of the partition goes on."""

    async def story(world, process):
        second, _, _ = await _revoked_while_it_opens(world, opening, 3)
        await until(lambda: second.failure is not None)
        assert second.failure.split(PartitionStuck)[1] is None
        await second.kill()
        await _all_counted(world)

    history(story)
