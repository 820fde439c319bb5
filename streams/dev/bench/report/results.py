"""The result of a bench run: a JSON file, and the same as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from streams.core.errors import UsageError
from streams.dev.bench.cases.case import Case
from streams.dev.bench.cases.floor import Floor
from streams.dev.bench.processes import ProcessCost
from streams.dev.bench.report import files as records
from streams.dev.bench.report.machine import Machine

FORMAT = 1


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Times count from the first partition that took records. ``committed_s``: lag 0.
    ``acknowledged_s``: every row of a closed window is also in ClickHouse; ``events_per_s`` is by
    it, None for an inexact run. ``rows``: acknowledged, repeats included."""

    events: int
    filled_per_s: int
    committed_s: float
    acknowledged_s: float
    events_per_s: int | None
    rows: int
    rows_per_s: int


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """``entries`` are event ids and window rows in the changelog. ``*_start_s``: from process start
    until every partition takes records; ``first_commit_s``: until a warm one commits waiting
    events; ``restore_s``: from the first fencing (A1), without a store."""

    warm_start_s: float
    warm_open_s: float
    cold_start_s: float
    first_commit_s: float | None = None
    restore_s: float
    changelog_records: int
    changelog_bytes: int
    ids: int
    window_rows: int
    entries_per_s: int
    bytes_per_s: int


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from an event's due time to its row's insert in ClickHouse. ``insert_mean_s``: the
    mean time of an insert. ``sender_late_s``: behind its schedule at the end."""

    rate_per_s: int
    seconds: int
    probes: int
    p50_s: float | None
    p99_s: float | None
    p999_s: float | None
    max_s: float | None
    insert_mean_s: float
    sender_late_s: float
    lag_max: int
    lag_at_end: int


class Rebalance(msgspec.Struct, frozen=True, kw_only=True):
    """A worker joined ``joined_at_s`` seconds after the first event and took ``taken`` partitions,
    all ready ``ready_s`` after its start. ``gap_s``: the longest delay after that, minus the
    median."""

    joined_at_s: float
    taken: int
    ready_s: float
    gap_s: float | None


class CaseOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """``differences`` names every failed check. ``others_cores``: cores used by other processes."""

    case: Case
    exact: bool
    differences: list[str]
    load_before: float
    others_cores: float
    processes: list[ProcessCost]
    throughput: Throughput | None = None
    floor: Floor | None = None
    restart: Restart | None = None
    freshness: Freshness | None = None
    rebalance: Rebalance | None = None

    @property
    def of_floor(self) -> float | None:
        """Sustained rate as a share of the floor of the same run; independent of the machine."""
        if self.throughput is None or self.floor is None or self.throughput.events_per_s is None:
            return None
        return self.throughput.events_per_s / self.floor.events_per_s


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """``settings`` are a worker's."""

    format: int = FORMAT
    started_at: str
    machine: Machine
    commit: str = ""
    versions: dict[str, str]
    settings: dict[str, Any]
    outcomes: list[CaseOutcome]

    @property
    def exact(self) -> bool:
        return all(outcome.exact for outcome in self.outcomes)


def write(report: BenchReport, folder: Path) -> tuple[Path, Path]:
    """Raises `UsageError` for an unusable folder."""
    name = records.stem(report.started_at, report.machine)
    as_json = records.save(report, folder, name)
    as_text = as_json.with_suffix(".md")
    as_text.write_text(markdown(report))
    return as_json, as_text


def read(path: Path) -> BenchReport:
    """Raises `UsageError` for a file that is no report of this format."""
    return records.load(path, BenchReport, FORMAT)


def read_runs(path: Path) -> list[BenchReport]:
    """In a folder, oldest first, or of one file. Raises `UsageError`."""
    if not path.is_dir():
        return [read(path)]
    runs = sorted(map(read, path.glob("*.json")), key=lambda report: report.started_at)
    if not runs:
        raise UsageError(f"{path} has no results. Name a folder that `dia bench run` wrote to.")
    return runs


def plain(report: BenchReport) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(report)
    return built


def markdown(report: BenchReport) -> str:
    lines = [
        f"# Benchmark of {report.started_at[:19]}Z",
        "",
        f"{report.machine} "
        + ", ".join(f"{name} {version}" for name, version in report.versions.items())
        + "."
        + (f" Commit {report.commit[:12]}{report.commit[40:]}." if report.commit else ""),
        "",
        *tables(report.outcomes),
    ]
    return "\n".join(lines).rstrip() + "\n"


def tables(outcomes: Sequence[CaseOutcome]) -> list[str]:
    """A Markdown table per part, of the outcomes that have it, and inexact cases."""
    lines = [
        *_table(_THROUGHPUT, map(_throughput_row, _with(outcomes, "throughput"))),
        *_table(_RESTART, map(_restart_row, _with(outcomes, "restart"))),
        *_table(_FRESHNESS, map(_freshness_row, _with(outcomes, "freshness"))),
        *_table(_REBALANCE, map(_rebalance_row, _with(outcomes, "rebalance"))),
        *_table(_COSTS, map(_cost_row, outcomes)),
    ]
    for outcome in outcomes:
        lines += [f"- {outcome.case.name}: {difference}" for difference in outcome.differences]
    return lines


_THROUGHPUT = (
    "throughput", "exact", "events/s", "committed s", "acknowledged s", "rows/s", "floor events/s",
    "of floor", "others, cores",
)  # fmt: skip
_RESTART = (
    "restart", "ids", "window rows", "entries/s", "MB/s", "restore s", "cold start s",
    "warm start s", "first commit s",
)  # fmt: skip
_FRESHNESS = (
    "freshness", "exact", "probes", "p50 s", "p99 s", "p99.9 s", "max s", "insert s",
    "sender late s", "lag at end", "others, cores",
)  # fmt: skip
_REBALANCE = ("rebalance", "joined at s", "partitions taken", "ready after s", "gap s")
_KINDS = ("worker", "kafka", "clickhouse", "bench")
_COSTS = (
    "CPU s per M events", "workers", "kafka", "shards", "bench", "floor", "largest worker, MiB",
    "kafka, MiB", "largest shard, MiB", "bench, MiB",
)  # fmt: skip


def _throughput_row(outcome: CaseOutcome) -> tuple[Any, ...]:
    found, floor = outcome.throughput, outcome.floor
    assert found is not None
    return (
        outcome.case.name,
        "yes" if outcome.exact else "NO",
        found.events_per_s,
        found.committed_s,
        found.acknowledged_s,
        found.rows_per_s,
        floor.events_per_s if floor else None,
        round(outcome.of_floor, 2) if outcome.of_floor is not None else None,
        outcome.others_cores,
    )


def _restart_row(outcome: CaseOutcome) -> tuple[Any, ...]:
    found = outcome.restart
    assert found is not None
    return (
        outcome.case.name,
        found.ids,
        found.window_rows,
        found.entries_per_s,
        round(found.bytes_per_s / 1e6, 1),
        found.restore_s,
        found.cold_start_s,
        found.warm_start_s,
        found.first_commit_s,
    )


def _freshness_row(outcome: CaseOutcome) -> tuple[Any, ...]:
    found = outcome.freshness
    assert found is not None
    return (
        outcome.case.name,
        "yes" if outcome.exact else "NO",
        found.probes,
        found.p50_s,
        found.p99_s,
        found.p999_s,
        found.max_s,
        found.insert_mean_s,
        found.sender_late_s,
        found.lag_at_end,
        outcome.others_cores,
    )


def _rebalance_row(outcome: CaseOutcome) -> tuple[Any, ...]:
    found = outcome.rebalance
    assert found is not None
    return (outcome.case.name, found.joined_at_s, found.taken, found.ready_s, found.gap_s)


def _cost_row(outcome: CaseOutcome) -> tuple[Any, ...]:
    """Processes of one kind together; the JSON has each."""
    kinds = {kind: [c for c in outcome.processes if c.name.startswith(kind)] for kind in _KINDS}
    spent = (
        round(sum(cost.cpu_s_per_million for cost in costs), 2) if costs else None
        for costs in kinds.values()
    )
    peaks = (max((cost.peak_rss_mib for cost in costs), default=None) for costs in kinds.values())
    floor = outcome.floor.cpu_s_per_million if outcome.floor is not None else None
    return (outcome.case.name, *spent, floor, *peaks)


def _with(outcomes: Sequence[CaseOutcome], part: str) -> Iterator[CaseOutcome]:
    return (outcome for outcome in outcomes if getattr(outcome, part) is not None)


def _table(head: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    body = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    if not body:
        return []
    rule = "|---|" + "---:|" * (len(head) - 1)
    return ["| " + " | ".join(head) + " |", rule, *body, ""]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
