"""The words about stopped partitions, kept as committed offsets of a group without members."""

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
    """The words once the markers of their transaction have arrived: a moment after its commit."""
    admin = await world.broker.admin()
    async with asyncio.timeout(200):
        words = await read_words(admin, group, partitions)
        while offset not in {word.offset for word in words.values()}:
            await asyncio.sleep(0.01)
            words = await read_words(admin, group, partitions)
    await admin.close()
    return words


async def test_a_word_is_read_where_it_was_not_written(world):
    """Operator and worker share nothing but the broker; the last word replaces the first."""
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


async def test_who_was_fenced_cannot_speak(world):
    """A worker that slept must not stop a partition that others have long moved on."""
    tp = TopicPartition(await world.topic(), 0)
    slept = await world.writer("owner")
    await world.writer("owner")
    with pytest.raises(PartitionRestart):
        await write_word(slept, world.name("group"), tp, Word(state=STOPPED, offset=1, at_ms=1))


async def test_the_word_about_a_quarantine_is_true_with_its_commit_or_not_at_all(world):
    """It joins the transaction as the offset of a second group; an aborted commit says nothing."""
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
