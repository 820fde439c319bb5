"""aiokafka's public API: fetch and decode only."""

import asyncio

from aiokafka import AIOKafkaConsumer
from event import decode
from progress import BOOTSTRAP, GROUP, TOPIC, Progress

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
