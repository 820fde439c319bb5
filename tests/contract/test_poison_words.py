"""Breaker records of stopped partitions, kept as committed offsets of a group without members."""

from __future__ import annotations

import asyncio

import pytest

from streams.core.errors import PartitionRestart
from streams.core.types import CommittedOffset, TopicPartition
from streams.engine.runtime.poison.poison_register import (
    LET_THROUGH,
    STOPPED,
    Word,
    read_words,
    write_word,
)
from streams.engine.runtime.poison.quarantine_register import (
    QuarantinedTenant,
    QuarantineWord,
    as_offset,
    quarantine_group,
    read_quarantines,
)


async def eventually(world, group, partitions, offset):
    """The records, once their transaction's markers arrived: a moment after its commit."""
    admin = await world.broker.admin()
    async with asyncio.timeout(200):
        words = await read_words(admin, group, partitions)
        while offset not in {word.offset for word in words.values()}:
            await asyncio.sleep(0.01)
            words = await read_words(admin, group, partitions)
    await admin.close()
    return words


async def test_a_record_is_read_through_the_broker(world):
    """Operator and worker share only the broker; the last record replaces the first."""
    group = world.name("group")
    topic = await world.topic(2)
    tp, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    said = [
        Word(state=STOPPED, offset=40, at_ms=7, bad=9, records=10),
        Word(state=LET_THROUGH, offset=77, at_ms=8, actor="ann"),
    ]
    for word in said:
        await write_word(await world.writer(), group, tp, word)
        assert await eventually(world, group, [tp, other], word.offset) == {tp: word}


async def test_a_fenced_owner_cannot_write_a_record(world):
    """A worker that was paused must not stop a partition that another worker took over."""
    tp = TopicPartition(await world.topic(), 0)
    slept = await world.writer("owner")
    await world.writer("owner")
    with pytest.raises(PartitionRestart):
        await write_word(slept, world.name("group"), tp, Word(state=STOPPED, offset=1, at_ms=1))


async def test_a_quarantine_record_is_committed_with_its_transaction_or_not_at_all(world):
    """It joins the transaction as an offset of a second group; an aborted commit writes none."""
    group = world.name("group")
    tp = TopicPartition(await world.topic(), 0)
    tenant = QuarantinedTenant(tenant="a" * 128, until_ms=50, bad=2, records=3)
    for offset, committed in ((5, False), (9, True)):
        producer = await world.writer("owner")
        word = QuarantineWord(at_ms=offset, tenants=[tenant], more=offset)
        await producer.begin()
        await producer.send_offsets({tp: CommittedOffset(offset, "mark")}, group)
        await producer.send_offsets({tp: as_offset(word, offset)}, quarantine_group(group))
        await (producer.commit() if committed else producer.abort())
    admin = await world.broker.admin()
    async with asyncio.timeout(200):
        found = await read_quarantines(admin, group, [tp], 49)
        while not found:
            await asyncio.sleep(0.01)
            found = await read_quarantines(admin, group, [tp], 49)
    assert (found[tp].more, found[tp].tenants) == (9, [tenant])
    assert (await admin.committed(group, [tp]))[tp] == CommittedOffset(9, "mark")
    assert await read_quarantines(admin, group, [tp], 50) == {}
    await admin.close()
