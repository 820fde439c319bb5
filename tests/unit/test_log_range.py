"""A known part of a log is read to its end, whatever the single answers look like."""

from __future__ import annotations

import pytest

from streams.broker.memory import MemoryBroker
from streams.broker.memory_faults import SpoiledRead
from streams.clock import SystemClock
from streams.errors import BatchUnreadable, BrokerUnavailable
from streams.log_range import behind, read_range
from streams.types import OutboundRecord, TopicConfig, TopicPartition

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
async def test_answers_that_give_less_are_followed_by_others(broker, spoiled):
    """Each of them was once the end of a restore."""
    broker.faults.spoil_reads(spoiled, times=2)
    if spoiled.behind:
        # Of two such answers the second has nothing more to give.
        with pytest.raises(BrokerUnavailable, match="not up to date"):
            await read(broker)
    assert await read(broker) == [b"%d" % n for n in range(RECORDS)]


async def test_an_end_that_is_never_reached_is_an_error(broker):
    """A log that is shorter than it was must not be read as a whole one."""
    broker.log(TP).lose_tail(12)
    with pytest.raises(BrokerUnavailable, match="from offset 12 on"):
        await read(broker)


@pytest.mark.parametrize(("until", "goes_on"), [(7, 7), (20, 20), (21, 6), (1 << 40, 6)])
def test_a_damaged_header_does_not_hide_the_rest_of_the_log(until, goes_on):
    """It may name any end: what lies behind the batch is looked for, offset by offset."""
    assert behind(BatchUnreadable(TP, 5, until, "damaged"), 20) == goes_on
