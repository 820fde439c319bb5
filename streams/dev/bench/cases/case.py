"""One measurement as data, and the standard set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

import msgspec

from streams.core.errors import UsageError
from streams.dev.workload.shape import PRESETS

Sink: TypeAlias = Literal["clickhouse", "null"]

PACED_EVENTS_MAX = 5_000_000
"""Generated in advance, some 300 bytes an event."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One run on a stack of its own.

    Without ``rate_per_s`` the topic is filled before the worker starts: measures the sustained
    rate. With it, events come at that rate for ``seconds``: measures freshness. ``floor`` also
    measures fetch and decode alone; ``restore`` restarts the worker, with and without its state
    folder; ``rebalance`` adds a second worker to a paced run."""

    workload: str
    events: int = 1_000_000
    processes: int = 1
    shards: int = 2
    sink: Sink = "clickhouse"
    seed: int = 1
    rate_per_s: int | None = None
    seconds: int | None = None
    floor: bool = False
    restore: bool = False
    rebalance: bool = False
    commit_interval_s: float | None = None

    def __post_init__(self) -> None:
        """Raises `UsageError` for an impossible measurement."""
        if self.workload not in PRESETS:
            raise UsageError(f"no workload {self.workload!r}. Known are: {', '.join(PRESETS)}.")
        if self.rate_per_s is not None and self.sink == "null":
            raise UsageError("freshness is read from ClickHouse: --rate needs --sink clickhouse.")
        if self.events > PACED_EVENTS_MAX and self.rate_per_s is not None:
            raise UsageError(
                f"a paced run makes its events in advance, at most {PACED_EVENTS_MAX:,}. "
                "Lower --rate or --seconds."
            )
        if self.rebalance and self.rate_per_s is None:
            raise UsageError("a rebalance is seen by its probes: it needs --rate and --seconds.")
        if self.restore and self.sink == "null":
            raise UsageError("a restart is checked by its rows: it needs --sink clickhouse.")

    @property
    def name(self) -> str:
        """Results with equal names are comparable."""
        pace = f" at {self.rate_per_s:,}/s" if self.rate_per_s is not None else ""
        joined = ", one more joins" if self.rebalance else ""
        interval = f", commits every {self.commit_interval_s:g} s" if self.commit_interval_s else ""
        return (
            f"{self.workload}{pace}, {self.events:,} events, {self.processes} proc{joined}, "
            f"{self.shards} shards, {self.sink}{interval}"
        )


def single(workload: str, events: int, processes: int, shards: int, sink: str, seed: int) -> Case:
    """One filled topic with every measurement. Raises `UsageError`."""
    if sink not in get_args(Sink):
        raise UsageError(f"no sink {sink!r}. Known are: {', '.join(get_args(Sink))}.")
    return Case(
        workload=workload,
        events=events,
        processes=processes,
        shards=shards,
        sink=cast("Sink", sink),
        seed=seed,
        floor=True,
        restore=sink == "clickhouse",
    )


def paced(
    case: Case,
    rate_per_s: int | None,
    seconds: int | None,
    *,
    rebalance: bool = False,
    commit_interval_s: float | None = None,
) -> Case:
    """At a constant rate. Raises `UsageError` unless both are given."""
    if rate_per_s is None or seconds is None:
        raise UsageError("a paced run needs both --rate and --seconds.")
    return msgspec.structs.replace(
        case,
        rate_per_s=rate_per_s,
        seconds=seconds,
        events=rate_per_s * seconds,
        floor=False,
        restore=False,
        rebalance=rebalance,
        commit_interval_s=commit_interval_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The standard set takes about six minutes at its defaults."""

    events: int = 1_000_000
    processes: int = 1
    shards: int = 2
    seed: int = 1
    rate_per_s: int = 20_000
    seconds: int = 20

    def cases(self) -> list[Case]:
        def case(workload: str, sink: Sink, *, floor: bool, restore: bool = False) -> Case:
            return Case(
                workload=workload,
                events=self.events,
                processes=self.processes,
                shards=self.shards,
                seed=self.seed,
                sink=sink,
                floor=floor,
                restore=restore,
            )

        return [
            case("wide", "clickhouse", floor=True, restore=True),
            case("narrow", "clickhouse", floor=False),
            case("wide", "null", floor=True),
            case("narrow", "null", floor=True),
            paced(case("narrow", "clickhouse", floor=False), self.rate_per_s, self.seconds),
        ]
