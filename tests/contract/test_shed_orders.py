"""Shed orders, kept as committed offsets of a group without members."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from streams.connect.broker.append_times import last_record
from streams.core.clock import SystemClock
from streams.core.errors import PartitionRestart
from streams.core.types import TopicPartition
from streams.engine.runtime.offsets.shed_order import orders_group, read_orders, write_orders
from streams.operate.shed.shed_admin import give_orders, plan, standings


async def eventually(world, group, partitions):
    """The orders, once their transaction's markers arrived: a moment after its commit."""
    admin = await world.broker.admin()
    async with asyncio.timeout(200):
        orders = await read_orders(admin, group, partitions)
        while len(orders) < len(partitions):
            await asyncio.sleep(0.01)
            orders = await read_orders(admin, group, partitions)
    await admin.close()
    return orders


async def test_an_order_is_read_through_the_broker(world):
    """Operator and owner share only the broker; one transaction orders all partitions."""
    group, topic = world.name("group"), await world.topic(2)
    tps = [TopicPartition(topic, number) for number in (0, 1)]
    writer = await world.writer()
    for tp in tps:
        await world.write(writer, tp, b"a", b"b", b"c")
        await world.stable(tp, 4)
    found = await plan(world.broker, group, tps, 1 << 60)
    assert [(one.first, one.until, one.last[0]) for one in found] == [(0, 3, 2), (0, 3, 2)]
    given = await give_orders(world.broker, SystemClock(), found, "o-1", "ann", "grün " * 60)
    assert await eventually(world, group, tps) == given
    states = [one.state for one in await standings(world.broker, group, tps)]
    assert states == ["waiting", "waiting"]


async def test_the_slower_of_two_operators_is_refused(world):
    """None of its orders is written, of any partition."""
    group, tp = world.name("group"), TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    await world.write(writer, tp, b"a")
    await world.stable(tp, 2)
    found = await plan(world.broker, group, [tp], 1 << 60)
    slow = await world.writer(orders_group(group))
    given = await give_orders(world.broker, SystemClock(), found, "o-1", "ann", "old")
    late = {tp: msgspec.structs.replace(given[tp], id="o-2")}
    with pytest.raises(PartitionRestart):
        await write_orders(slow, group, late)
    assert await eventually(world, group, [tp]) == given


async def test_markers_before_an_offset_are_skipped(world):
    """The last record before the offset may be many markers away."""
    tp = TopicPartition(await world.topic(1), 0)
    writer = await world.writer()
    await world.write(writer, tp, b"a")
    for _ in range(9):
        await world.write(writer, tp, b"x", commit=False)
    reader = await world.broker.reader()
    end = 2 + 18
    await world.stable(tp, end)
    found = await last_record(reader, tp, 0, end)
    await reader.close()
    assert found is not None
    assert found[0] == 0
