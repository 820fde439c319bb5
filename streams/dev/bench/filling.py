"""A topic filled in advance, and what must come out of it."""

from __future__ import annotations

from typing import Any, Final

from agents.app import MODEL_METRICS
from streams.dev.bench.rig import Rig
from streams.dev.workload.generator import Generator
from streams.dev.workload.shape import STEP_MS, preset
from streams.operate.produce.feed import RecordFeed

PAST_MS = 180_000
"""The last event lies so far back that no window waits for the clock."""
CLEAN: Final[dict[str, Any]] = {"poison": 0.0, "future": 0.0}
"""Changes to a workload that peers read, too: they have no dead letters."""


async def fill(
    rig: Rig, topic: str = MODEL_METRICS.name, **changes: Any
) -> tuple[Generator, float]:
    """Everything the case asks for into ``topic``, with ``changes`` to its workload; the
    generator, whose oracle has the expected result, and how many events a second went in."""
    case, clock = rig.case, rig.clock
    start_ms = clock.now_ms() - round(case.events * STEP_MS) - PAST_MS
    generator = Generator(preset(case.workload, start_ms=start_ms, seed=case.seed, **changes))
    began = clock.monotonic()
    await feed(rig, generator, case.events, topic)
    return generator, case.events / (clock.monotonic() - began)


async def feed(
    rig: Rig, generator: Generator, events: int, topic: str = MODEL_METRICS.name
) -> None:
    """The generator's next ``events`` events into ``topic``, as fast as they go."""
    producer = rig.broker.plain_producer()
    await producer.start()
    try:
        with rig.talk.progress("filled", events, "events") as progress:
            sending = RecordFeed(producer, topic, rig.clock, on_progress=progress.advance)
            for block in generator.blocks(events):
                await sending.send(*block)
            await sending.drain()
    finally:
        await producer.close()
