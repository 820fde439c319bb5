"""Shed orders, from the operator's command to the owner's commit, with crashes in between (X1-X6)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import pytest

from agents.app import AGGREGATE_METRICS, DIA_GROUP, MODEL_METRICS
from streams.core.degradation.level import Level, Reading
from streams.core.errors import ProducerFenced
from streams.core.types import CommittedOffset, TopicPartition
from streams.dev.simulation.history import SETTINGS
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.world import World
from streams.engine.runtime.offsets.shed_order import orders_group, read_orders
from streams.operate.shed.shed_admin import give_orders, plan, standings, withdraw

SOURCE = TopicPartition(MODEL_METRICS.name, 0)
HOUR_S = 3600.0


async def backlog(rig) -> None:
    """Five committed events, ten that have waited for an hour, three new ones."""
    await rig.open()
    await rig.commit_events(5)
    await rig.produce_events(10)
    await rig.clock.advance(HOUR_S)
    await rig.produce_events(3)


async def planned(rig):
    [found] = await plan(rig.broker, DIA_GROUP, [SOURCE], rig.clock.now_ms() - 60_000)
    return found


async def ordered(rig, name="o-1"):
    """Steps X1 and X2; returns the order."""
    orders = await give_orders(rig.broker, rig.clock, [await planned(rig)], name, "ann", "too old")
    return orders[SOURCE]


async def shed_rows(rig) -> list:
    """Rows of `shed_ranges` in the outbox of the committed state."""
    from streams.engine.runtime.effects import effects

    owed = rig.partition.outbox.take_fresh()
    found = [rows for one in owed if one.key[:1] == b"F"
             for rows in effects.fact_rows(rig.shards.tables, one.key, one.value, lambda key: 0)]  # fmt: skip
    return [rows.columns for rows in found if rows.table == "shed_ranges"]


async def test_a_plan_lists_records_to_skip_and_changes_nothing(rig):
    """The operator decides by the plan."""
    await backlog(rig)
    found = await planned(rig)
    assert (found.first, found.until, found.end) == (5, 15, 18)
    assert (found.shed, found.lag, found.truncated) == (10, 13, False)
    assert found.last == (14, found.oldest_ms)
    assert await standings(rig.broker, DIA_GROUP, [SOURCE]) == []


async def test_the_next_owner_skips_in_its_own_commit(rig):
    """Offset, counters and the row with the operator's name are committed together."""
    await backlog(rig)
    order = await ordered(rig)
    partition = await rig.open()
    assert partition.position == 15
    assert partition.state.link.next_offset == 5
    await rig.fold()
    await rig.commit()
    link = partition.state.link
    counters = link.counters
    assert (link.next_offset, counters.read, counters.applied, counters.shed) == (18, 18, 8, 10)
    assert rig.broker.committed(DIA_GROUP, SOURCE).offset == 18
    await rig.open()
    [columns] = await shed_rows(rig)
    assert (columns["from_offset"], columns["to_offset"], columns["shed"]) == ([5], [15], [10])
    said = (columns["order_id"], columns["actor"], columns["reason"], columns["cutoff"])
    assert said == (["o-1"], ["ann"], ["too old"], [order.before_ms])


async def test_a_crash_before_the_commit_leaves_the_order_as_it_was(rig):
    """The next owner carries out the order once after kill -9 between reading and committing it."""
    await backlog(rig)
    await ordered(rig)
    await rig.open()
    assert (await rig.open()).position == 15
    await rig.commit()
    assert rig.partition.state.link.counters.shed == 10


async def test_an_order_takes_effect_once(rig):
    """The order stays in the metadata, and every owner reads it: the committed offset shows that it
    is done.
    """
    await backlog(rig)
    order = await ordered(rig)
    await rig.open()
    await rig.commit()
    for _ in range(2):
        partition = await rig.open()
        partition.shed(order)
        assert not partition.folded
        await rig.commit()
    counters = rig.partition.state.link.counters
    assert (counters.read, counters.shed) == (15, 10)
    [standing] = await standings(rig.broker, DIA_GROUP, [SOURCE])
    assert standing.state == "done"


async def test_a_fenced_owner_cannot_skip(rig):
    """A worker that was suspended still holds an order that has been withdrawn since."""
    await backlog(rig)
    await ordered(rig)
    slept = await rig.open()
    producer = rig.opened.producer
    await withdraw(rig.broker, rig.clock, await standings(rig.broker, DIA_GROUP, [SOURCE]), "bob")
    await rig.open()
    rig.opened = replace(rig.opened, partition=slept)
    with pytest.raises(ProducerFenced):
        await rig.commit(producer)
    assert rig.broker.committed(DIA_GROUP, SOURCE).offset == 5


async def test_a_withdrawn_order_is_void(rig):
    """An order can be withdrawn until a worker commits it."""
    await backlog(rig)
    await ordered(rig)
    waiting = await standings(rig.broker, DIA_GROUP, [SOURCE])
    assert [one.state for one in waiting] == ["waiting"]
    await withdraw(rig.broker, rig.clock, waiting, "bob")
    assert (await rig.open()).position == 5
    [standing] = await standings(rig.broker, DIA_GROUP, [SOURCE])
    assert (standing.state, standing.order.actor) == ("withdrawn", "bob")


async def test_an_order_of_another_epoch_is_void(rig):
    """After a reset the offsets may belong to another log: skipping them would lose records."""
    await backlog(rig)
    order = await ordered(rig)
    partition = rig.partition
    partition.shed(msgspec.structs.replace(order, epoch=1))
    assert partition.position == 5
    partition.shed(order)
    assert partition.position == 15


async def test_records_folded_before_the_order_stay_folded(rig):
    """A running owner is ahead of its last commit; the order skips only unread records."""
    await backlog(rig)
    order = await ordered(rig)
    reader = await rig.broker.reader()
    partition = rig.partition
    partition.fold(await reader.read(SOURCE, 5, 4))
    partition.shed(order)
    await rig.fold()
    await rig.commit()
    counters = partition.state.link.counters
    assert (counters.read, counters.applied, counters.shed) == (18, 12, 6)


async def test_an_order_whose_records_were_folded_before_is_done_and_skips_none(rig):
    """A worker that resumes folds its buffered records first: the ledger must not count them as
    shed.
    """
    await backlog(rig)
    order = await ordered(rig)
    partition = rig.partition
    await rig.fold()
    partition.shed(order)
    await rig.commit()
    counters = partition.state.link.counters
    assert (counters.read, counters.applied, counters.shed) == (18, 18, 0)
    [standing] = await standings(rig.broker, DIA_GROUP, [SOURCE])
    assert standing.state == "done"
    assert await shed_rows(rig) == []


async def test_the_last_skipped_record_identifies_the_log(rig):
    """A4 must still detect a source that was recreated under a skipped range."""
    await backlog(rig)
    await ordered(rig)
    await rig.open()
    await rig.commit()
    link = rig.partition.state.link
    log = rig.contents(SOURCE)
    assert (link.last_offset, link.last_append_ms) == (14, log.timestamps[14])


async def test_a_partition_with_deleted_unread_records_is_not_planned(rig):
    """Records deleted by retention are a case for `dia tables reset`."""
    await backlog(rig)
    rig.broker.log(SOURCE).trim(8)
    found = await planned(rig)
    assert (found.truncated, found.shed) == (True, 0)


@pytest.mark.parametrize("metadata", ["", "epoch=1", '{"until":9}', "{" * 5000])
async def test_a_foreign_committed_offset_is_no_order(rig, metadata):
    """A committed offset without dia's metadata is no order."""
    producer = rig.broker.transactional_producer("x")
    await producer.start()
    await producer.begin()
    group = orders_group(DIA_GROUP)
    await producer.send_offsets({SOURCE: CommittedOffset(99, metadata)}, group)
    await producer.commit()
    assert await read_orders(await rig.broker.admin(), DIA_GROUP, [SOURCE]) == {}


def test_a_running_worker_carries_out_an_order():
    """Workers run while they are behind, so the order must apply without a restart."""
    loop = VirtualLoop()
    world = World(loop, SETTINGS, [AGGREGATE_METRICS], partitions=1)

    async def story() -> None:
        await world.create_topics()
        world.readings["host"] = Reading(Level.MINIMAL, "scripted")
        process = world.process(0)
        process.start()
        await asyncio.sleep(60.0)
        producer = world.broker.plain_producer()
        for _ in range(30):
            await (await producer.send(SOURCE.topic, b"t", b"{"))
        await asyncio.sleep(10.0)
        found = await plan(world.broker, DIA_GROUP, [SOURCE], world.clock.now_ms())
        assert found[0].shed == 30
        await give_orders(world.broker, world.clock, found, "o-1", "ann", "too old")
        await asyncio.sleep(30.0)
        assert world.broker.committed(DIA_GROUP, SOURCE).offset == 30
        [row] = world.shards.rows("shed_ranges")
        assert (row["from_offset"], row["to_offset"], row["actor"]) == (0, 30, "ann")
        [ledger] = world.shards.rows("ledger")
        assert (ledger["read"], ledger["shed"], ledger["dead"]) == (30, 30, 0)
        await process.stop()

    run(loop, story())
