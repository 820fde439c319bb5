"""aiokafka's public API: fetch and decode, nothing else."""

import asyncio

import msgspec
from aiokafka import AIOKafkaConsumer
from progress import BOOTSTRAP, GROUP, TOPIC, Progress


class Event(msgspec.Struct):
    event_id: str
    tenant_id: str
    model_id: str
    metric: str
    ts: int
    value: float


decode = msgspec.json.Decoder(Event).decode
progress = Progress()


async def consume() -> None:
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=BOOTSTRAP,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
    )
    await consumer.start()
    while not progress.done:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=10_000)
        for records in fetched.values():
            progress.start()
            events = [decode(record.value) for record in records]
            progress.applied += len(events)
            progress.add(len(events))
    await consumer.stop()


asyncio.run(consume())
