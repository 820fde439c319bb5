"""The result of a run against the peers, and its ratio table."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streams.dev.bench.peers.peers import Job
from streams.dev.bench.report.machine import Machine

FORMAT = 1
OURS = "dia"
OUR_FLOOR = "dia's own fetch"


class PeerOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """``read`` of the offered events in ``seconds``; fewer at the time limit. ``exact`` is None
    without a check: a floor, or a stopped run. ``problem`` explains a missing rate."""

    title: str
    version: str
    job: Job
    guarantee: str
    read: int = 0
    seconds: float = 0.0
    events_per_s: int | None = None
    cpu_s_per_million: float | None = None
    broker_cpu_s_per_million: float | None = None
    peak_rss_mib: int = 0
    exact: bool | None = None
    problem: str = ""


class PeerReport(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    started_at: str
    machine: Machine
    versions: dict[str, str]
    workload: str
    events: int
    limit_s: float
    outcomes: list[PeerOutcome]

    @property
    def ours(self) -> PeerOutcome:
        return next(o for o in self.outcomes if o.title == OURS and o.job == "windows")

    def ratio(self, outcome: PeerOutcome) -> float | None:
        """How many times as fast dia was; None unless both have a rate."""
        mine = self.ours.events_per_s
        return mine / outcome.events_per_s if mine and outcome.events_per_s else None


def ratio_table(report: PeerReport) -> list[str]:
    """In Markdown: the same job, slowest last, then the floors."""
    ranked = sorted(report.outcomes, key=lambda o: (o.job != "windows", -(o.events_per_s or 0)))
    return [
        "| engine | events/s | dia is | CPU s per M | RSS MiB | events read | exact | state after a crash |",
        "|---|---:|---:|---:|---:|---:|---|---|",
        *(_row(report, outcome) for outcome in ranked),
    ]


def _row(report: PeerReport, outcome: PeerOutcome) -> str:
    ratio = report.ratio(outcome)
    floor = "floor: " if outcome.job == "floor" else ""
    ours = outcome is report.ours
    cells: Sequence[str] = (
        f"**{OURS}**" if ours else f"{floor}{outcome.title} {outcome.version}",
        outcome.problem if outcome.events_per_s is None else f"{outcome.events_per_s:,}",
        "-" if ratio is None or ours else _times(ratio),
        "-" if outcome.cpu_s_per_million is None else f"{outcome.cpu_s_per_million:,.1f}",
        f"{outcome.peak_rss_mib:,}" if outcome.peak_rss_mib else "-",
        f"{outcome.read:,}" if outcome.read else "-",
        {True: "yes", False: "NO", None: "-"}[outcome.exact],
        outcome.guarantee,
    )
    return "| " + " | ".join(cells) + " |"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x"
