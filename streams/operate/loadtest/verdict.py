"""Target and achieved, for each threshold of a load test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from streams.operate.loadtest.exactness import ExactnessReport
from streams.operate.loadtest.file import LatencyBounds, LoadTestFile
from streams.operate.loadtest.recorder import FlowRecord

ALL: Final = "all flows"
_SHARES: Final = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}


class JudgedThreshold(msgspec.Struct, frozen=True, kw_only=True):
    """``achieved`` None: nothing was measured, which holds no threshold. ``unit``: "ms", "s", "share",
    "a second" or "". ``at_least``: the target is a lower bound."""

    subject: str
    what: str
    target: float
    achieved: float | None
    unit: str
    at_least: bool = False

    @property
    def held(self) -> bool:
        if self.achieved is None:
            return False
        return self.achieved >= self.target if self.at_least else self.achieved <= self.target


def judged(
    test: LoadTestFile,
    records: Mapping[str, FlowRecord],
    every: FlowRecord,
    freshness: FlowRecord | None,
    exactness: ExactnessReport | None,
    sent_s: float,
) -> list[JudgedThreshold]:
    """``every``: all flows together, without the probes. ``sent_s``: how long requests were due."""
    found = [*_of_flow(ALL, test.thresholds, every, test.ramp_s, sent_s)]
    for flow in test.flow:
        found += _of_flow(flow.name, flow.thresholds, records[flow.name], test.ramp_s, sent_s)
    bound_s = test.thresholds.freshness_p95_s
    if bound_s is not None:
        p95_s = None if freshness is None else freshness.quantile_s(0.95)
        found.append(
            JudgedThreshold(
                subject="probes", what="freshness p95", target=bound_s, achieved=p95_s, unit="s"
            )
        )
    if test.thresholds.exact:
        differing = None
        if exactness is not None and exactness.checks:
            differing = float(sum(not check.ok for check in exactness.checks))
        found.append(
            JudgedThreshold(
                subject=ALL, what="checks of exactness that failed", target=0.0, achieved=differing,
                unit="",
            )
        )  # fmt: skip
    return found


def _of_flow(
    subject: str, bounds: LatencyBounds, record: FlowRecord, ramp_s: float, sent_s: float
) -> Iterator[JudgedThreshold]:
    for what, share in _SHARES.items():
        bound = getattr(bounds, what)
        if bound is not None:
            quantile_s = record.quantile_s(share)
            yield JudgedThreshold(
                subject=subject,
                what=f"latency {what.removesuffix('_ms')}",
                target=bound,
                achieved=None if quantile_s is None else 1000 * quantile_s,
                unit="ms",
            )
    if bounds.failures is not None:
        failed = int(record.failed.sum())
        yield JudgedThreshold(
            subject=subject,
            what="failures",
            target=bounds.failures,
            achieved=failed / record.requests if record.requests else None,
            unit="share",
        )
    for what, counts in (("requests", record.answered), ("events", record.events)):
        bound = getattr(bounds, f"{what}_per_s")
        if bound is not None:
            yield JudgedThreshold(
                subject=subject,
                what=what,
                target=bound,
                achieved=record.per_s(counts, ramp_s, sent_s),
                unit="a second",
                at_least=True,
            )
