"""Records with header names that are not UTF-8: brokers store them, and clients fail on them."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from streams.connect.broker.kafka.broker import KafkaBroker
from streams.core.types import RecordBatch, TopicConfig, TopicPartition

pytestmark = pytest.mark.stack

PATIENCE_S = 200.0
ATTRIBUTES_AT, CRC_AT = 21, 17
STAND_IN, WRONG = "é".encode(), b"\xff\xfe"


class SeekToStart:
    """A rebalance listener that reads everything from the start."""

    def __init__(self, consumer):
        self._consumer = consumer

    async def on_revoked(self, partitions):
        """Nothing to release."""

    async def on_assigned(self, partitions):
        for tp in partitions:
            self._consumer.seek(tp, 0)


def batch_with_a_wrong_name():
    """Three records; the header name of the second one is not UTF-8."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    builder.append(0, 1, b"k", b"first", [])
    builder.append(1, 1, b"k", b"second", [("caf" + STAND_IN.decode(), b"x"), ("good", b"y")])
    builder.append(2, 1, b"k", b"third", [])
    raw = bytearray(bytes(builder.build()).replace(STAND_IN, WRONG))
    raw[CRC_AT : CRC_AT + 4] = calc_crc32c(bytes(raw[ATTRIBUTES_AT:])).to_bytes(4, "big")
    return bytes(raw)


@pytest.fixture
async def spoiled(kafka_bootstrap):
    """A topic that holds such a batch twice, and its broker."""
    broker = KafkaBroker(kafka_bootstrap, session_timeout_s=6.0)
    admin = await broker.admin()
    name = "header-names"
    await admin.create_topics([TopicConfig(name, 1, 1, {})])
    client = AIOKafkaClient(bootstrap_servers=kafka_bootstrap)
    await client.bootstrap()
    await client.set_topics([name])
    for _ in range(2):
        request = ProduceRequest(None, -1, 10_000, [(name, [(0, batch_with_a_wrong_name())])])
        answer = await client.send(
            client.cluster.leader_for_partition(TopicPartition(name, 0)), request
        )
        [(_, [(_, code, *_)])] = answer.topics
        assert code == 0
    await client.close()
    yield broker, TopicPartition(name, 0)
    await admin.delete_topics([name])
    await admin.close()


async def fetched(broker, tp):
    """Records that a group member receives."""
    consumer = broker.consumer("header-names", [tp.topic], "one")
    await consumer.start(SeekToStart(consumer))
    whole = RecordBatch(tp, 0, 0)
    async with asyncio.timeout(PATIENCE_S):
        while whole.end < 6:
            for batch in (await consumer.getmany(0.2, 4)).values():
                whole.values += batch.values
                whole.headers += batch.headers
                whole.end = batch.end
    await consumer.stop()
    return whole


async def read(broker, tp):
    """Records that a reader without a group receives."""
    reader = await broker.reader()
    whole = await reader.read(tp, 0, 100)
    await reader.close()
    return whole


@pytest.mark.parametrize("way", [fetched, read])
async def test_an_invalid_header_name_loses_no_record(spoiled, way):
    """One invalid name must neither block its partition nor drop its batch."""
    whole = await way(*spoiled)
    assert whole.values == [b"first", b"second", b"third"] * 2
    named = (("caf\\xff\\xfe", b"x"), ("good", b"y"))
    assert whole.headers == [(), named, ()] * 2
