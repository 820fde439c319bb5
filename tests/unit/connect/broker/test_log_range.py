"""A given range of a log is read to its end, whatever the single answers hold."""

from __future__ import annotations

import asyncio

import pytest

from streams.connect.broker.log_range import behind, read_range, until_readable
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.faults import SpoiledRead
from streams.core.clock import SystemClock, VirtualClock
from streams.core.errors import BatchUnreadable, BrokerUnavailable
from streams.core.types import OutboundRecord, TopicConfig, TopicPartition

TP = TopicPartition("t", 0)
RECORDS = 20


@pytest.fixture
async def broker():
    made = MemoryBroker(SystemClock())
    admin = await made.admin()
    await admin.create_topics([TopicConfig(TP.topic, 1, 1, {})])
    writer = made.transactional_producer("w")
    await writer.start()
    await writer.begin()
    await writer.send_many([OutboundRecord(TP, b"k", b"%d" % n) for n in range(RECORDS)])
    await writer.commit()
    return made


async def read(broker, end=RECORDS + 1):
    reader = await broker.reader()
    return [v for batch in [b async for b in read_range(reader, TP, 0, end)] for v in batch.values]


@pytest.mark.parametrize(
    "spoiled",
    [
        SpoiledRead(records_max=0),
        SpoiledRead(records_max=3),
        SpoiledRead(throttle_s=0.01),
        SpoiledRead(behind=4),
    ],
    ids=["empty", "short", "throttled", "behind"],
)
async def test_short_answers_are_followed_by_further_requests(broker, spoiled):
    """None of these answers may end a restore."""
    broker.faults.spoil_reads(spoiled, times=2)
    if spoiled.behind:
        # The second of two such answers has no more records to give.
        with pytest.raises(BrokerUnavailable, match="not up to date"):
            await read(broker)
    assert await read(broker) == [b"%d" % n for n in range(RECORDS)]


async def test_a_range_whose_end_is_not_reached_is_an_error(broker):
    """A log that became shorter must not count as read to its end."""
    broker.log(TP).lose_tail(12)
    with pytest.raises(BrokerUnavailable, match="from offset 12 on"):
        await read(broker)


@pytest.mark.parametrize(("until", "goes_on"), [(7, 7), (20, 20), (21, 6), (1 << 40, 6)])
def test_a_damaged_header_does_not_hide_the_rest_of_the_log(until, goes_on):
    """Its header may name any end offset, so the reader tries the following offsets one by one."""
    assert behind(BatchUnreadable(TP, 5, until, "damaged"), 20) == goes_on


async def _committed(clock, marker_delay_s):
    """A broker with one record whose commit has just been answered."""
    broker = MemoryBroker(clock, marker_delay_s=marker_delay_s)
    admin = await broker.admin()
    await admin.create_topics([TopicConfig(TP.topic, 1, 1, {})])
    writer = broker.transactional_producer("w")
    await writer.start()
    await writer.begin()
    await writer.send_many([OutboundRecord(TP, b"k", b"decided")])
    await writer.commit()
    return broker


async def test_a_committed_record_is_read_by_the_next_command():
    """The commit is answered before its marker is in the log, and readers stop before it."""
    clock = VirtualClock()
    broker = await _committed(clock, 5.0)
    reader = await broker.reader()
    assert await reader.last_stable_offset(TP) == 0
    waiting = asyncio.create_task(until_readable(reader, TP, SystemClock()))
    await asyncio.sleep(0)
    assert not waiting.done()
    await clock.advance(5.1)
    await waiting
    assert await read(broker, 2) == [b"decided"]


async def test_a_commit_that_is_not_visible_yet_is_no_error(monkeypatch):
    """The commit is valid: a command that failed here would be repeated."""
    monkeypatch.setattr("streams.connect.broker.log_range.DECIDED_TIMEOUT_S", 0.0)
    broker = await _committed(VirtualClock(), 60.0)
    await until_readable(await broker.reader(), TP, SystemClock())
