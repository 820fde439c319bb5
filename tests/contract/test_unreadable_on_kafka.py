"""A batch that the real broker accepts and no client can decode affects its partition only."""

from __future__ import annotations

import asyncio
import struct

import cramjam
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.broker.log_range import decided_end
from streams.core.clock import SystemClock
from streams.core.errors import BatchUnreadable
from streams.core.types import TopicConfig, TopicPartition

pytestmark = pytest.mark.stack

PATIENCE_S = 200.0
LENGTH_AT, CRC_AT, ATTRIBUTES_AT, RECORDS_AT = 8, 17, 21, 61
LZ4 = 3
TOPIC = "unreadable"
BAD, GOOD = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


def numbered_wrongly(count):
    """Uncompressed records; the last one has an offset far behind its batch: a broker checks only
    the offsets of compressed records. Java's consumer delivers the record at that offset."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for at in range(count):
        builder.append(at, 1, b"k", b"lost", [])
    raw = bytearray(builder.build())
    # Of the last record: length, attributes, time, offset, key, value, no headers.
    last = bytes([0, 0, 2 * (count - 1), 2]) + b"k" + bytes([8]) + b"lost" + bytes([0])
    assert raw.endswith(last)
    far = last[:2] + b"\x80\x89\x7a" + last[3:]
    raw = raw[: -len(last) - 1] + bytes([2 * len(far)]) + far
    struct.pack_into(">i", raw, LENGTH_AT, len(raw) - 12)
    struct.pack_into(">I", raw, CRC_AT, calc_crc32c(bytes(raw[ATTRIBUTES_AT:])))
    return bytes(raw)


def broken_lz4(count):
    """A batch whose LZ4 frame has a wrong content checksum; Java does not check it."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for at in range(count):
        builder.append(at, 1, b"k", b"lost", [])
    raw = bytearray(builder.build())
    # Java refuses frames of linked blocks.
    frames = cramjam.lz4.Compressor(level=1, content_checksum=True, block_linked=False)
    frames.compress(bytes(raw[RECORDS_AT:]))
    frame = bytearray(bytes(frames.finish()))
    frame[-1] ^= 0xFF
    raw = raw[:RECORDS_AT] + frame
    raw[ATTRIBUTES_AT + 1] |= LZ4
    struct.pack_into(">i", raw, LENGTH_AT, len(raw) - 12)
    struct.pack_into(">I", raw, CRC_AT, calc_crc32c(bytes(raw[ATTRIBUTES_AT:])))
    return bytes(raw)


async def produce_raw(bootstrap, tp, data):
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    await client.set_topics([tp.topic])
    request = ProduceRequest(None, -1, 10_000, [(tp.topic, [(tp.partition, data)])])
    answer = await client.send(client.cluster.leader_for_partition(tp), request)
    await client.close()
    [(_, [(_, code, *_)])] = answer.topics
    assert code == 0, "a broker that decodes what it stores refuses such batches"


class SeekToStart:
    """A rebalance listener that reads everything from the start."""

    def __init__(self, consumer):
        self._consumer = consumer

    async def on_revoked(self, partitions):
        """Nothing to release."""

    async def on_assigned(self, partitions):
        for tp in partitions:
            self._consumer.seek(tp, 0)


@pytest.fixture(params=[broken_lz4, numbered_wrongly])
async def spoiled(kafka_bootstrap, request):
    """Two good records, a batch of three that cannot be decoded, two good records; and a healthy
    partition."""
    broker = KafkaBroker(kafka_bootstrap, session_timeout_s=6.0)
    admin = await broker.admin()
    config = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([TopicConfig(TOPIC, 2, 1, config)])
    producer = broker.transactional_producer("unreadable")
    await producer.start()
    await send(producer, BAD, b"a", b"b")
    reader = await broker.reader()
    # A commit returns before its marker is appended: without the wait, the batch may come first.
    assert await decided_end(reader, BAD, SystemClock()) == 3
    await reader.close()
    await produce_raw(kafka_bootstrap, BAD, request.param(3))
    await send(producer, BAD, b"c", b"d")
    await send(producer, GOOD, *(b"%d" % number for number in range(5)))
    await producer.close()
    yield broker
    await admin.delete_topics([TOPIC])
    await admin.close()


async def send(producer, tp, *values):
    from streams.core.types import OutboundRecord

    await producer.begin()
    await (await producer.send_many([OutboundRecord(tp, b"k", value) for value in values]))
    await producer.commit()


async def test_a_member_receives_all_but_the_batch_and_a_report_of_it(spoiled):
    """It gets two records and their marker before it, two behind it, and all of the other
    partition."""
    consumer = spoiled.consumer("unreadable", [TOPIC], "one")
    await consumer.start(SeekToStart(consumer))
    values, raised = {BAD: [], GOOD: []}, []
    async with asyncio.timeout(PATIENCE_S):
        while len(values[BAD]) < 4 or len(values[GOOD]) < 5:
            try:
                batches = await consumer.getmany(0.2, 100)
            except BatchUnreadable as error:
                raised.append((TopicPartition(*error.tp), error.offset, error.until))
                await consumer.getmany(0.2, 0)
                consumer.seek(BAD, error.until)
                continue
            for tp, batch in batches.items():
                values[tp] += batch.values
                assert batch.append_times
                assert batch.first_epoch >= 0
    await consumer.stop()
    assert values[BAD] == [b"a", b"b", b"c", b"d"]
    assert values[GOOD] == [b"0", b"1", b"2", b"3", b"4"]
    assert raised == [(BAD, 3, 6)]


async def test_a_reader_reports_the_batch_and_continues_behind_it(spoiled):
    """Audits, scans and restores read this way."""
    reader = await spoiled.reader()
    found = await reader.read(BAD, 0)
    assert (found.values, found.end) == ([b"a", b"b"], 3)
    with pytest.raises(BatchUnreadable, match="unreadable/0: the batch at offsets 3 to 5"):
        await reader.read(BAD, found.end)
    assert (await reader.read(BAD, 6)).values == [b"c", b"d"]
    await reader.close()
