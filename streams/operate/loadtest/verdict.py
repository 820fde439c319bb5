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
    """``achieved`` None: nothing was measured, or too few requests were answered, which holds no
    threshold. ``unit``: "ms", "s", "share",
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
        p95_s = None if freshness is None else _within_s(freshness, 0.95, bound_s, refusals=True)
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
            within_s = _within_s(record, share, bound / 1000, refusals=False)
            yield JudgedThreshold(
                subject=subject,
                what=f"latency {what.removesuffix('_ms')}",
                target=bound,
                achieved=None if within_s is None else 1000 * within_s,
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
    for what, counts in (("requests", record.served), ("events", record.served_events)):
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


def _within_s(record: FlowRecord, share: float, bound_s: float, *, refusals: bool) -> float | None:
    """Where too few are answered, the age at which they were given up, if it is above the bound."""
    found = record.answered_within_s(share, refusals=refusals)
    if found is not None:
        return found
    age_s = record.quantile_s(share)
    return age_s if age_s is not None and age_s > bound_s else None
