"""Whether a run was exact: one that was not has no speed."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from streams.bench.results import Throughput
from streams.bench.worker_metrics import WorkerMetrics
from streams.demo.reconcile import Check, Found, reconcile
from streams.workload.oracle import Oracle


class Exactness(NamedTuple):
    """``differences`` says, in words, every number that is not what it must be."""

    exact: bool
    differences: list[str]


def of_windows(oracle: Oracle, found: Found, *, settled: bool) -> Exactness:
    """Every window, every count and sum, every dead letter."""
    verdict = reconcile(oracle, found)
    wrong = _failed(verdict.checks)
    if not settled:
        wrong.append("the pipeline did not settle in time")
    return Exactness(not wrong, wrong)


def of_counters(oracle: Oracle, metrics: WorkerMetrics) -> Exactness:
    """Where the rows went nowhere: how many records were applied, dropped and refused."""
    checks = [
        Check("events read", oracle.produced, round(metrics.total("records_read_total"))),
        Check("applied", oracle.applied, round(metrics.total("records_applied_total"))),
        Check("duplicates", oracle.duplicates, round(metrics.total("duplicates_total"))),
    ]
    wrong = _failed(checks)
    return Exactness(not wrong, wrong)


def without_speed(throughput: Throughput) -> Throughput:
    """The times stay, to look into; the rate goes."""
    return msgspec.structs.replace(throughput, events_per_s=None)


def _failed(checks: tuple[Check, ...] | list[Check]) -> list[str]:
    return [
        f"{check.name.strip()}: sent {check.expected:,}, found {check.found:,}"
        for check in checks
        if not check.ok
    ]
