"""A topic filled in advance, and what must come out of it."""

from __future__ import annotations

from typing import Any

from agents.app import MODEL_METRICS
from streams.dev.bench.rig import Rig
from streams.dev.workload.generator import Generator
from streams.dev.workload.shape import STEP_MS, preset
from streams.operate.produce.feed import RecordFeed

PAST_MS = 180_000
"""The last event lies so far back that no window waits for the clock."""


async def fill(rig: Rig, **changes: Any) -> tuple[Generator, float]:
    """Everything the case asks for into the topic, with ``changes`` to its workload; the
    generator, whose oracle knows what must come out, and how many events a second went in."""
    case, clock = rig.case, rig.clock
    start_ms = clock.now_ms() - round(case.events * STEP_MS) - PAST_MS
    generator = Generator(preset(case.workload, start_ms=start_ms, seed=case.seed, **changes))
    began = clock.monotonic()
    await feed(rig, generator, case.events)
    return generator, case.events / (clock.monotonic() - began)


async def feed(rig: Rig, generator: Generator, events: int) -> None:
    """The generator's next ``events`` events into the topic, as fast as they go."""
    producer = rig.broker.plain_producer()
    await producer.start()
    try:
        with rig.talk.progress("filled", events, "events") as progress:
            sending = RecordFeed(
                producer, MODEL_METRICS.name, rig.clock, on_progress=progress.advance
            )
            for block in generator.blocks(events):
                await sending.send(*block)
            await sending.drain()
    finally:
        await producer.close()
