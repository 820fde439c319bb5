"""Search of log ranges: bounds, deadline, and errors that stay unwrapped."""

from __future__ import annotations

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.errors import BrokerUnavailable
from streams.core.types import RecordBatch, TopicConfig, TopicPartition
from streams.operate.trace.log_scan import LogScan, SearchedRange, ranges

TP = TopicPartition("t", 0)
LONG_S = 60.0


class StuckReader:
    """A reader whose searches make no progress."""

    async def search(self, tp, offset, needles):
        return RecordBatch(tp, offset, offset)


async def never(batch):
    raise AssertionError(batch)


async def test_a_reader_without_progress_raises_its_own_error():
    """A command prints what, why and the next step of an error; an exception group has none of
    them.
    """
    clock = SystemClock()
    scan = LogScan(StuckReader(), clock, clock.monotonic() + LONG_S)
    wanted = [SearchedRange(TopicPartition("t", n), 0, 5, 0, 5) for n in range(6)]
    with pytest.raises(BrokerUnavailable, match="returns nothing from offset 0"):
        await scan.search(wanted, [b"x"], never)
    assert not any(one.whole for one in wanted)


async def test_a_range_that_retention_overtakes_is_incomplete():
    """A deleted record that was not read may have held the event."""
    broker = MemoryBroker(SystemClock())
    admin = await broker.admin()
    await admin.create_topics([TopicConfig("t", 1, 1, {})])
    producer = broker.plain_producer()
    for number in range(6):
        await (await producer.send("t", None, b"%d" % number, ()))
    reader = await broker.reader()
    [wanted] = await ranges(reader, [TP])
    await admin.delete_records({TP: 4})
    clock, found = SystemClock(), []

    async def take(batch):
        found.extend(batch.values)

    scan = LogScan(reader, clock, clock.monotonic() + LONG_S)
    await scan.search([wanted], (), take)
    assert found == [b"4", b"5"]
    assert (wanted.reached, wanted.trimmed, wanted.whole) == (6, True, False)
