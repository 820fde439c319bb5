"""A stand-in for aiokafka's client with scripted broker answers, in the bytes of the protocol."""

from __future__ import annotations

import itertools
from collections import defaultdict
from io import BytesIO
from types import SimpleNamespace
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streams.connect.broker.kafka.connection import KafkaConnection

TOPIC = "t"
CONNECTION = KafkaConnection(bootstrap="scripted:9092", request_timeout_s=0.25)
ALL_CODES = [code for code in range(-1, 130) if code != 0]


def on_the_wire(answer: Any) -> Any:
    """The answer as the client decodes it from bytes of its schema."""
    return type(answer).decode(BytesIO(answer.encode()))


def records(first: int, count: int) -> bytes:
    """One batch of ``count`` records from offset ``first``."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1,
        base_sequence=-1, batch_size=1 << 20,
    )  # fmt: skip
    for number in range(count):
        builder.append(number, timestamp=1, key=b"k", value=b"v%d" % (first + number), headers=[])
    batch = bytearray(builder.build())
    batch[:8] = first.to_bytes(8, "big")
    return bytes(batch)


class ScriptedClient:
    """Gives the scripted answers of each API key in order; the last one repeats."""

    def __init__(self) -> None:
        self.answers: dict[int, list[Any]] = defaultdict(list)
        self.asked: list[Any] = []
        self.cluster = SimpleNamespace(
            partitions_for_topic=lambda topic: {0, 1} if topic == TOPIC else None,
            leader_for_partition=lambda tp: 1,
            update_metadata=lambda metadata: None,
            controller=SimpleNamespace(nodeId=1),
        )
        self._request_timeout_ms = 1000
        self._retry_backoff = 0.01
        self._numbers = itertools.count()

    def script(self, *answers: Any) -> None:
        for answer in answers:
            self.answers[answer.API_KEY].append(answer)

    async def send(self, node: int, request: Any) -> Any:
        self.asked.append(request)
        script = self.answers[request.API_KEY]
        answer = script.pop(0) if len(script) > 1 else script[0]
        return on_the_wire(answer)

    async def ready(self, node: int) -> bool:
        return True

    def get_random_node(self) -> int:
        return 1

    def add_topic(self, topic: str) -> None:
        return None

    async def force_metadata_update(self) -> bool:
        return True

    async def close(self) -> None:
        return None
