"""Compares two results by ratios; absolute figures of different machines are not compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from streams.core.errors import RefusedBySafety, UsageError
from streams.dev.bench.report.results import BenchReport, CaseOutcome


class Figure(NamedTuple):
    name: str
    part: str
    field: str
    more_is_better: bool

    def of(self, outcome: CaseOutcome) -> float | None:
        """None where the result lacks the part or figure."""
        value: float | None = getattr(getattr(outcome, self.part), self.field, None)
        return value


class Compared(NamedTuple):
    """``ratio`` is second to first."""

    case: str
    figure: str
    first: float
    second: float
    ratio: float
    better: bool | None
    """None where both are equal"""


class ComparedPairs(NamedTuple):
    """Medians over pairs, and the extremes of the ratios."""

    case: str
    figure: str
    first: float
    second: float
    ratio: float
    least: float
    greatest: float
    pairs: int
    better: bool | None
    """None where the pairs disagree, or are equal"""


OF_FLOOR = "share of the floor"

_ABSOLUTES = (
    Figure("events/s", "throughput", "events_per_s", more_is_better=True),
    Figure("committed s", "throughput", "committed_s", more_is_better=False),
    Figure("floor events/s", "floor", "events_per_s", more_is_better=True),
    Figure("restore entries/s", "restart", "entries_per_s", more_is_better=True),
    Figure("warm start s", "restart", "warm_start_s", more_is_better=False),
    Figure("first commit s", "restart", "first_commit_s", more_is_better=False),
    Figure("p50 s", "freshness", "p50_s", more_is_better=False),
    Figure("p99 s", "freshness", "p99_s", more_is_better=False),
    Figure("rebalance gap s", "rebalance", "gap_s", more_is_better=False),
    Figure("p99.9 s", "freshness", "p999_s", more_is_better=False),
)


def compare(first: BenchReport, second: BenchReport) -> list[Compared]:
    """On different machines only shares of their own floor. Raises `RefusedBySafety` when nothing
    is left, and `UsageError` without a common case."""
    mine = {outcome.case.name: outcome for outcome in first.outcomes}
    pairs = [(mine[o.case.name], o) for o in second.outcomes if o.case.name in mine]
    if not pairs:
        raise UsageError(
            "the two results have no case in common. Run both with the same workload, events, "
            "processes, shards, sink and rate."
        )
    same_machine = first.machine.id == second.machine.id
    compared = [row for pair in pairs for row in _rows(*pair, same_machine=same_machine)]
    if not compared and not same_machine:
        raise RefusedBySafety(
            f"the results are from different machines ({first.machine.cpu}, {first.machine.cores} "
            f"cores; {second.machine.cpu}, {second.machine.cores} cores) and have no exact run "
            "with its own floor in common: absolute figures of one say nothing of the other. Run "
            "both on one machine."
        )
    return compared


def compare_pairs(
    first: Sequence[BenchReport], second: Sequence[BenchReport]
) -> list[ComparedPairs]:
    """As `compare`, run by run: consecutive runs meet similar load of other processes. Raises
    `UsageError` for unequal numbers of runs."""
    if len(first) != len(second):
        raise UsageError(
            f"there are {len(first)} and {len(second)} results: they cannot be compared in pairs. Run "
            "both in turns, as often as each other."
        )
    found: dict[tuple[str, str], list[Compared]] = {}
    for one, other in zip(first, second, strict=True):
        for row in compare(one, other):
            found.setdefault((row.case, row.figure), []).append(row)
    return [_of_pairs(rows) for rows in found.values()]


def _of_pairs(rows: Sequence[Compared]) -> ComparedPairs:
    ratios = [row.ratio for row in rows]
    verdicts = {row.better for row in rows}
    return ComparedPairs(
        rows[0].case,
        rows[0].figure,
        round(median(row.first for row in rows), 3),
        round(median(row.second for row in rows), 3),
        median(ratios),
        min(ratios),
        max(ratios),
        len(rows),
        verdicts.pop() if len(verdicts) == 1 else None,
    )


def _rows(first: CaseOutcome, second: CaseOutcome, *, same_machine: bool) -> Iterator[Compared]:
    """None for inexact runs."""
    if not (first.exact and second.exact):
        return
    case = first.case.name
    yield from _row(case, OF_FLOOR, first.of_floor, second.of_floor, more_is_better=True)
    if not same_machine:
        return
    for figure in _ABSOLUTES:
        mine, theirs = figure.of(first), figure.of(second)
        yield from _row(case, figure.name, mine, theirs, more_is_better=figure.more_is_better)
    costs = {cost.name: cost.cpu_s_per_million for cost in first.processes}
    for cost in second.processes:
        name, spent = f"CPU s/M of {cost.name}", costs.get(cost.name)
        yield from _row(case, name, spent, cost.cpu_s_per_million, more_is_better=False)


def _row(
    case: str, figure: str, first: float | None, second: float | None, *, more_is_better: bool
) -> Iterator[Compared]:
    """A missing or zero figure has no ratio."""
    if first and second:
        better = None if first == second else (second > first) == more_is_better
        yield Compared(case, figure, round(first, 3), round(second, 3), second / first, better)
