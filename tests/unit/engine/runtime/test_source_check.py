"""A log that is replaced under a running consumer: detected before any of its records is folded."""

from __future__ import annotations

import asyncio

from agents.app import DIA_GROUP
from streams.core.errors import TopicRecreated
from streams.operate.shed.shed_admin import give_orders, plan
from tests.unit.engine.runtime.running_world import HERE, counted, held, history, send, until


class Reads:
    """Counts the readers that the broker opens."""

    def __init__(self, world):
        self.count = 0
        self._reader = world.broker.reader
        world.broker.reader = self._counted

    async def _counted(self):
        self.count += 1
        return await self._reader()


def test_a_lost_and_overwritten_end_stops_the_partition():
    """The position lies inside the new log: records appended below it would be skipped."""

    async def story(world, process):
        await send(world, HERE, 20)
        await until(lambda: counted(world, HERE) == 20)
        world.broker.log(HERE).lose_end(10)
        await send(world, HERE, 25)
        await until(lambda: held(process, HERE).phase == "stopped")
        assert isinstance(held(process, HERE).stopped_by, TopicRecreated)
        assert "offset 19 holds another record" in str(held(process, HERE).stopped_by)
        assert counted(world, HERE) == 20

    history(story)


def test_uncommitted_records_are_forgotten_with_their_log():
    """The new log may contain the uncommitted records of the old one again."""

    async def story(world, process):
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 5)
        await send(world, HERE, 5)
        await until(lambda: held(process, HERE).partition.position == 10)
        world.broker.log(HERE).lose_end(3)
        await send(world, HERE, 9)
        await until(lambda: held(process, HERE).phase == "stopped")
        assert world.broker.committed("dia-group", HERE).offset in (5, 10)

    history(story)


def test_a_recreated_and_refilled_topic_stops_the_partition():
    """The new topic's leader epoch starts at 0 like the old one's: only the refused fetch shows the
    change.
    """

    async def story(world, process):
        await send(world, HERE, 20)
        await until(lambda: counted(world, HERE) == 20)
        world.broker.replace_log(HERE)
        await send(world, HERE, 25)
        await until(lambda: held(process, HERE).phase == "stopped")
        assert held(process, HERE).stopped_by.code == "topic_recreated"
        assert counted(world, HERE) == 20

    history(story)


def test_another_leader_of_the_same_log_costs_one_comparison():
    """Leaders move with every rolling restart: the worker compares the log once and goes on."""

    async def story(world, process):
        await send(world, HERE, 20)
        await until(lambda: counted(world, HERE) == 20)
        reads = Reads(world)
        world.broker.log(HERE).elect()
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 25)
        assert reads.count == 1
        for _ in range(3):
            await send(world, HERE, 5)
            await asyncio.sleep(1.0)
        await until(lambda: counted(world, HERE) == 40)
        assert reads.count == 1

    history(story)


def test_a_marker_of_another_leader_is_not_another_log():
    """A transaction may end under another leader than that of its last record."""

    async def story(world, process):
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 5)
        log = world.broker.log(HERE)
        log.elect()
        log.end_transaction(99, world.clock.now_ms(), committed=True)
        await asyncio.sleep(3.0)
        log.elect()
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 10)

    history(story)


def test_a_leader_change_within_a_shed_range_is_not_another_log():
    """A long backlog often spans a restart of brokers. Otherwise a reset, which drops all open
    windows, would be the only remedy.
    """

    async def story(world, process):
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 5)
        await process.stop()
        await send(world, HERE, 5)
        world.broker.log(HERE).elect()
        await send(world, HERE, 5)
        await asyncio.sleep(3600.0)
        await send(world, HERE, 3)
        found = await plan(world.broker, "dia-group", [HERE], world.clock.now_ms() - 60_000)
        assert (found[0].first, found[0].until) == (5, 15)
        await give_orders(world.broker, world.clock, found, "o-1", "ann", "too old")
        successor = world.process(0)
        successor.start()
        await asyncio.sleep(5.0)
        await until(lambda: counted(world, HERE) == 8)
        await successor.stop()

    history(story)


def test_a_steady_partition_is_never_compared():
    """The check is free while the leader stays the same."""

    async def story(world, process):
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 5)
        reads = Reads(world)
        for _ in range(20):
            await send(world, HERE, 5)
            await asyncio.sleep(1.0)
        await until(lambda: counted(world, HERE) == 105)
        assert reads.count == 0

    history(story)


def test_a_lost_fetch_result_is_fetched_again():
    """The consumer's position runs ahead of the folded offset and is never committed."""

    async def story(world, process):
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 5)
        world.broker.faults.lose_lists(1)
        await send(world, HERE, 5)
        await asyncio.sleep(3.0)
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 15)

    history(story)


def test_an_unreadable_batch_is_noticed_after_a_rebalance():
    """The consumer raises the error once per seek: if it is missed, the partition waits without
    end.
    """

    async def story(world, process):
        world.broker.faults.delay("commit", 2.0)
        await send(world, HERE, 5)
        await until(lambda: held(process, HERE).partition.position == 5)
        world.broker.log(HERE).elect()
        await send(world, HERE, 5)
        bad = await send(world, HERE, 3)
        world.broker.log(HERE).spoil(*bad)
        await until(lambda: not held(process, HERE).taking)
        world.broker.rebalance(DIA_GROUP)
        await until(lambda: held(process, HERE).phase == "stopped")
        assert held(process, HERE).stopped_by.code == "batch_unreadable"
        assert world.broker.committed(DIA_GROUP, HERE).offset == bad[0]

    history(story)
