"""Whether a record is aborted, read from leaders that do not answer at once."""

from __future__ import annotations

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.faults import SpoiledRead
from streams.connect.broker.torn_commit import aborted_at
from streams.core.clock import VirtualClock
from streams.core.errors import BrokerUnavailable
from streams.core.types import CommittedOffset, OutboundRecord, TopicConfig, TopicPartition

TP = TopicPartition("t", 0)
BEHIND = SpoiledRead(behind=99)


async def written(*, torn: bool) -> MemoryBroker:
    """One record and an offset in one transaction, whole or torn."""
    broker = MemoryBroker(VirtualClock())
    await (await broker.admin()).create_topics([TopicConfig("t", 1, 1, {})])
    producer = broker.transactional_producer("x")
    await producer.start()
    await producer.begin()
    await (await producer.send(OutboundRecord(TP, b"k", b"v")))
    await producer.send_offsets({TP: CommittedOffset(1, "")}, "g")
    if torn:
        broker.faults.tear_commit(offsets_stand=True)
        with pytest.raises(Exception, match="no answer"):
            await producer.commit()
    else:
        await producer.commit()
    return broker


@pytest.mark.parametrize("torn", [True, False])
async def test_a_record_is_aborted_or_stands(torn):
    """What is aborted is done again, what stands is not."""
    broker = await written(torn=torn)
    found = await aborted_at(await broker.reader(), TP, 0)
    assert found == (b"v" if torn else None)


@pytest.mark.parametrize("torn", [True, False])
@pytest.mark.parametrize("first", [(), (SpoiledRead(),)], ids=["every record", "committed ones"])
async def test_an_empty_answer_decides_nothing(torn, first):
    """A leader that just changed shows less than there is: a committed record would be written
    twice, and an aborted one taken for lost."""
    broker = await written(torn=torn)
    for answer in (*first, BEHIND):
        broker.faults.spoil_reads(answer, of=TP)
    with pytest.raises(BrokerUnavailable, match="not up to date"):
        await aborted_at(await broker.reader(), TP, 0)
