"""Sends events at a constant rate, each with a due time, independent of the pipeline.

Times count from the due time, so a stall delays every event due in it (no coordinated omission).
Events are generated before the first is due."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from agents.app import MODEL_METRICS
from streams.dev.bench.load.probes import Probes
from streams.dev.bench.rig import Rig
from streams.dev.workload.generator import EventBlock, Generator
from streams.dev.workload.oracle import Oracle
from streams.dev.workload.shape import preset
from streams.operate.produce.feed import RecordFeed

TICKS_PER_S = 100
"""The events of a block, probes included, are due together."""
TICKS_PER_PROBE = 2
GENERATED_PER_S = 50_000
"""Minimum, which sets the first due time."""
LAG_POLL_S = 1.0


class Made(NamedTuple):
    """One block per tick, and the expected result."""

    oracle: Oracle
    blocks: Sequence[EventBlock]


class SentLoad(NamedTuple):
    """``late_s``: behind the schedule at the end. ``lags``: sent and uncommitted events, every
    `LAG_POLL_S`."""

    late_s: float
    lags: Sequence[int]

    @property
    def lag_max(self) -> int:
        return max(self.lags, default=0)


def make(workload: str, seed: int, events: int, rate_per_s: int, now_ms: int) -> Made:
    """The first event is due soon after ``now_ms``."""
    start_ms = now_ms + round(1000 * events / GENERATED_PER_S)
    shape = preset(workload, start_ms=start_ms, seed=seed, step_ms=1000 / rate_per_s)
    generator = Generator(shape)
    blocks = list(generator.blocks(events, max(1, rate_per_s // TICKS_PER_S)))
    return Made(generator.oracle, blocks)


async def send(
    rig: Rig, blocks: Sequence[EventBlock], rate_per_s: int, probes: Probes | None
) -> SentLoad:
    """Send every block, with probes, at its due time; sample the group's lag."""
    lags: list[int] = []
    watching = asyncio.create_task(_watch_lag(rig, lags))
    producer = rig.broker.plain_producer()
    await producer.start()
    events = sum(len(block.keys) for block in blocks)
    try:
        with rig.talk.progress("sent", events, "events") as progress:
            feed = RecordFeed(
                producer,
                MODEL_METRICS.name,
                rig.clock,
                rate_per_s=rate_per_s,
                on_progress=progress.advance,
            )
            began_ms, sent = rig.clock.now_ms(), 0
            for tick, (keys, values) in enumerate(blocks):
                if probes is not None and tick % TICKS_PER_PROBE == 0:
                    key, value = probes.make(began_ms + 1000 * sent / rate_per_s)
                    keys.append(key)
                    values.append(value)
                await feed.send(keys, values)
                sent += len(keys)
            late_s = (rig.clock.now_ms() - began_ms) / 1000 - sent / rate_per_s
            await feed.drain()
    finally:
        watching.cancel()
        await producer.close()
    return SentLoad(max(0.0, late_s), lags)


async def _watch_lag(rig: Rig, lags: list[int]) -> None:
    while True:
        lags.append(await rig.reading.unread())
        await rig.clock.sleep(LAG_POLL_S)
