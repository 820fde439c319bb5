"""Pointer letters: dead letters of records that are too large for the DLQ, on every broker."""

from __future__ import annotations

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.partitioner import partition_of
from streams.core.types import TopicPartition

LARGE = (("note", b"x" * (2 << 20)),)
"""More bytes than a DLQ record's value may have."""


@pytest.fixture
async def pointer(lot):
    """A dead letter that points to offset 0 of the source topic and carries no value."""
    producer = lot.broker.plain_producer()
    await producer.start()
    await (await producer.send(lot.source.name, b"t", lot.event(1)))
    await producer.close()
    await lot.bury(lot.event(1), headers=LARGE)
    [letter] = await lot.letters()
    assert letter.value is None
    return letter


@pytest.mark.on_kafka
async def test_a_pointed_record_is_fetched_from_its_topic_and_replayed(lot, pointer):
    """A record too large for the DLQ can still be repaired and replayed."""
    result = await lot.run((await lot.plan()).plan)
    assert (result.replayed, result.finished) == (1, True)
    (_, (_, key, value, headers)) = await lot.read(lot.source.name, 2)
    assert (key, value) == (b"t", lot.event(1))
    assert headers["dia.replay.id"] == pointer.id.encode()


@pytest.mark.on_kafka
async def test_a_deleted_record_is_reported_as_lost(lot, pointer):
    """The topic's retention may have deleted it: a plan must not promise a replay."""
    admin = await lot.broker.admin()
    await admin.delete_records({TopicPartition(lot.source.name, partition_of(b"t", 2)): 1})
    await admin.close()
    draft = await lot.plan()
    assert draft.plan.selections == ()
    assert draft.plan.behind == {"record_lost": 1}
    assert "its retention has deleted the record" in draft.lines[0].reasons[0]


async def test_an_unreadable_record_is_reported_as_lost(lot, pointer):
    """A damaged record must not stop the plan for the other letters."""
    if not isinstance(lot.broker, MemoryBroker):
        pytest.skip("a real broker's log cannot be damaged by a test")
    lot.broker.log(TopicPartition(lot.source.name, partition_of(b"t", 2))).spoil(0, 1)
    await lot.bury(lot.event(2))
    draft = await lot.plan()
    assert (draft.plan.letters, draft.plan.behind) == (1, {"record_lost": 1})
