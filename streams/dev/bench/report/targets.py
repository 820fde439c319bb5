"""The project's targets, and their figures in the records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from streams.dev.bench.console_load.record import P95_MAX_MS
from streams.dev.bench.curves.curves import Curve, axis_of, cost_ratio
from streams.dev.bench.peers.results import OUR_FLOOR, OURS
from streams.dev.bench.report.comparison import Figure
from streams.dev.bench.report.records import Records
from streams.dev.bench.report.results import CaseOutcome

Asked = Callable[[Records], float | None]

FLOOR_PER_S = 1_200_000
"""the column floor of the machine for which rates and costs are wanted"""
WORKER_MIB_BEFORE = {"narrow-null": 686, "wide-null": 705}
"""peaks of the same runs before kernels"""


class BenchTarget(NamedTuple):
    """``limit`` is the minimum where ``more``, else the maximum. ``by_machine``: a rate or a cost,
    which a slower machine meets in proportion."""

    name: str
    limit: float
    more: bool
    found: Asked
    digits: int = 0
    by_machine: bool = False

    def row(self, records: Records) -> tuple[str, str, str, str, str]:
        """Name, limit, the limit in proportion to this machine, figure, and what it meets."""
        found, share = self.found(records), machine_share(records)
        fair = self._in_proportion(share) if self.by_machine and share is not None else None
        in_proportion = "-" if fair is None else self._words(fair)
        head = (self.name, self._words(self.limit), in_proportion)
        if found is None:
            return *head, "not measured", "-"
        met = "in proportion" if fair is not None and self._meets(found, fair) else "NO"
        return *head, f"{found:,.{self.digits}f}", "yes" if self._meets(found, self.limit) else met

    def _in_proportion(self, share: float) -> float:
        return self.limit * share if self.more else self.limit / share

    def _meets(self, found: float, limit: float) -> bool:
        return found >= limit if self.more else found <= limit

    def _words(self, limit: float) -> str:
        return f"{'≥' if self.more else '≤'} {limit:,.{self.digits}f}"


def column_floor(records: Records) -> int | None:
    """Events/s that dia's own fetch and decoding reached alone: the best of all records, so that a
    disturbed floor makes no target easier."""
    return max(_floors(records), default=None)


def machine_share(records: Records) -> float | None:
    """Of the machine for which the targets are wanted; 1.0 for a faster one."""
    floor = column_floor(records)
    return None if floor is None else min(1.0, floor / FLOOR_PER_S)


def _floors(records: Records) -> Iterator[int]:
    for report in records.runs.values():
        yield from (o.floor.events_per_s for o in report.outcomes if o.floor is not None)
    for outcome in records.peers.outcomes if records.peers else ():
        if outcome.title == OUR_FLOOR and outcome.events_per_s is not None:
            yield outcome.events_per_s


def _outcome(records: Records, run: str) -> CaseOutcome | None:
    """Of an exact run; others have no figures."""
    report = records.runs.get(run)
    return report.outcomes[0] if report is not None and report.exact else None


def _figure(run: str, part: str, field: str) -> Asked:
    figure = Figure(field, part, field, more_is_better=True)

    def found(records: Records) -> float | None:
        outcome = _outcome(records, run)
        return figure.of(outcome) if outcome is not None else None

    return found


def _rate(run: str) -> Asked:
    return _figure(run, "throughput", "events_per_s")


def _cpu_us(run: str) -> Asked:
    """Of everything but the bench."""

    def found(records: Records) -> float | None:
        outcome = _outcome(records, run)
        if outcome is None or not outcome.processes:
            return None
        return sum(one.cpu_s_per_million for one in outcome.processes if one.name != "bench")

    return found


def _worker_mib(run: str) -> Asked:
    def found(records: Records) -> float | None:
        outcome = _outcome(records, run)
        processes = outcome.processes if outcome is not None else ()
        peaks = [float(one.peak_rss_mib) for one in processes if one.name.startswith("worker")]
        return max(peaks, default=None)

    return found


def _acknowledged_after_s(records: Records) -> float | None:
    """Seconds between the last commit and the last acknowledgement, of the slower workload."""
    waits = []
    for run in ("narrow", "wide"):
        outcome = _outcome(records, run)
        if outcome is None or outcome.throughput is None:
            return None
        waits.append(outcome.throughput.acknowledged_s - outcome.throughput.committed_s)
    return max(waits)


def _ratio(title: str) -> Asked:
    """Speed of dia relative to this peer."""

    def found(records: Records) -> float | None:
        for outcome in records.peers.outcomes if records.peers else ():
            if outcome.title == title and records.peers is not None:
                return records.peers.ratio(outcome)
        return None

    return found


_NAMED = ("Kafka Streams", "Quix Streams", "Faust")


def _ratio_to_others(records: Records) -> float | None:
    """To the fastest engine without a target of its own."""
    if records.peers is None:
        return None
    others = [
        records.peers.ratio(outcome)
        for outcome in records.peers.outcomes
        if outcome.job == "windows" and outcome.title not in (OURS, *_NAMED)
    ]
    return min((ratio for ratio in others if ratio is not None), default=None)


def _curve(field: str, ask: Callable[[Curve], float | None]) -> Asked:
    def found(records: Records) -> float | None:
        for curve in records.curves.curves if records.curves else ():
            if axis_of(curve).field == field:
                return ask(curve)
        return None

    return found


def _grows(field: str, value: int, other: int) -> Asked:
    return _curve(field, lambda curve: cost_ratio(curve, value, other))


def _of_one_alone(curve: Curve) -> float | None:
    """The speed of each of as many processes as there are cores."""
    most = max(point.load.processes for point in curve.points)
    times = cost_ratio(curve, 1, most) if most > 1 else None
    return None if times is None else 1 / times


def _jobs(records: Records) -> float | None:
    return records.jobs.events_per_s if records.jobs is not None else None


def _agents(work: str) -> Asked:
    def found(records: Records) -> float | None:
        return records.agents.rate(work, "dia") if records.agents is not None else None

    return found


def _p95_ms(records: Records) -> float | None:
    """Of correct answers, while the pipeline kept up."""
    found = records.readers
    whole = found is not None and found.exact and not found.errors and not found.lag.grew
    return found.p95_ms if found is not None and whole else None


def _by_machine(name: str, limit: float, more: bool, found: Asked, digits: int = 0) -> BenchTarget:
    return BenchTarget(name, limit, more, found, digits, by_machine=True)


def _memory(run: str) -> BenchTarget:
    workload = run.removesuffix("-null")
    limit = WORKER_MIB_BEFORE[run] + 100
    return BenchTarget(f"worker, {workload}, null sink, MiB", limit, False, _worker_mib(run))


TARGETS: tuple[BenchTarget, ...] = (
    _by_machine("CPU of everything, narrow, µs an event", 3.3, False, _cpu_us("narrow"), 2),
    _by_machine("CPU of everything, wide, µs an event", 4.8, False, _cpu_us("wide"), 2),
    _by_machine("whole pipeline, narrow, one worker, events/s", 500_000, True, _rate("narrow")),
    _by_machine("whole pipeline, wide, one worker, events/s", 400_000, True, _rate("wide")),
    BenchTarget(
        "whole pipeline: acknowledged after committed, s", 1.0, False, _acknowledged_after_s, 2
    ),
    _by_machine("one worker, null sink, narrow, events/s", 600_000, True, _rate("narrow-null")),
    _by_machine("one worker, null sink, wide, events/s", 500_000, True, _rate("wide-null")),
    BenchTarget("times Kafka Streams EOSv2, RocksDB", 9, True, _ratio("Kafka Streams"), 1),
    BenchTarget("times Quix Streams", 13, True, _ratio("Quix Streams"), 1),
    BenchTarget("times Faust", 200, True, _ratio("Faust"), 1),
    BenchTarget("times the fastest of the other engines", 1, True, _ratio_to_others, 1),
    BenchTarget("cost of an event, 64 partitions to 4", 1.5, False, _grows("partitions", 4, 64), 2),
    BenchTarget(
        "cost of an event, 5 M windows to 10 k", 1.4, False, _grows("windows", 10_000, 5_000_000), 2
    ),
    BenchTarget(
        "cost of an event, 100 M ids to none", 1.4, False, _grows("ids", 0, 100_000_000), 2
    ),
    BenchTarget(
        "cost of an event, 100 k tenants to 10", 1.4, False, _grows("tenants", 10, 100_000), 2
    ),
    BenchTarget(
        "a process on each core, of one alone", 0.8, True, _curve("processes", _of_one_alone), 2
    ),
    BenchTarget(
        "freshness at half rate, p50 s", 0.6, False, _figure("fresh-half", "freshness", "p50_s"), 2
    ),
    BenchTarget(
        "freshness at half rate, p99 s", 1.2, False, _figure("fresh-half", "freshness", "p99_s"), 2
    ),
    BenchTarget(
        "freshness, commits every 0.1 s, p99 s",
        0.35,
        False,
        _figure("fresh-often", "freshness", "p99_s"),
        2,
    ),
    BenchTarget(
        "warm restart to first commit, s", 3, False, _figure("wide", "restart", "first_commit_s"), 1
    ),
    _by_machine("restore, entries/s", 1_000_000, True, _figure("wide", "restart", "entries_per_s")),
    _by_machine("job agents, no work, events/s per core", 40_000, True, _jobs),
    _by_machine("`async for`, no work, events/s", 150_000, True, _agents("no_work")),
    _by_machine("`async for`, one table update, events/s", 100_000, True, _agents("one_update")),
    _memory("narrow-null"),
    _memory("wide-null"),
    BenchTarget(
        "console with 200 readers at half the safe rate, p95 ms", P95_MAX_MS, False, _p95_ms
    ),
)
