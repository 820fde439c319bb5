"""Batches in a source that cannot be decoded: each stops only its partition, and an operator skips
it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from agents.app import DIA_GROUP, SIMULATION_REQUEST, SIMULATOR_GROUP
from streams.core.errors import BatchUnreadable, SourceNotLogAppendTime
from streams.core.types import TopicPartition
from streams.dev.simulation.inputs.jobs import JOBS
from streams.operate.shed.shed_admin import give_orders, plan, plan_unreadable
from tests.unit.engine.runtime.running_world import (
    HERE,
    TENANTS,
    THERE,
    counted,
    held,
    history,
    send,
    until,
)


async def skip(world, tp, group=DIA_GROUP):
    """Do what `dia shed run --unreadable` does; returns the offsets."""
    [found] = await plan_unreadable(world.broker, world.clock, group, [tp])
    await give_orders(world.broker, world.clock, [found], "o-1", "eve", "broken client")
    return found.first, found.until


def test_an_unreadable_batch_stops_only_its_partition():
    """Earlier records are committed, the other partition goes on, and no process ends."""

    async def story(world, process):
        await send(world, HERE, 3)
        bad = await send(world, HERE, 4)
        world.broker.log(HERE).spoil(*bad)
        await send(world, HERE, 5)
        await send(world, THERE, 7)
        await until(lambda: held(process, HERE).phase == "stopped")
        error = held(process, HERE).stopped_by
        assert isinstance(error, BatchUnreadable)
        assert (error.code, error.offset, error.until) == ("batch_unreadable", *bad)
        assert f"{HERE}: the batch at offsets 3 to 6" in str(error)
        assert world.broker.committed(DIA_GROUP, HERE).offset == 3
        await send(world, THERE, 7)
        await until(lambda: counted(world, THERE) == 14)

    history(story)


def test_an_order_skips_exactly_the_batch_and_the_partition_resumes():
    """The ledger counts the offsets as shed, and the row names the operator and the reason."""

    async def story(world, process):
        await send(world, HERE, 3)
        bad = await send(world, HERE, 4)
        world.broker.log(HERE).spoil(*bad)
        await send(world, HERE, 5)
        await until(lambda: held(process, HERE).phase == "stopped")
        assert await skip(world, HERE) == bad
        await until(lambda: counted(world, HERE) == 8)
        await until(lambda: process.worker.settled)
        [row] = world.shards.rows("shed_ranges")
        assert (row["from_offset"], row["to_offset"], row["actor"]) == (*bad, "eve")
        ledger = next(r for r in world.shards.rows("ledger") if r["part"] == 0)
        assert (ledger["read"], ledger["applied"], ledger["shed"]) == (12, 8, 4)

    history(story)


def test_an_order_given_before_the_batch_is_reached_skips_nothing_else():
    """The order applies only at its first offset: an owner that is before it folds the records in
    between.
    """

    async def story(world, process):
        await process.stop()
        await send(world, HERE, 3)
        bad = await send(world, HERE, 4)
        world.broker.log(HERE).spoil(*bad)
        await send(world, HERE, 5)
        assert await skip(world, HERE) == bad
        other = world.process(1)
        other.start()
        await until(lambda: counted(world, HERE) == 8)
        assert other.failure is None
        await other.stop()

    history(story)


def test_a_batch_that_can_be_read_again_needs_no_order():
    """Another leader's copy may be intact, so its records are counted."""

    async def story(world, process):
        bad = await send(world, HERE, 4)
        log = world.broker.log(HERE)
        log.spoil(*bad)
        await until(lambda: held(process, HERE).phase == "stopped")
        log._spoilt.clear()
        await until(lambda: counted(world, HERE) == 4)

    history(story)


def test_a_batch_that_another_process_has_passed_stops_no_partition():
    """Another process passes the batch and returns the partition. By then a different order is in
    force.
    """

    async def story(world, process):
        await send(world, HERE, 3)
        bad = await send(world, HERE, 4)
        world.broker.log(HERE).spoil(*bad)
        await send(world, HERE, 4)
        await until(lambda: held(process, HERE).phase == "stopped")
        member = world.broker.members[process.name]
        member.mute()
        plans = await plan(world.broker, DIA_GROUP, [HERE], world.clock.now_ms() + 1000)
        await give_orders(world.broker, world.clock, plans, "o-1", "eve", "too old")
        other = world.process(1, "elsewhere")
        other.start()
        await until(lambda: world.broker.committed(DIA_GROUP, HERE).offset == 11)
        await other.kill()
        member.unmute()
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 8)

    history(story)


def test_an_order_by_age_that_covers_the_batch_is_carried_out():
    """The order covers the batch, so the partition must not wait for another order."""

    async def story(world, process):
        await send(world, HERE, 3)
        bad = await send(world, HERE, 4)
        world.broker.log(HERE).spoil(*bad)
        await send(world, HERE, 4)
        await until(lambda: held(process, HERE).phase == "stopped")
        plans = await plan(world.broker, DIA_GROUP, [HERE], world.clock.now_ms() + 1000)
        await give_orders(world.broker, world.clock, plans, "o-1", "eve", "too old")
        await until(lambda: world.broker.committed(DIA_GROUP, HERE).offset == 11)
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 8)
        await until(lambda: process.worker.settled)
        [row] = world.shards.rows("shed_ranges")
        assert (row["from_offset"], row["to_offset"], row["actor"]) == (3, 11, "eve")

    history(story)


def test_an_order_by_age_that_ends_before_the_batch_does_not_open_the_partition():
    """Otherwise the partition would open and stop again every 2 s."""

    async def story(world, process):
        await send(world, HERE, 3)
        await asyncio.sleep(20.0)
        before_ms = world.clock.now_ms()
        await asyncio.sleep(20.0)
        bad = await send(world, HERE, 4)
        world.broker.log(HERE).spoil(*bad)
        await until(lambda: held(process, HERE).phase == "stopped")
        plans = await plan(world.broker, DIA_GROUP, [HERE], before_ms)
        plans = [replace(one, first=0, until=3, last=None) for one in plans]
        await give_orders(world.broker, world.clock, plans, "o-1", "eve", "too old")
        for _ in range(10):
            await asyncio.sleep(1.0)
            assert held(process, HERE).phase == "stopped"

    history(story)


def test_a_record_with_a_producers_timestamp_stops_its_partition():
    """An operator switched the topic to CreateTime while workers ran: append times must not come
    from producers.
    """

    async def story(world, process):
        admin = await world.broker.admin()
        await send(world, HERE, 3)
        await until(lambda: counted(world, HERE) == 3)
        await admin.alter_config(HERE.topic, {"message.timestamp.type": "CreateTime"})
        bad = await send(world, HERE, 4)
        await admin.alter_config(HERE.topic, {"message.timestamp.type": "LogAppendTime"})
        await send(world, HERE, 5)
        await until(lambda: held(process, HERE).phase == "stopped")
        assert isinstance(held(process, HERE).stopped_by, SourceNotLogAppendTime)
        [found] = await plan_unreadable(world.broker, world.clock, DIA_GROUP, [HERE])
        assert found.unreadable.startswith("appended with message.timestamp.type=CreateTime")
        assert await skip(world, HERE) == bad
        await until(lambda: counted(world, HERE) == 8)

    history(story)


def test_requests_before_the_batch_are_answered_before_their_partition_stops():
    """Running work is finished and committed, so none of it runs twice."""
    source = TopicPartition(SIMULATION_REQUEST.name, 0)

    async def story(world, process):
        log = world.broker.log(source)
        producer = world.broker.plain_producer()
        for number in range(6):
            request = {
                "request_id": f"r{number}", "idempotency_key": f"k{number}",
                "tenant_id": TENANTS[0], "model_id": "m", "scenario": "fast", "priority": 1,
                "trials": 1, "parameters": {}, "ts": world.clock.now_ms(),
            }  # fmt: skip
            key = TENANTS[0].encode()
            await (await producer.send(source.topic, key, json.dumps(request).encode()))
        log.spoil(2, 4)
        await until(lambda: held(process, source).phase == "stopped")
        assert world.broker.committed(SIMULATOR_GROUP, source).offset == 2
        assert await skip(world, source, SIMULATOR_GROUP) == (2, 4)
        await until(lambda: process.worker.settled)
        ledger = next(
            r for r in world.shards.rows("ledger") if (r["topic"], r["part"]) == tuple(source)
        )
        assert (ledger["read"], ledger["shed"], ledger["next_offset"]) == (6, 2, 6)
        assert (ledger["applied"], ledger["dead"]) == (4, 0)

    history(story, JOBS.agents(1))
