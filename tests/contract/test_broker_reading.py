"""Reading without a group, as restore and audit do, on every broker."""

from __future__ import annotations

import asyncio
import time

import pytest

from streams.connect.broker.log_range import decided_end
from streams.connect.broker.torn_commit import aborted_at
from streams.core.clock import SystemClock
from streams.core.errors import BrokerUnavailable, UnknownTopic
from streams.core.types import (
    LogBounds,
    OffsetOutOfRange,
    OutboundRecord,
    TopicConfig,
    TopicPartition,
)


async def test_reading_at_the_end_is_empty_and_does_not_move(world):
    """Restore ends at an empty batch with end == offset."""
    tp = TopicPartition(await world.topic(), 0)
    await world.write(await world.writer(), tp, b"a")
    await world.stable(tp, 2)
    reader = await world.broker.reader()
    batch = await reader.read(tp, 2)
    assert (len(batch), batch.start, batch.end) == (0, 2, 2)
    await reader.close()


async def test_reading_from_the_middle_starts_there(world):
    """A stored batch may start below the requested offset; the reader must skip those records."""
    tp = TopicPartition(await world.topic(), 0)
    await world.write(await world.writer(), tp, *[b"%d" % n for n in range(20)])
    read = await world.read(tp, end=21, offset=13)
    assert read.values == [b"%d" % n for n in range(13, 20)]
    assert read.offsets == list(range(13, 20))


async def test_offsets_outside_the_log_are_named(world):
    """A2 to A4 depend on telling "trimmed" and "recreated" from "empty"."""
    tp = TopicPartition(await world.topic(), 0)
    await world.write(await world.writer(), tp, b"a", b"b", b"c")
    await world.stable(tp, 4)
    admin = await world.broker.admin()
    await admin.delete_records({tp: 2})
    reader = await world.broker.reader()
    assert await reader.beginning_offset(tp) == 2
    for offset in (0, 1, 99):
        with pytest.raises(OffsetOutOfRange) as raised:
            await reader.read(tp, offset)
        assert (raised.value.tp, raised.value.offset) == (tp, offset)
    assert (await reader.read(tp, 2)).values == [b"c"]
    await reader.close()
    await admin.close()


async def test_the_end_of_a_log_is_known_once_open_transactions_end(world):
    """A late marker hides committed records: until it arrives, the ledger counts a dead letter that
    a reader of the DLQ does not see."""
    tp = TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    await world.write(writer, tp, b"a")
    await writer.begin()
    await (await writer.send(OutboundRecord(tp, None, b"b")))
    reader = await world.broker.reader()
    await world.stable(tp, 2)
    assert await reader.high_watermark(tp) == 3
    waiting = asyncio.create_task(decided_end(reader, tp, SystemClock()))
    await writer.commit()
    assert await waiting == 4
    await reader.close()


async def test_aborted_records_can_be_read_on_request(world):
    """They distinguish a commit that Kafka applied in part from one whose records are lost."""
    tp = TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    await world.write(writer, tp, b"a")
    await world.stable(tp, 2)
    await writer.begin()
    await (await writer.send(OutboundRecord(tp, None, b"b")))
    reader = await world.broker.reader()
    assert (await reader.read_all(tp, 2)).values == [b"b"]
    with pytest.raises(BrokerUnavailable, match="not decided"):
        await aborted_at(reader, tp, 2)
    await writer.abort()
    await world.stable(tp, 4)
    everything = await reader.read_all(tp, 0)
    while everything.end < 4:
        rest = await reader.read_all(tp, everything.end)
        everything.values += rest.values
        everything.end = rest.end
    assert everything.values == [b"a", b"b"]
    assert (await world.read(tp, end=4)).values == [b"a"]
    assert [await aborted_at(reader, tp, offset) for offset in range(5)] == [
        *(None, None, b"b", None, None)
    ]
    await reader.close()


async def test_a_log_is_never_trimmed_past_its_end(world):
    """An offset that the leader does not hold yet must not delete everything: commits that arrived
    meanwhile would be lost."""
    tp = TopicPartition(await world.topic(), 0)
    await world.write(await world.writer(), tp, b"a")
    await world.stable(tp, 2)
    admin = await world.broker.admin()
    with pytest.raises(BrokerUnavailable, match="Nothing was deleted"):
        await admin.delete_records({tp: 10_000})
    await admin.close()
    assert (await world.read(tp, end=2)).values == [b"a"]


async def test_a_log_trimmed_to_its_end_is_empty_and_continues(world):
    """Offsets do not restart while the topic exists."""
    tp = TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    await world.write(writer, tp, b"a")
    await world.stable(tp, 2)
    admin = await world.broker.admin()
    await admin.delete_records({tp: 2})
    await admin.close()
    reader = await world.broker.reader()
    assert await reader.beginning_offset(tp) == 2
    assert await reader.last_stable_offset(tp) == 2
    await reader.close()
    assert await world.write(writer, tp, b"b") == [2]


async def test_the_bounds_of_many_partitions_are_returned_in_one_call(world):
    """The partitions are of two topics, and the start of one was trimmed."""
    one, two = await world.topic(3), await world.topic()
    written, empty = TopicPartition(one, 1), TopicPartition(two, 0)
    await world.write(await world.writer(), written, b"a", b"b")
    await world.stable(written, 3)
    admin = await world.broker.admin()
    await admin.delete_records({written: 2})
    await admin.close()
    reader = await world.broker.reader()
    found = await reader.bounds([written, empty, TopicPartition(one, 2)])
    assert found == {
        written: LogBounds(2, 3),
        empty: LogBounds(0, 0),
        TopicPartition(one, 2): LogBounds(0, 0),
    }
    assert await reader.bounds([]) == {}
    with pytest.raises(UnknownTopic, match="dia topics apply"):
        await reader.bounds([written, TopicPartition(one, 7)])
    await reader.close()


async def test_an_unknown_partition_is_named(world):
    """The error of a worker started before its topics exist names the command to run."""
    known = await world.topic()
    reader = await world.broker.reader()
    for tp in (TopicPartition(world.name("absent"), 0), TopicPartition(known, 5)):
        with pytest.raises(UnknownTopic, match="dia topics apply"):
            await reader.last_stable_offset(tp)
        with pytest.raises(UnknownTopic):
            await reader.read(tp, 0)
    await reader.close()


async def test_log_append_time_is_the_brokers(world):
    """TTLs and age checks use the append time: it must be the broker's, not the producer's."""
    topic = await world.topic(config={"message.timestamp.type": "LogAppendTime"})
    tp = TopicPartition(topic, 0)
    before_ms = time.time_ns() // 1_000_000
    producer = await world.plain()
    await (await producer.send(topic, b"k", b"v"))
    await (await producer.send_many(topic, [b"k"] * 3, [b"v"] * 3))
    read = await world.read(tp)
    after_ms = time.time_ns() // 1_000_000
    assert len(read) == 4
    assert all(before_ms - 1000 <= stamp <= after_ms + 1000 for stamp in read.timestamps)


async def test_a_recreated_topic_starts_again_at_zero(world):
    """The offset that the chain remembers is then beyond the end, or holds another record."""
    topic = await world.topic()
    tp = TopicPartition(topic, 0)
    await world.write(await world.writer(), tp, b"old", b"old", b"old")
    await world.stable(tp, 4)
    admin = await world.broker.admin()
    await admin.delete_topics([topic])
    await admin.create_topics([TopicConfig(topic, 1, 1, {})])
    await admin.close()
    reader = await world.broker.reader()
    with pytest.raises(OffsetOutOfRange):
        await reader.read(tp, 4)
    assert await reader.last_stable_offset(tp) == 0
    await reader.close()


@pytest.mark.parametrize(("kind", "appended"), [("CreateTime", False), ("LogAppendTime", True)])
async def test_a_batch_says_whose_times_its_records_bear(world, kind, appended):
    """A topic's timestamp type may change while workers run: each batch carries its own."""
    tp = TopicPartition(await world.topic(config={"message.timestamp.type": kind}), 0)
    writer = await world.writer()
    await writer.begin()
    await (await writer.send(OutboundRecord(tp, b"k", b"v", (), 1_700_000_000_123)))
    await writer.commit()
    await world.stable(tp, 2)
    reader = await world.broker.reader()
    batch = await reader.read(tp, 0)
    assert (batch.append_times, batch.timestamps == [1_700_000_000_123]) == (appended, not appended)
    await reader.close()


async def found_by(reader, tp, end, *needles, offset=0):
    """Offset and value of the records that a search up to ``end`` finds."""
    found = []
    while offset < end:
        batch = await reader.search(tp, offset, needles)
        assert batch.start == offset < batch.end
        found += zip(batch.offsets, batch.values, strict=True)
        offset = batch.end
    return found


async def test_a_search_finds_the_records_that_contain_the_bytes(world):
    """A trace searches a log of millions for the few records with one event id."""
    tp = TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    await world.write(writer, tp, *[b"event-%d" % n for n in range(50)])
    await world.write(writer, tp, b"event-7", commit=False)
    await world.write(writer, tp, b"again event-7 of event-31")
    await world.stable(tp, 55)
    reader = await world.broker.reader()
    assert await found_by(reader, tp, 55, b"event-7") == [
        (7, b"event-7"),
        (53, b"again event-7 of event-31"),
    ]
    both = await found_by(reader, tp, 55, b"event-7", b"nt-31", offset=8)
    assert [offset for offset, _ in both] == [31, 53]
    assert await found_by(reader, tp, 55, b"event-99") == []
    await reader.close()


async def test_a_search_covers_keys_and_headers(world):
    """Dead-letter ids and replay plans are in headers."""
    tp = TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    await writer.begin()
    for key, headers in ((b"acme", ()), (b"k", (("plan", b"p-acme"),)), (b"other", ())):
        await (await writer.send(OutboundRecord(tp, key, None, headers)))
    await writer.commit()
    await world.stable(tp, 4)
    reader = await world.broker.reader()
    assert [offset for offset, _ in await found_by(reader, tp, 4, b"acme")] == [0, 1]
    await reader.close()


async def test_a_search_names_its_end_and_offsets_outside_the_log(world):
    """Records behind the end were not searched, so "not found" must not cover them."""
    tp = TopicPartition(await world.topic(), 0)
    await world.write(await world.writer(), tp, b"a", b"b")
    await world.stable(tp, 3)
    reader = await world.broker.reader()
    batch = await reader.search(tp, 3, [b"a"])
    assert (len(batch), batch.end) == (0, 3)
    with pytest.raises(OffsetOutOfRange):
        await reader.search(tp, 99, [b"a"])
    await reader.close()


async def test_searches_of_several_partitions_run_at_once(world):
    """A trace without a key searches every partition."""
    topic = await world.topic(3)
    writer = await world.writer()
    partitions = [TopicPartition(topic, number) for number in range(3)]
    for tp in partitions:
        await world.write(writer, tp, b"x%d" % tp.partition, b"here %d" % tp.partition)
        await world.stable(tp, 3)
    reader = await world.broker.reader()
    found = await asyncio.gather(*(found_by(reader, tp, 3, b"here") for tp in partitions))
    assert found == [[(1, b"here %d" % number)] for number in range(3)]
    await reader.close()


async def test_an_offset_is_found_by_its_time(world):
    """A bound in time avoids reading older records."""
    topic = await world.topic(2, {"message.timestamp.type": "LogAppendTime"})
    tp, empty = TopicPartition(topic, 0), TopicPartition(topic, 1)
    writer = await world.writer()
    await world.write(writer, tp, b"a")
    await world.stable(tp, 2)
    await asyncio.sleep(0.05)
    await world.write(writer, tp, b"b")
    read = await world.read(tp, end=4)
    first_ms, second_ms = read.timestamps
    assert first_ms < second_ms
    reader = await world.broker.reader()
    assert await reader.offsets_since([tp, empty], 0) == {tp: 0, empty: 0}
    assert (await reader.offsets_since([tp], second_ms))[tp] == 2
    assert (await reader.offsets_since([tp], second_ms + 3_600_000))[tp] == 4
    assert await reader.offsets_since([], 0) == {}
    await reader.close()
