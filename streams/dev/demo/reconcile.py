"""Compares actual with expected results: every window, count and dead letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from streams.dev.demo.windows import Comparison, WindowDifference, compare
from streams.dev.workload.oracle import Oracle


class Check(NamedTuple):
    name: str
    expected: int
    found: int

    @property
    def ok(self) -> bool:
        return self.expected == self.found


@dataclass(frozen=True, slots=True)
class DemoVerdict:
    checks: tuple[Check, ...]
    differences: tuple[WindowDifference, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Contents of the settled pipeline. ``windows``: see `compare`. ``ledger``: sums of its
    counters over partitions. ``dead_in_*``: dead letters by error code."""

    windows: pa.Table
    topic_records: int
    ledger: Mapping[str, int]
    dead_in_ledger: Mapping[str, int]
    dead_in_dlq: Mapping[str, int]
    dead_in_rows: Mapping[str, int]


def reconcile(oracle: Oracle, found: Found) -> DemoVerdict:
    compared = compare(oracle.truth(), found.windows)
    checks = [
        *_event_checks(oracle, found),
        *_dead_checks(oracle, "ledger", found.dead_in_ledger),
        *_dead_checks(oracle, "DLQ", found.dead_in_dlq),
        *_dead_checks(oracle, "dead_letters", found.dead_in_rows),
        *_window_checks(oracle, compared),
    ]
    return DemoVerdict(tuple(checks), compared.differences)


def _event_checks(oracle: Oracle, found: Found) -> list[Check]:
    """Produced = applied + duplicates + dead letters, each as in the oracle."""
    ledger = found.ledger
    accounted = sum(ledger.get(name, 0) for name in ("applied", "duplicates", "dead"))
    return [
        Check("events in the topic", oracle.produced, found.topic_records),
        Check("events read", oracle.produced, ledger.get("read", 0)),
        Check("applied + duplicates + dead", oracle.produced, accounted),
        Check("  applied", oracle.applied, ledger.get("applied", 0)),
        Check("  duplicates", oracle.duplicates, ledger.get("duplicates", 0)),
        Check("  dead", oracle.dead.total(), ledger.get("dead", 0)),
    ]


def _dead_checks(oracle: Oracle, place: str, counts: Mapping[str, int]) -> list[Check]:
    """The total of one place; codes only where they differ."""
    total = Check(f"dead letters in {place}", oracle.dead.total(), sum(counts.values()))
    codes = [
        Check(f"  {code} in {place}", oracle.dead[code], counts.get(code, 0))
        for code in sorted({*oracle.dead, *counts})
    ]
    return [total, *(check for check in codes if not check.ok)]


def _window_checks(oracle: Oracle, compared: Comparison) -> list[Check]:
    return [
        Check("windows", compared.expected, compared.found),
        Check("  missing", 0, compared.missing),
        Check("  unexpected", 0, compared.unexpected),
        Check("  on two shards", 0, compared.on_two_shards),
        Check("  with a wrong count", 0, compared.wrong_count),
        Check("  with a wrong sum", 0, compared.wrong_sum),
        Check("events in windows", oracle.applied, compared.events),
    ]
