"""The floor: fetch and decode the same records through the pipeline's consumer and decoder, and
nothing else."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from schemas.metric import ModelMetric
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.core.errors import CommandError
from streams.core.process import process_memory
from streams.core.settings import Settings, load
from streams.core.telemetry.logs import configure
from streams.core.types import TopicPartition
from streams.dev.bench.children import output_of

GROUP = "dia-bench-floor"
STALLED_S = 30.0


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    events: int
    seconds: float
    events_per_s: int
    cpu_s_per_million: float


class _Listener:
    def __init__(self) -> None:
        self.assigned = asyncio.Event()

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        return

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self.assigned.set()


async def measure_floor(environ: Mapping[str, str], topic: str, events: int) -> Floor:
    """Run it as a child. Raises `CommandError` when it fails."""
    program = (sys.executable, "-m", "streams.dev.bench.cases.floor", topic, str(events))
    output = await output_of("measuring the floor", *program, environ=environ)
    return msgspec.json.decode(output, type=Floor)


async def _consume(settings: Settings, topic: str, events: int) -> Floor:
    decode = msgspec.json.Decoder(ModelMetric).decode
    consumer = KafkaBroker.from_settings(settings).consumer(GROUP, [topic], "")
    listener = _Listener()
    await consumer.start(listener)
    process_memory.settle()
    began_s, began_cpu_s, moved_s = time.monotonic(), time.process_time(), time.monotonic()
    for tp in consumer.assignment():
        consumer.seek(tp, 0)
    read = 0
    while read < events:
        batches = await consumer.getmany(settings.fetch_timeout_s, settings.fetch_max_records)
        for batch in batches.values():
            _decode(decode, batch.values)
            read += len(batch)
            moved_s = time.monotonic()
        if time.monotonic() - moved_s > STALLED_S:
            raise CommandError(f"the floor read {read:,} of {events:,} records and then nothing.")
        await asyncio.sleep(0)
    seconds, cpu = time.monotonic() - began_s, time.process_time() - began_cpu_s
    await consumer.stop()
    return Floor(
        events=read,
        seconds=round(seconds, 3),
        events_per_s=round(read / seconds),
        cpu_s_per_million=round(cpu / read * 1e6, 3),
    )


def _decode(decode: Callable[[bytes], Any], values: Sequence[bytes | None]) -> None:
    """The iterator goes on behind a value that raised."""
    events: list[Any] = []
    pending = map(cast("Callable[[bytes | None], Any]", decode), values)
    while True:
        try:
            events.extend(pending)
        except (ValueError, TypeError):
            continue
        else:
            return


def main(argv: Sequence[str]) -> None:
    topic, events = argv
    settings, _ = load()
    configure(settings.log_format, "error")
    found = asyncio.run(_consume(settings, topic, int(events)))
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
