"""Dead letters that were too large for their queue, on every broker."""

from __future__ import annotations

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.partitioner import partition_of
from streams.core.types import TopicPartition

LARGE = (("note", b"x" * (2 << 20)),)
"""More than a DLQ takes beside any value."""


@pytest.fixture
async def pointer(lot):
    """A letter whose record lies at offset 0 of the source, and nowhere else."""
    producer = lot.broker.plain_producer()
    await producer.start()
    await (await producer.send(lot.source.name, b"t", lot.event(1)))
    await producer.close()
    await lot.bury(lot.event(1), headers=LARGE)
    [letter] = await lot.letters()
    assert letter.value is None
    return letter


async def test_the_record_is_fetched_from_its_topic_and_replayed(lot, pointer):
    """Too large for the DLQ is not too large to be mended."""
    result = await lot.run((await lot.plan()).plan)
    assert (result.replayed, result.finished) == (1, True)
    (_, (_, key, value, headers)) = await lot.read(lot.source.name, 2)
    assert (key, value) == (b"t", lot.event(1))
    assert headers["dia.replay.id"] == pointer.id.encode()


async def test_a_record_that_is_gone_is_said_to_be_lost(lot, pointer):
    """Its topic kept it only for so long: a plan must not promise it."""
    admin = await lot.broker.admin()
    await admin.delete_records({TopicPartition(lot.source.name, partition_of(b"t", 2)): 1})
    await admin.close()
    draft = await lot.plan()
    assert draft.plan.selections == ()
    assert draft.plan.behind == {"record_lost": 1}
    assert "its retention has deleted the record" in draft.lines[0].reasons[0]


async def test_a_record_that_cannot_be_opened_any_more_is_lost(lot, pointer):
    """A damaged disk costs that letter, and not the plan of all others."""
    if not isinstance(lot.broker, MemoryBroker):
        pytest.skip("a real disk is not damaged by a test")
    lot.broker.log(TopicPartition(lot.source.name, partition_of(b"t", 2))).spoil(0, 1)
    await lot.bury(lot.event(2))
    draft = await lot.plan()
    assert (draft.plan.letters, draft.plan.behind) == (1, {"record_lost": 1})
