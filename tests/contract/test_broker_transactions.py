"""Transactions as the commit protocol needs them, on every broker."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from streams.core.errors import CommitInDoubt, ProducerFenced
from streams.core.types import CommittedOffset, OutboundRecord, TopicPartition


async def test_committed_records_are_read_in_order_with_their_offsets(world):
    """Restore reads a changelog in the order in which it was written."""
    tp = TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    offsets = await world.write(writer, tp, b"a", b"b", b"c")
    assert offsets == [0, 1, 2]
    read = await world.read(tp, end=4)
    assert read.values == [b"a", b"b", b"c"]
    assert read.offsets == offsets
    assert read.keys == [b"key"] * 3


async def test_records_sent_in_bulk_keep_their_order_headers_and_partitions(world):
    """A replay sends thousands of records in one call; each must arrive unchanged."""
    topic = await world.topic(partitions=2)
    writer = await world.writer()
    records = [
        OutboundRecord(TopicPartition(topic, n % 2), b"k%d" % n, b"v%d" % n, (("h", b"%d" % n),))
        for n in range(50)
    ]
    records.append(OutboundRecord(TopicPartition(topic, 0), None, b"x" * 1_000_000))
    await writer.begin()
    await (await writer.send_many(records))
    await (await writer.send_many([]))
    assert writer.partitions(topic) == 2
    await writer.commit()
    even, odd = [await world.read(TopicPartition(topic, n), end=e) for n, e in ((0, 27), (1, 26))]
    assert even.values == [record.value for record in records if record.tp.partition == 0]
    assert odd.keys == [b"k%d" % n for n in range(1, 50, 2)]
    assert odd.headers == [(("h", b"%d" % n),) for n in range(1, 50, 2)]


async def test_a_refused_bulk_send_fails_the_transaction(world):
    """A commit must not succeed without a lost batch."""
    topic = await world.topic(config={"max.message.bytes": "2000"})
    tp = TopicPartition(topic, 0)
    writer = await world.writer()
    await writer.begin()
    sent = await writer.send_many([OutboundRecord(tp, b"k", os.urandom(5000))])
    with pytest.raises(CommitInDoubt):
        await sent
    with pytest.raises(CommitInDoubt):
        await writer.commit()
    assert (await world.read(tp)).values == []


async def test_aborted_records_are_never_read(world):
    """State must not contain records that were rolled back."""
    tp = TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    await world.write(writer, tp, b"kept")
    await world.write(writer, tp, b"dropped", b"dropped too", commit=False)
    await world.write(writer, tp, b"kept too")
    assert (await world.read(tp, end=7)).values == [b"kept", b"kept too"]


async def test_control_markers_occupy_offsets_and_the_position_passes_them(world):
    """The end of a batch is a position: it must reach the last stable offset."""
    tp = TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    await world.write(writer, tp, b"a")
    await world.write(writer, tp, b"b", commit=False)
    read = await world.read(tp, end=4)
    assert (read.offsets, read.end) == ([0], 4)


async def test_an_open_transaction_holds_the_last_stable_offset(world):
    """Readers must wait at an open transaction, not pass it."""
    tp = TopicPartition(await world.topic(), 0)
    first, second = await world.writer(), await world.writer()
    await world.write(first, tp, b"before")
    await world.stable(tp, 2)
    await second.begin()
    await world.send(second, tp, b"open")
    await world.write(first, tp, b"after")
    assert (await world.read(tp, end=2)).values == [b"before"]
    await second.commit()
    assert (await world.read(tp, end=6)).values == [b"before", b"open", b"after"]


async def test_starting_a_second_producer_fences_the_first(world):
    """The new owner of a partition is its only writer."""
    tp = TopicPartition(await world.topic(), 0)
    transactional_id = world.name("owner")
    old = await world.writer(transactional_id)
    await world.write(old, tp, b"old")
    new = await world.writer(transactional_id)
    with pytest.raises(ProducerFenced):
        await world.write(old, tp, b"zombie")
    await world.write(new, tp, b"new")
    assert (await world.read(tp, end=4)).values == [b"old", b"new"]


async def test_starting_a_second_producer_aborts_the_open_transaction_of_the_first(world):
    """The new owner can read to the end of the log at once, without waiting for the transaction's
    timeout."""
    tp = TopicPartition(await world.topic(), 0)
    transactional_id = world.name("owner")
    old = await world.writer(transactional_id)
    await old.begin()
    await world.send(old, tp, b"left open")
    await world.writer(transactional_id)
    reader = await world.broker.reader()
    assert await reader.last_stable_offset(tp) == 2
    await reader.close()
    with pytest.raises(ProducerFenced):
        await old.commit()
    assert (await world.read(tp, end=2)).values == []


async def test_a_fenced_producer_stays_fenced(world):
    """No later call of a fenced producer may succeed."""
    tp = TopicPartition(await world.topic(), 0)
    transactional_id = world.name("owner")
    old = await world.writer(transactional_id)
    await old.begin()
    await world.send(old, tp, b"open")
    await world.writer(transactional_id)
    for _ in range(2):
        with pytest.raises(ProducerFenced):
            await old.commit()
    with pytest.raises(ProducerFenced):
        await old.begin()


async def test_offsets_of_a_committed_transaction_are_committed(world):
    """Lag displays read the group's offset; its metadata carries the epoch."""
    source = TopicPartition(await world.topic(), 0)
    log = TopicPartition(await world.topic(), 0)
    group = world.name("group")
    writer = await world.writer()
    await writer.begin()
    await world.send(writer, log, b"x")
    await writer.send_offsets({source: CommittedOffset(42, "epoch=1")}, group)
    await writer.commit()
    assert await world.committed(group, source) == CommittedOffset(42, "epoch=1")


async def test_an_offset_that_is_being_committed_is_waited_for(world):
    """A reader that decides by an offset must not get the previous one."""
    source = TopicPartition(await world.topic(), 0)
    group, writer = world.name("group"), await world.writer()
    await world.commit_offset(writer, group, source, 1)
    await writer.begin()
    await writer.send_offsets({source: CommittedOffset(2, "")}, group)
    admin = await world.broker.admin()
    shown = await admin.committed(group, [source], stable=False)
    asking = asyncio.ensure_future(admin.committed(group, [source]))
    await admin.committed(group, [source], stable=False)
    assert not asking.done()
    await writer.commit()
    assert (shown[source].offset, (await asking)[source].offset) == (1, 2)
    await admin.close()


async def test_offsets_of_an_aborted_transaction_are_not_committed(world):
    """Offsets and state are one transaction: an abort discards both."""
    source = TopicPartition(await world.topic(), 0)
    group, transactional_id = world.name("group"), world.name("owner")
    writer = await world.writer(transactional_id)
    await writer.begin()
    await writer.send_offsets({source: CommittedOffset(7, "")}, group)
    await writer.abort()
    # Starting again waits for the end of the last transaction, including its markers.
    await world.writer(transactional_id)
    admin = await world.broker.admin()
    assert await admin.committed(group, [source]) == {}
    await admin.close()


async def test_a_refused_record_raises_and_fails_its_transaction(world):
    """aiokafka would commit the other records: half a commit is worse than none."""
    tp = TopicPartition(await world.topic(config={"max.message.bytes": "20000"}), 0)
    transactional_id = world.name("owner")
    writer = await world.writer(transactional_id)
    await writer.begin()
    good = await writer.send(OutboundRecord(tp, b"key", b"small"))
    assert await good == 0
    import random

    incompressible = random.Random(1).randbytes(40_000)
    refused = await writer.send(OutboundRecord(tp, b"key", incompressible))
    with pytest.raises(CommitInDoubt):
        await refused
    with pytest.raises(CommitInDoubt):
        await writer.commit()
    await world.writer(transactional_id)
    assert (await world.read(tp, end=2)).values == []


async def test_a_transaction_spans_partitions(world):
    """State, outputs and dead letters are in different logs, and are committed together or not at
    all."""
    topic = await world.topic(partitions=2)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    writer = await world.writer()
    await writer.begin()
    await world.send(writer, first, b"1")
    await world.send(writer, second, b"2")
    await writer.abort()
    await writer.begin()
    await world.send(writer, first, b"3")
    await world.send(writer, second, b"4")
    await writer.commit()
    assert (await world.read(first, end=4)).values == [b"3"]
    assert (await world.read(second, end=4)).values == [b"4"]


async def test_an_empty_transaction_commits(world):
    """A commit without changes must succeed."""
    tp = TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    await writer.begin()
    await writer.commit()
    await writer.begin()
    await writer.abort()
    await world.write(writer, tp, b"next")
    assert (await world.read(tp, end=2)).values == [b"next"]


async def test_tombstones_headers_and_timestamps_arrive_unchanged(world):
    """Tombstones are null values; dead letters carry headers; CreateTime keeps the given time."""
    tp = TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    await writer.begin()
    headers = (("dia.dlq.id", b"t/0/1"), ("dia.dlq.id", b"again"), ("empty", b""))
    await (await writer.send(OutboundRecord(tp, b"k", None, headers, 1_700_000_000_123)))
    await (await writer.send(OutboundRecord(tp, b"k", b"", (), 1_700_000_000_001)))
    await writer.commit()
    read = await world.read(tp, end=3)
    assert read.values == [None, b""]
    assert read.headers == [headers, ()]
    assert read.timestamps == [1_700_000_000_123, 1_700_000_000_001]


async def test_a_large_part_fits(world):
    """Changelog parts are up to 900 KiB of any content."""
    import random

    tp = TopicPartition(await world.topic(), 0)
    part = random.Random(2).randbytes(900 << 10)
    writer = await world.writer()
    await world.write(writer, tp, part, part)
    assert (await world.read(tp, end=3)).values == [part, part]


async def test_a_closed_producer_refuses_and_leaves_no_task_behind(world):
    """A restarted partition abandons its producer: none of its tasks may survive."""
    tp = TopicPartition(await world.topic(), 0)
    before = asyncio.all_tasks()
    writer = await world.writer()
    await writer.begin()
    pending = await writer.send(OutboundRecord(tp, b"k", b"v"))
    await writer.close()
    await writer.close()
    with contextlib.suppress(CommitInDoubt):
        assert await asyncio.wait_for(pending, timeout=200) == 0
    assert asyncio.all_tasks() <= before
    with pytest.raises(CommitInDoubt):
        await writer.commit()


async def test_a_second_begin_is_refused(world):
    """A commit that was cancelled midway must not become part of the next one."""
    tp = TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    await writer.begin()
    await (await writer.send(OutboundRecord(tp, b"key", b"half")))
    with pytest.raises(CommitInDoubt):
        await writer.begin()
