"""Freshness at a constant rate: how long after it was due an event stands in ClickHouse.

Open loop: every event has a moment at which it is to be sent, whatever the pipeline does, and
its delay counts from there (no coordinated omission). Probes (streams/bench/probes.py) run along
with the workload and are timed.
"""

from __future__ import annotations

import asyncio
import os
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.bench import exactness
from streams.bench.case import Case
from streams.bench.exactness import Exactness
from streams.bench.probes import Probes, read_inserted_ms
from streams.bench.processes import others_cores
from streams.bench.results import Freshness, Outcome
from streams.bench.rig import Rig
from streams.demo.worker_process import WorkerProcess
from streams.topology import MODEL_METRICS
from streams.workload.feed import Feed
from streams.workload.generator import Block, Generator
from streams.workload.oracle import Oracle
from streams.workload.shape import preset

TICKS_PER_S = 100
"""Blocks a second. The events of a block are due together, the probe among them too."""
TICKS_PER_PROBE = 2
GENERATED_PER_S = 50_000
"""How fast events are made in advance, at least: the first is due when the last is made."""
LAG_POLL_S = 1.0
COMMITS_AFTER = 2
"""Commit intervals after the last event until the lag is looked at."""


class _Sent(NamedTuple):
    probes: Probes
    late_s: float
    lag_max: int
    lag_at_end: int


async def measure_freshness(rig: Rig) -> Outcome:
    """Start the worker, send on schedule, and ask the shards when each probe came in."""
    load_before = os.getloadavg()[0]
    process = rig.start("worker")
    try:
        await rig.all_opened(process, MODEL_METRICS.partitions)
        rig.talk.say("making the events")
        oracle, blocks = await asyncio.to_thread(_make, rig.case, rig.clock.now_ms())
        watched = rig.watched(process)
        before, began = watched.read(), rig.clock.monotonic()
        sent = await _send(rig, blocks)
        after, took_s = watched.read(), rig.clock.monotonic() - began
        costs = watched.costs(before, after, rig.case.events)
        freshness, verdict = await _judge(rig, process, oracle, sent)
    finally:
        await rig.stop(process)
    return Outcome(
        case=rig.case,
        exact=verdict.exact,
        differences=verdict.differences,
        load_before=round(load_before, 2),
        others_cores=round(others_cores(before, after, took_s), 2),
        processes=costs,
        freshness=freshness,
    )


def _make(case: Case, now_ms: int) -> tuple[Oracle, list[Block]]:
    """Every event of the run, one block a tick."""
    rate_per_s = _rate(case)
    start_ms = now_ms + round(1000 * case.events / GENERATED_PER_S)
    shape = preset(case.workload, start_ms=start_ms, seed=case.seed, step_ms=1000 / rate_per_s)
    generator = Generator(shape)
    blocks = list(generator.blocks(case.events, max(1, rate_per_s // TICKS_PER_S)))
    return generator.oracle, blocks


async def _send(rig: Rig, blocks: list[Block]) -> _Sent:
    """Send every block when it is due; watch how far the group is behind."""
    probes = Probes()
    lags: list[int] = []
    watching = asyncio.create_task(_watch_lag(rig, lags))
    producer = rig.broker.plain_producer()
    await producer.start()
    try:
        with rig.talk.progress("sent", rig.case.events, "events") as progress:
            feed = Feed(
                producer,
                MODEL_METRICS.name,
                rig.clock,
                rate_per_s=_rate(rig.case),
                on_progress=progress.advance,
            )
            began_ms, sent = rig.clock.now_ms(), 0
            for tick, (keys, values) in enumerate(blocks):
                if tick % TICKS_PER_PROBE == 0:
                    key, value = probes.make(began_ms + 1000 * sent / _rate(rig.case))
                    keys.append(key)
                    values.append(value)
                await feed.send(keys, values)
                sent += len(keys)
            late_s = (rig.clock.now_ms() - began_ms) / 1000 - sent / _rate(rig.case)
            await feed.drain()
    finally:
        watching.cancel()
        await producer.close()
    await rig.clock.sleep(COMMITS_AFTER * rig.settings.commit_interval_s)
    lag_at_end = await rig.reading.unread()
    return _Sent(probes, max(0.0, late_s), max(lags, default=0), lag_at_end)


async def _watch_lag(rig: Rig, lags: list[int]) -> None:
    while True:
        lags.append(await rig.reading.unread())
        await rig.clock.sleep(LAG_POLL_S)


async def _judge(
    rig: Rig, process: WorkerProcess, oracle: Oracle, sent: _Sent
) -> tuple[Freshness, Exactness]:
    case, probes = rig.case, sent.probes
    visible = await rig.until_visible(process, oracle.applied + len(probes))
    metrics, _ = await rig.until_acknowledged(process)
    delays_s = probes.delays_s(await asyncio.to_thread(read_inserted_ms, rig.settings))
    rig.talk.say("comparing every window with what was sent")
    found = probes.without(await rig.reading.everything())
    verdict = exactness.also(
        exactness.of_windows(oracle, found),
        failed=not visible,
        difference="not every event was counted in time",
    )
    verdict = exactness.also(
        verdict,
        failed=len(delays_s) != len(probes),
        difference=f"probes: sent {len(probes):,}, found {len(delays_s):,}",
    )
    inserts = metrics.total("sink_insert_seconds_count")
    freshness = Freshness(
        rate_per_s=_rate(case),
        seconds=case.seconds or 0,
        probes=len(delays_s),
        p50_s=quantile(delays_s, 0.5),
        p99_s=quantile(delays_s, 0.99),
        p999_s=quantile(delays_s, 0.999),
        max_s=quantile(delays_s, 1.0),
        insert_mean_s=round(metrics.total("sink_insert_seconds_sum") / max(1.0, inserts), 3),
        sender_late_s=round(sent.late_s, 3),
        lag_max=sent.lag_max,
        lag_at_end=sent.lag_at_end,
    )
    return freshness, verdict


def quantile(values: NDArray[np.float64], share: float) -> float | None:
    """The smallest value that at least ``share`` of all do not exceed; None of nothing."""
    if not len(values):
        return None
    return round(float(np.quantile(values, share, method="inverted_cdf")), 3)


def _rate(case: Case) -> int:
    assert case.rate_per_s is not None, "only a paced case measures freshness"
    return case.rate_per_s
