"""The highest sustained rate: a filled topic read to its end, every row acknowledged."""

from __future__ import annotations

import os
from dataclasses import dataclass

from agents.app import MODEL_METRICS
from streams.dev.bench import exactness
from streams.dev.bench.cases.floor import Floor, measure_floor
from streams.dev.bench.cases.restart import measure_restart
from streams.dev.bench.exactness import Exactness
from streams.dev.bench.load.filling import fill
from streams.dev.bench.processes import Moment, ProcessCost, others_cores
from streams.dev.bench.report.results import CaseOutcome, Throughput
from streams.dev.bench.rig import Rig
from streams.dev.bench.worker_metrics import WorkerMetrics
from streams.dev.demo.worker_process import WorkerProcess
from streams.dev.workload.oracle import Oracle


@dataclass(frozen=True, slots=True)
class _Drained:
    throughput: Throughput
    processes: list[ProcessCost]
    others_cores: float
    metrics: WorkerMetrics


async def measure_throughput(rig: Rig) -> CaseOutcome:
    case = rig.case
    load_before = os.getloadavg()[0]
    generator, filled_per_s = await fill(rig)
    floor: Floor | None = None
    if case.floor:
        rig.talk.say("measuring the floor: fetch and decode alone")
        floor = await measure_floor(rig.environ, MODEL_METRICS.name, case.events)
    process = rig.start("worker")
    restart = None
    try:
        drained = await _drain(rig, process, generator.oracle, filled_per_s)
        if case.restore:
            process, restart = await measure_restart(rig, process, generator)
        verdict = await _verdict(rig, process, generator.oracle, drained.metrics)
    finally:
        await rig.stop(process)
    throughput = drained.throughput
    return CaseOutcome(
        case=case,
        exact=verdict.exact,
        differences=verdict.differences,
        load_before=round(load_before, 2),
        others_cores=drained.others_cores,
        processes=drained.processes,
        throughput=throughput if verdict.exact else exactness.without_speed(throughput),
        floor=floor,
        restart=restart,
    )


async def _drain(rig: Rig, process: WorkerProcess, oracle: Oracle, filled_per_s: float) -> _Drained:
    events = rig.case.events
    began_s = (await rig.first_opened(process)).at_s
    start = Moment.now()
    committed_s = await rig.until_committed(process, events) - began_s
    shown = oracle.applied if rig.case.sink == "clickhouse" else None
    metrics, acknowledged_at_s = await rig.until_acknowledged(process, shown)
    acknowledged_s = max(committed_s, acknowledged_at_s - began_s)
    # other workers may have started after the first one that took records
    watched = rig.watched(process)
    before, after = watched.at(start), watched.read()
    rows = metrics.minute_rows
    return _Drained(
        Throughput(
            events=events,
            filled_per_s=round(filled_per_s),
            committed_s=round(committed_s, 2),
            acknowledged_s=round(acknowledged_s, 2),
            events_per_s=round(events / acknowledged_s),
            rows=rows,
            rows_per_s=round(rows / acknowledged_s),
        ),
        watched.costs(before, after, events),
        round(others_cores(before, after, acknowledged_s), 2),
        metrics,
    )


async def _verdict(
    rig: Rig, process: WorkerProcess, oracle: Oracle, metrics: WorkerMetrics
) -> Exactness:
    if rig.case.sink == "null":
        return exactness.of_counters(oracle, metrics)
    settled = await rig.until_settled(process)
    rig.talk.say("comparing every window with what was sent")
    return exactness.also(
        exactness.of_windows(oracle, await rig.reading.everything()),
        failed=not settled,
        difference="the pipeline did not settle in time",
    )
