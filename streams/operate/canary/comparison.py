"""The rules of a canary (docs/protocols/canary.md); pure functions of what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from streams.engine.health.live_workers import LiveWorker
from streams.operate.canary.worker_counts import LATE_S, WorkerCounts

FACTOR: Final = 2.0
ALLOWED: Final = 0.001
"""Share of rows and of records by which the canary may exceed `FACTOR` times the others' share."""
ALLOWED_COMMITS: Final = 0.01
COMMITS_MIN: Final = 100


class CanaryVerdict(IntEnum):
    """The worst of the figures is that of the canary."""

    PASS = 0
    UNKNOWN = 1
    WORSE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryFigure:
    """``canary`` and ``others``: shares from 0 to 1; None for what is no share or was not measured."""

    name: str
    verdict: CanaryVerdict
    detail: str
    canary: float | None = None
    others: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """One worker at one end of the window. ``counts``: None if its metrics gave no answer."""

    worker: LiveWorker
    counts: WorkerCounts | None

    @property
    def name(self) -> str:
        return str(self.worker.slot)

    def partitions(self) -> frozenset[tuple[str, str, int]]:
        """Group, topic and partition of each that it holds."""
        return frozenset(
            (held["group"], held["topic"], held["partition"]) for held in self.worker.partitions
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedWorker:
    """One worker at both ends of the window. ``last``: None if it did not answer any more."""

    first: WorkerView
    last: WorkerView | None

    @property
    def same_process(self) -> bool:
        """It answered at both ends and did not start anew."""
        if self.last is None or self.first.worker.pid != self.last.worker.pid:
            return False
        first, last = self.first.counts, self.last.counts
        return first is None or last is None or first.started_s == last.started_s

    def counted(self) -> WorkerCounts | None:
        """Within the window; None where one end is not known."""
        if self.last is None or not self.same_process:
            return None
        first, last = self.first.counts, self.last.counts
        return None if first is None or last is None else last.since(first)


def compare(
    canary: Sequence[WatchedWorker], others: Sequence[WatchedWorker], least: int
) -> list[CanaryFigure]:
    """``least``: rows and records that each side must have within the window."""
    ours, theirs = _total(canary), _total(others)
    late = f"rows later than {LATE_S:g} s"
    return [
        _workers(canary, others),
        _stopped(canary),
        _behind(canary, others),
        _share(
            "freshness", late, (ours.late, ours.rows), (theirs.late, theirs.rows), least, ALLOWED
        ),
        _dead_letters(ours, theirs, others, least),
        _share(
            "commit_failures",
            "commits that failed",
            (ours.commit_failures, ours.commits + ours.commit_failures),
            (theirs.commit_failures, theirs.commits + theirs.commit_failures),
            COMMITS_MIN,
            ALLOWED_COMMITS,
        ),
    ]


def worst(figures: Iterable[CanaryFigure]) -> CanaryVerdict:
    return max((one.verdict for one in figures), default=CanaryVerdict.UNKNOWN)


def _total(workers: Sequence[WatchedWorker]) -> WorkerCounts:
    found = [counts for one in workers if (counts := one.counted()) is not None]
    dead: Counter[str] = Counter()
    for counts in found:
        dead.update(counts.dead)
    return WorkerCounts(
        rows=sum(one.rows for one in found),
        late=sum(one.late for one in found),
        read=sum(one.read for one in found),
        dead=dead,
        commits=sum(one.commits for one in found),
        commit_failures=sum(one.commit_failures for one in found),
    )


def _workers(canary: Sequence[WatchedWorker], others: Sequence[WatchedWorker]) -> CanaryFigure:
    worse = [f"{one.first.name} {why}" for one in canary if (why := _failed(one))]
    if worse:
        return CanaryFigure(name="workers", verdict=CanaryVerdict.WORSE, detail="; ".join(worse))
    unknown = [f"{one.first.name} {why}" for one in canary if (why := _not_known(one))]
    if not canary:
        unknown.append("no worker is of the canary")
    if not any(one.counted() for one in others):
        unknown.append("no other worker answered at both ends")
    said = f"{len(canary)} of the canary, {len(others)} others"
    verdict = CanaryVerdict.UNKNOWN if unknown else CanaryVerdict.PASS
    return CanaryFigure(name="workers", verdict=verdict, detail="; ".join(unknown) or said)


def _failed(one: WatchedWorker) -> str:
    if one.last is None:
        return "is gone"
    if not one.same_process:
        return "started anew"
    if one.last.worker.silent:
        return f"has not reported for {one.last.worker.silent_s:.0f} s"
    return "" if one.last.worker.ready else "is not ready"


def _not_known(one: WatchedWorker) -> str:
    if one.counted() is None:
        return "gave no metrics"
    if one.last is not None and one.first.partitions() != one.last.partitions():
        return "took or lost partitions within the window"
    return ""


def _stopped(canary: Sequence[WatchedWorker]) -> CanaryFigure:
    views = [view for one in canary for view in (one.first, one.last) if view is not None]
    stopped = {
        f"{held['topic']}/{held['partition']} by {code}"
        for view in views
        for held in view.worker.partitions
        if (code := held.get("stopped_by"))
    }
    if stopped:
        detail = ", ".join(sorted(stopped))
        return CanaryFigure(name="stopped", verdict=CanaryVerdict.WORSE, detail=detail)
    if not canary or len(views) < 2 * len(canary):
        detail = "not every worker of the canary answered at both ends"
        return CanaryFigure(name="stopped", verdict=CanaryVerdict.UNKNOWN, detail=detail)
    return CanaryFigure(name="stopped", verdict=CanaryVerdict.PASS, detail="no partition")


def _behind(canary: Sequence[WatchedWorker], others: Sequence[WatchedWorker]) -> CanaryFigure:
    """What does not come out is no late row: a share of rows does not see it."""
    ours, theirs = _behind_s(canary), _behind_s(others)
    if ours is None or theirs is None:
        detail = "not every worker says at the end how far its partitions are behind"
        return CanaryFigure(name="behind", verdict=CanaryVerdict.UNKNOWN, detail=detail)
    is_worse = ours > FACTOR * theirs + LATE_S
    return CanaryFigure(
        name="behind",
        verdict=CanaryVerdict.WORSE if is_worse else CanaryVerdict.PASS,
        detail=f"{ours:.0f} s, others {theirs:.0f} s",
    )


def _behind_s(workers: Sequence[WatchedWorker]) -> float | None:
    """The longest time of a partition at the end of the window. None: not known of all that still run."""
    told = [
        held.get("behind_s")
        for one in workers
        if one.same_process and one.last is not None
        for held in one.last.worker.partitions
    ]
    known = [behind_s for behind_s in told if behind_s is not None]
    return max(known) if known and len(known) == len(told) else None


def _share(
    name: str,
    what: str,
    ours: tuple[int, int],
    theirs: tuple[int, int],
    least: int,
    allowed: float,
) -> CanaryFigure:
    """``ours`` and ``theirs``: the bad ones, and all."""
    (bad, whole), (others_bad, others_whole) = ours, theirs
    if min(whole, others_whole) < max(1, least):
        return CanaryFigure(
            name=name,
            verdict=CanaryVerdict.UNKNOWN,
            detail=f"{what}: {bad} of {whole}, others {others_bad} of {others_whole}; each side "
            f"needs {max(1, least)}",
        )
    share, others_share = bad / whole, others_bad / others_whole
    is_worse = share > FACTOR * others_share + allowed
    return CanaryFigure(
        name=name,
        verdict=CanaryVerdict.WORSE if is_worse else CanaryVerdict.PASS,
        detail=f"{what}: {bad} of {whole}, others {others_bad} of {others_whole}",
        canary=share,
        others=others_share,
    )


def _dead_letters(
    ours: WorkerCounts, theirs: WorkerCounts, others: Sequence[WatchedWorker], least: int
) -> CanaryFigure:
    dead, others_dead = sum(ours.dead.values()), sum(theirs.dead.values())
    figure = _share(
        "dead_letters", "dead letters of records read",
        (dead, ours.read), (others_dead, theirs.read), least, ALLOWED,
    )  # fmt: skip
    views = [view for one in others for view in (one.first, one.last) if view is not None]
    known = {
        code
        for view in views
        for code, n in (view.counts.dead if view.counts is not None else {}).items()
        if n
    }
    new = sorted(code for code, n in ours.dead.items() if n > 0 and code not in known)
    if not new or not theirs.read:
        return figure
    return CanaryFigure(
        name=figure.name,
        verdict=CanaryVerdict.WORSE,
        detail=f"{figure.detail}; of the canary alone: {', '.join(new)}",
        canary=figure.canary,
        others=figure.others,
    )
