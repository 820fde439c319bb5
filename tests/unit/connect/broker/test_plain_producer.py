"""The plain producer while the broker is away."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from aiokafka.errors import KafkaTimeoutError

from streams.connect.broker.kafka.connection import KafkaConnection
from streams.connect.broker.kafka.producers.plain_producer import KafkaPlainProducer


class FullClient:
    """A client whose queue is full for the first ``refusals`` batches, as in an outage."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.taken: list[list[bytes]] = []
        self.client = SimpleNamespace(
            cluster=SimpleNamespace(partitions_for_topic=lambda topic: {0})
        )

    def create_batch(self):
        values: list[bytes] = []
        return SimpleNamespace(
            append=lambda *, value, **_: values.append(value) or True,
            close=lambda: None,
            values=values,
        )

    async def send_batch(self, batch, topic, *, partition):
        if self.refusals:
            self.refusals -= 1
            raise KafkaTimeoutError
        self.taken.append(batch.values)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def test_a_block_waits_for_room_and_is_sent_once():
    """A block given up half-way loses or repeats the part that was taken already."""
    producer = KafkaPlainProducer(KafkaConnection(bootstrap="127.0.0.1:1"))
    producer._producer = client = FullClient(refusals=2)
    await (await producer.send_many("t", [b"k", b"k"], [b"1", b"2"]))
    assert client.taken == [[b"1", b"2"]]
