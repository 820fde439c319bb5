"""A topic filled in advance, and the expected result."""

from __future__ import annotations

from typing import Any, Final

from agents.app import MODEL_METRICS
from streams.dev.bench.rig import Rig
from streams.dev.workload.generator import Generator
from streams.dev.workload.shape import STEP_MS, preset
from streams.operate.produce.feed import RecordFeed

PAST_MS = 180_000
"""Of the last event, so that no window waits for the clock."""
CLEAN: Final[dict[str, Any]] = {"poison": 0.0, "future": 0.0}
"""for peers, which have no dead letters"""


async def fill(
    rig: Rig, topic: str = MODEL_METRICS.name, **changes: Any
) -> tuple[Generator, float]:
    """With ``changes`` to its workload. Returns the generator, with its oracle, and the events
    produced per second."""
    case, clock = rig.case, rig.clock
    start_ms = clock.now_ms() - round(case.events * STEP_MS) - PAST_MS
    generator = Generator(preset(case.workload, start_ms=start_ms, seed=case.seed, **changes))
    began = clock.monotonic()
    await feed(rig, generator, case.events, topic)
    return generator, case.events / (clock.monotonic() - began)


async def feed(
    rig: Rig, generator: Generator, events: int, topic: str = MODEL_METRICS.name
) -> None:
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
