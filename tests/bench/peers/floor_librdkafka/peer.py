"""librdkafka through confluent-kafka: fetch and decode only."""

from confluent_kafka import Consumer
from event import decode
from progress import BOOTSTRAP, GROUP, TOPIC, Progress

progress = Progress()
consumer = Consumer(
    {
        "bootstrap.servers": BOOTSTRAP,
        "group.id": GROUP,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.message.max.bytes": 4 << 20,
        "queued.min.messages": 200_000,
        # By default, the client pauses for a second when its queue is full: half the speed of a
        # catch-up.
        "fetch.queue.backoff.ms": 5,
    }
)
consumer.subscribe([TOPIC])
while not progress.done:
    messages = consumer.consume(10_000, 0.5)
    if messages:
        progress.start()
        events = [decode(message.value()) for message in messages]
        progress.applied += len(events)
        progress.add(len(events))
consumer.close()
