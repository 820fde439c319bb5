"""Exactness of a run; inexact runs have no speed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import msgspec

from streams.dev.bench.report.results import Throughput
from streams.dev.bench.worker_metrics import WorkerMetrics
from streams.dev.demo.reconcile import Check, Found, reconcile
from streams.dev.workload.oracle import Oracle


class Counts(Protocol):
    """What was sent and its expected result; an `Oracle` is one."""

    @property
    def produced(self) -> int: ...

    @property
    def applied(self) -> int: ...

    @property
    def duplicates(self) -> int: ...


class Exactness(NamedTuple):
    exact: bool
    differences: list[str]


def of_windows(oracle: Oracle, found: Found) -> Exactness:
    """Every window, every count and sum, every dead letter."""
    return _judged(reconcile(oracle, found).checks)


def of_counters(oracle: Counts, metrics: WorkerMetrics) -> Exactness:
    """Without windows: numbers of applied, dropped and refused records."""
    checks = [
        Check("events read", oracle.produced, round(metrics.total("records_read_total"))),
        Check("applied", oracle.applied, round(metrics.total("records_applied_total"))),
        Check("duplicates", oracle.duplicates, round(metrics.total("duplicates_total"))),
    ]
    return _judged(checks)


def also(exactness: Exactness, *, failed: bool, difference: str) -> Exactness:
    if not failed:
        return exactness
    return Exactness(False, [*exactness.differences, difference])


def without_speed(throughput: Throughput) -> Throughput:
    return msgspec.structs.replace(throughput, events_per_s=None)


def _judged(checks: Iterable[Check]) -> Exactness:
    wrong = [
        f"{check.name.strip()}: sent {check.expected:,}, found {check.found:,}"
        for check in checks
        if not check.ok
    ]
    return Exactness(not wrong, wrong)
