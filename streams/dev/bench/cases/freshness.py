"""Freshness at a constant rate: time from an event's due time to its row in ClickHouse, by timed
probes in an open loop."""

from __future__ import annotations

import asyncio
import os

import numpy as np
from numpy.typing import NDArray

from agents.app import MODEL_METRICS
from streams.dev.bench import exactness
from streams.dev.bench.cases.case import Case
from streams.dev.bench.cases.rebalance import Joining
from streams.dev.bench.exactness import Exactness
from streams.dev.bench.load import open_loop
from streams.dev.bench.load.probes import Probes, read_inserted_ms
from streams.dev.bench.processes import others_cores
from streams.dev.bench.report.results import CaseOutcome, Freshness
from streams.dev.bench.rig import Rig
from streams.dev.demo.worker_process import WorkerProcess
from streams.dev.workload.oracle import Oracle

COMMITS_AFTER = 2
"""from the last event to the reading of the lag"""
WARM_UP_S = 5.0
"""Earlier probes do not count: the first insert of a new server takes seconds."""


async def measure_freshness(rig: Rig) -> CaseOutcome:
    load_before = os.getloadavg()[0]
    process = rig.start("worker")
    joining: Joining | None = None
    try:
        await rig.all_opened(process, MODEL_METRICS.partitions)
        rig.talk.say("making the events")
        case, probes = rig.case, Probes()
        made = await asyncio.to_thread(
            open_loop.make, case.workload, case.seed, case.events, _rate(case), rig.clock.now_ms()
        )
        watched = rig.watched(process)
        before, began = watched.read(), rig.clock.monotonic()
        joining = Joining(rig, case.events / _rate(case)) if case.rebalance else None
        sent = await open_loop.send(rig, made.blocks, _rate(case), probes)
        await rig.clock.sleep(COMMITS_AFTER * rig.settings.commit_interval_s)
        lag_at_end = await rig.reading.unread()
        after, took_s = watched.read(), rig.clock.monotonic() - began
        costs = watched.costs(before, after, case.events)
        if joining is not None:
            await joining.done()
        delays_s, verdict = await _judge(rig, process, made.oracle, probes)
        warm_s = _warm(probes.due_ms, delays_s)
        freshness = Freshness(
            rate_per_s=_rate(case),
            seconds=case.seconds or 0,
            probes=len(warm_s),
            p50_s=quantile(warm_s, 0.5),
            p99_s=quantile(warm_s, 0.99),
            p999_s=quantile(warm_s, 0.999),
            max_s=quantile(warm_s, 1.0),
            insert_mean_s=await _insert_mean_s(rig, process),
            sender_late_s=round(sent.late_s, 3),
            lag_max=sent.lag_max,
            lag_at_end=lag_at_end,
        )
        rebalance = joining.told(probes.due_ms, delays_s) if joining is not None else None
    finally:
        if joining is not None:
            await joining.stop()
        await rig.stop(process)
    return CaseOutcome(
        case=rig.case,
        exact=verdict.exact,
        differences=verdict.differences,
        load_before=round(load_before, 2),
        others_cores=round(others_cores(before, after, took_s), 2),
        processes=costs,
        freshness=freshness,
        rebalance=rebalance,
    )


def _warm(due_ms: NDArray[np.float64], delays_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """All of the probes where one is missing (an inexact run) or none remains."""
    if len(due_ms) != len(delays_s) or due_ms[-1] - due_ms[0] <= WARM_UP_S * 1000:
        return delays_s
    warm: NDArray[np.float64] = delays_s[due_ms >= due_ms[0] + WARM_UP_S * 1000]
    return warm


async def _judge(
    rig: Rig, process: WorkerProcess, oracle: Oracle, probes: Probes
) -> tuple[NDArray[np.float64], Exactness]:
    visible = await rig.until_visible(process, oracle.applied + len(probes))
    # the last probe's row may be in flight
    await rig.until_acknowledged(process)
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
    return delays_s, verdict


async def _insert_mean_s(rig: Rig, process: WorkerProcess) -> float:
    metrics, _ = await rig.until_acknowledged(process)
    inserts = metrics.total("sink_insert_seconds_count")
    return round(metrics.total("sink_insert_seconds_sum") / max(1.0, inserts), 3)


def quantile(values: NDArray[np.float64], share: float) -> float | None:
    """The smallest value that at least ``share`` of all do not exceed; None without values."""
    if not len(values):
        return None
    return round(float(np.quantile(values, share, method="inverted_cdf")), 3)


def _rate(case: Case) -> int:
    assert case.rate_per_s is not None, "only a paced case measures freshness"
    return case.rate_per_s
