"""The plain producer, on every broker."""

from __future__ import annotations

import random

import pytest

from streams.connect.broker.partitioner import partition_of
from streams.core.errors import UnknownTopic
from streams.core.records.bad_records import TooLarge
from streams.core.types import TopicPartition


async def test_records_are_sent_to_their_keys_partition(world):
    """Deduplication is per partition: every producer must choose the same one."""
    topic = await world.topic(partitions=5)
    producer = await world.plain()
    keys = [b"tenant-%d" % n for n in range(40)]
    for key in keys:
        landed = await (await producer.send(topic, key, b"v"))
        assert landed == TopicPartition(topic, partition_of(key, 5))


async def test_bulk_sends_keep_order_within_a_partition(world):
    """Two events of one tenant must keep their order."""
    topic = await world.topic(partitions=3)
    producer = await world.plain()
    keys = [b"tenant-%d" % (n % 7) for n in range(5000)]
    values = [b"%d" % n + b"x" * (n % 300) for n in range(5000)]
    await (await producer.send_many(topic, keys, values))
    for partition in range(3):
        expected = [
            value
            for key, value in zip(keys, values, strict=True)
            if partition_of(key, 3) == partition
        ]
        assert (await world.read(TopicPartition(topic, partition))).values == expected


async def test_bulk_sends_attach_the_headers_to_every_record(world):
    """The trace of a block must be found at each of its records."""
    topic = await world.topic(partitions=1)
    producer = await world.plain()
    header = (("traceparent", b"00-1"),)
    await (await producer.send_many(topic, [b"k"] * 3, [b"v" * 9] * 3, header))
    await (await producer.send_many(topic, [b"k"], [b"v"]))
    assert (await world.read(TopicPartition(topic, 0))).headers == [header] * 3 + [()]


async def test_an_oversized_record_is_refused_with_its_cause(world):
    """The edge must answer "too large", not "unavailable"."""
    topic = await world.topic(config={"max.message.bytes": "5000"})
    producer = await world.plain()
    huge = random.Random(3).randbytes(20_000)
    with pytest.raises(TooLarge):
        await (await producer.send(topic, b"k", huge))
    with pytest.raises(TooLarge):
        await (await producer.send_many(topic, [b"k"], [huge]))


async def test_an_unknown_topic_is_named(world):
    """A misspelt name must not create a topic."""
    producer = await world.plain()
    with pytest.raises(UnknownTopic, match="dia topics apply"):
        await (await producer.send(world.name("absent"), b"k", b"v"))
    with pytest.raises(UnknownTopic):
        await (await producer.send_many(world.name("absent"), [b"k"], [b"v"]))


async def test_an_empty_send_succeeds(world):
    """The last chunk of a file may be empty."""
    producer, tp = await world.plain(), TopicPartition(await world.topic(), 0)
    await (await producer.send_many(tp.topic, [], []))
    reader = await world.broker.reader()
    assert await reader.high_watermark(tp) == 0
    await reader.close()
