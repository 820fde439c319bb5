"""Whether a record was aborted, with leaders whose answers lag."""

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
    """One record and one offset in a transaction, whole or torn."""
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
async def test_a_record_is_aborted_or_committed(torn):
    """An aborted record is written again, a committed one is not."""
    broker = await written(torn=torn)
    found = await aborted_at(await broker.reader(), TP, 0)
    assert found == (b"v" if torn else None)


@pytest.mark.parametrize("torn", [True, False])
@pytest.mark.parametrize("first", [(), (SpoiledRead(),)], ids=["every record", "committed ones"])
async def test_an_empty_answer_gives_no_decision(torn, first):
    """A new leader may not show the newest records: a committed record would be written twice, or
    an aborted one count as lost.
    """
    broker = await written(torn=torn)
    for answer in (*first, BEHIND):
        broker.faults.spoil_reads(answer, of=TP)
    with pytest.raises(BrokerUnavailable, match="not up to date"):
        await aborted_at(await broker.reader(), TP, 0)
