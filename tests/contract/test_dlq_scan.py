"""Reading a DLQ between fixed bounds, on every broker."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.core.errors import TopicRecreated, UnknownTopic
from streams.core.types import OutboundRecord, TopicPartition
from streams.operate.dlq.scan import OffsetSpan, bounds, scan


async def filled(world, topic: str, partition: int, count: int) -> TopicPartition:
    tp = TopicPartition(topic, partition)
    writer = await world.writer()
    for first in range(0, count, 4):
        values = [b"%d" % n for n in range(first, min(first + 4, count))]
        await world.write(writer, tp, *values)
    return tp


async def test_a_scan_ends_at_the_end_of_the_log_at_its_start(world):
    """A DLQ that grows while it is read must neither hang a command nor change its numbers."""
    topic = await world.topic(2)
    tp = await filled(world, topic, 0, 8)
    await world.stable(tp, 10)
    reader = await world.broker.reader()
    spans = await bounds(reader, topic, 2)
    assert spans == [OffsetSpan(tp, 0, 10), OffsetSpan(TopicPartition(topic, 1), 0, 0)]
    await filled(world, topic, 0, 4)
    pages = [page async for page in scan(reader, spans, app.topology, page_records=3)]
    assert max(map(len, pages)) <= 3
    assert [letter.value for page in pages for letter in page] == [b"%d" % n for n in range(8)]
    await reader.close()


async def test_a_scan_resumes_behind_the_last_letter_seen(world):
    """An interrupted reader resumes there and sees each letter once."""
    topic = await world.topic()
    tp = await filled(world, topic, 0, 8)
    await world.stable(tp, 10)
    reader = await world.broker.reader()
    [span] = await bounds(reader, topic, 1)
    first, *_ = [page async for page in scan(reader, [span], app.topology, page_records=3)]
    rest = [
        page
        async for page in scan(reader, [span._replace(start=first[-1].offset + 1)], app.topology)
    ]
    seen = [letter.value for page in [first, *rest] for letter in page]
    assert seen == [b"%d" % n for n in range(8)]
    await reader.close()


async def test_letters_deleted_during_a_scan_are_skipped(world):
    """The byte limit of a DLQ may delete its oldest letters during a scan."""
    topic = await world.topic()
    tp = await filled(world, topic, 0, 8)
    await world.stable(tp, 10)
    reader = await world.broker.reader()
    spans = await bounds(reader, topic, 1)
    admin = await world.broker.admin()
    await admin.delete_records({tp: 6})
    await admin.close()
    seen = [letter.value async for page in scan(reader, spans, app.topology) for letter in page]
    assert seen == [b"5", b"6", b"7"]
    await reader.close()


async def test_a_recreated_topic_is_reported(world):
    """Offsets of the deleted topic do not apply to the new one."""
    topic = await world.topic()
    tp = await filled(world, topic, 0, 4)
    await world.stable(tp, 5)
    reader = await world.broker.reader()
    with pytest.raises(TopicRecreated, match="deleted and made again"):
        [page async for page in scan(reader, [OffsetSpan(tp, 0, 50)], app.topology)]
    with pytest.raises(TopicRecreated, match="ends at offset 5"):
        [page async for page in scan(reader, [OffsetSpan(tp, 20, 50)], app.topology)]
    await reader.close()


async def test_a_partition_that_does_not_exist_is_an_error(world):
    """A DLQ with fewer partitions than expected is not an empty one."""
    topic = await world.topic()
    reader = await world.broker.reader()
    with pytest.raises(UnknownTopic):
        await bounds(reader, topic, 2)
    await reader.close()


async def test_letters_of_an_aborted_transaction_are_not_returned(world):
    """The dead letter was never committed."""
    topic = await world.topic()
    tp = TopicPartition(topic, 0)
    writer = await world.writer()
    await world.write(writer, tp, b"a", commit=False)
    await world.write(writer, tp, b"b")
    await world.stable(tp, 4)
    reader = await world.broker.reader()
    spans = await bounds(reader, topic, 1)
    seen = [letter.value async for page in scan(reader, spans, app.topology) for letter in page]
    assert seen == [b"b"]
    await reader.close()


async def test_headers_come_back_as_they_were_sent(world):
    """Provenance is in headers: their order decides which of two equal names applies."""
    topic = await world.topic()
    tp = TopicPartition(topic, 0)
    sent = (("a", b"1"), ("dia.dlq.error_code", b"wrong_type"), ("a", b"\xff"))
    writer = await world.writer()
    await writer.begin()
    await (await writer.send(OutboundRecord(tp, b"k", b"v", sent, 77)))
    await writer.commit()
    await world.stable(tp, 2)
    reader = await world.broker.reader()
    spans = await bounds(reader, topic, 1)
    [[letter]] = [page async for page in scan(reader, spans, app.topology)]
    assert (letter.headers, letter.error_code, letter.timestamp_ms) == (sent, "wrong_type", 77)
    await reader.close()
