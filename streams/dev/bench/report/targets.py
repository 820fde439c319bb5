"""The project's targets, and their figures in the records."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from streams.dev.bench.console_load.record import P95_MAX_MS
from streams.dev.bench.curves.curves import Curve, axis_of, state_mib_per_million
from streams.dev.bench.report.comparison import Figure
from streams.dev.bench.report.records import Records

Asked = Callable[[Records], float | None]


class BenchTarget(NamedTuple):
    """``limit`` is the minimum where ``more``, else the maximum."""

    name: str
    limit: float
    more: bool
    found: Asked
    digits: int = 0

    def row(self, records: Records) -> tuple[str, str, str, str]:
        """Name, limit, figure, and whether it suffices."""
        found = self.found(records)
        sign = "≥" if self.more else "≤"
        limit = f"{sign} {self.limit:,.{self.digits}f}"
        if found is None:
            return self.name, limit, "not measured", "-"
        met = found >= self.limit if self.more else found <= self.limit
        return self.name, limit, f"{found:,.{self.digits}f}", "yes" if met else "NO"


def _figure(run: str, part: str, field: str) -> Asked:
    """Of an exact run; others have no figures."""
    figure = Figure(field, part, field, more_is_better=True)

    def found(records: Records) -> float | None:
        report = records.runs.get(run)
        return figure.of(report.outcomes[0]) if report is not None and report.exact else None

    return found


def _rate(run: str) -> Asked:
    return _figure(run, "throughput", "events_per_s")


def _of_floor(run: str) -> Asked:
    def found(records: Records) -> float | None:
        report = records.runs.get(run)
        return report.outcomes[0].of_floor if report is not None and report.exact else None

    return found


def _ratio(title: str) -> Asked:
    """Speed of dia relative to this peer; for a floor, its share."""

    def found(records: Records) -> float | None:
        for outcome in records.peers.outcomes if records.peers else ():
            if outcome.title == title and records.peers is not None:
                return records.peers.ratio(outcome)
        return None

    return found


def _curve(field: str, ask: Callable[[Curve], float | None]) -> Asked:
    def found(records: Records) -> float | None:
        for curve in records.curves.curves if records.curves else ():
            if axis_of(curve).field == field and len(curve.points) > 1:
                return ask(curve)
        return None

    return found


def _jobs(records: Records) -> float | None:
    return records.jobs.events_per_s if records.jobs is not None else None


def _p95_ms(records: Records) -> float | None:
    """Of correct answers, while the pipeline kept up."""
    found = records.readers
    whole = found is not None and found.exact and not found.errors and not found.lag.grew
    return found.p95_ms if found is not None and whole else None


def _windows_mb(curve: Curve) -> float:
    return state_mib_per_million(curve) * (1 << 20) / 1e6


def _ids_mib(ids: int) -> Callable[[Curve], float | None]:
    def found(curve: Curve) -> float | None:
        return next((float(p.state_mib) for p in curve.points if p.load.ids == ids), None)

    return found


TARGETS: tuple[BenchTarget, ...] = (
    BenchTarget("whole pipeline, narrow, two workers, events/s", 200_000, True, _rate("narrow-2")),
    BenchTarget("the same, one worker, events/s", 200_000, True, _rate("narrow")),
    BenchTarget("whole pipeline, wide, one worker, events/s", 100_000, True, _rate("wide")),
    BenchTarget("one worker, null sink, wide, events/s", 180_000, True, _rate("wide-null")),
    BenchTarget("one worker, null sink, narrow, events/s", 250_000, True, _rate("narrow-null")),
    BenchTarget("the same, wide, of its column floor", 0.5, True, _of_floor("wide-null"), 2),
    BenchTarget("the same, narrow, of its column floor", 0.7, True, _of_floor("narrow-null"), 2),
    BenchTarget("wide, of aiokafka's public floor", 0.5, True, _ratio("aiokafka, public API"), 2),
    BenchTarget("times Faust", 60, True, _ratio("Faust"), 1),
    BenchTarget("times Quix Streams", 15, True, _ratio("Quix Streams"), 1),
    BenchTarget("times Bytewax", 15, True, _ratio("Bytewax"), 1),
    BenchTarget("times Kafka Streams EOSv2", 4, True, _ratio("Kafka Streams"), 1),
    BenchTarget(
        "freshness at half rate, p50 s", 1.2, False, _figure("fresh-half", "freshness", "p50_s"), 2
    ),
    BenchTarget(
        "freshness at half rate, p99 s", 2.5, False, _figure("fresh-half", "freshness", "p99_s"), 2
    ),
    BenchTarget(
        "freshness, commits every 0.1 s, p99 s",
        0.6,
        False,
        _figure("fresh-often", "freshness", "p99_s"),
        2,
    ),
    BenchTarget("restore, entries/s", 500_000, True, _figure("wide", "restart", "entries_per_s")),
    BenchTarget(
        "warm restart to first commit, s", 3, False, _figure("wide", "restart", "first_commit_s"), 1
    ),
    BenchTarget("MB a million live windows", 400, False, _curve("windows", _windows_mb)),
    BenchTarget(
        "MiB of a worker with 100 M ids alive", 2048, False, _curve("ids", _ids_mib(100_000_000))
    ),
    BenchTarget("one event at a time, no work, events/s per core", 25_000, True, _jobs),
    BenchTarget(
        "console with 200 readers at half the safe rate, p95 ms", P95_MAX_MS, False, _p95_ms
    ),
)
