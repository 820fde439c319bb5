"""What changed, and when: outages, workers, versions, owners of partitions, health; and what operators ordered."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from streams.engine.health.finding import Severity
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.rule import Health

KEPT: Final = 1_000
_SHOWN: Final = 8
"""workers or partitions of one change that are named"""
NO_VERSION: Final[Mapping[str, str]] = {}

Kind: TypeAlias = Literal["outage", "worker", "deploy", "rebalance", "health", "replay", "skip"]


class PipelineChange(NamedTuple):
    """``subject``: a service, worker, version, topic or plan; ``bad``: something became worse."""

    at_ms: int
    kind: Kind
    subject: str
    text: str
    bad: bool


class ObservedChanges:
    """Changes that one process saw between two of its samples; a restarted console begins anew."""

    def __init__(self) -> None:
        self._changes: deque[PipelineChange] = deque(maxlen=KEPT)
        self._services: dict[str, tuple[bool, float]] = {}
        """whether each is up, and the monotonic time since when"""
        self._workers: dict[str, int] | None = None
        self._versions: dict[str, str] = {}
        self._owners: dict[tuple[str, str, int], str | None] = {}
        self._verdict: Severity | None = None

    def take(
        self,
        now_ms: int,
        now_s: float,
        services: Iterable[Mapping[str, Any]],
        workers: Sequence[LiveWorker],
        health: Health,
        versions: Mapping[str, str] = NO_VERSION,
    ) -> None:
        """``now_s``: monotonic. ``versions``: of workers, by slot; those that say none keep the one that is
        known."""
        self._outages(now_ms, now_s, services)
        self._processes(now_ms, {str(worker.slot): worker.pid for worker in workers})
        self._deploys(now_ms, versions)
        self._rebalances(now_ms, health)
        self._judged(now_ms, health)

    def since(self, since_ms: int) -> list[PipelineChange]:
        """Oldest first."""
        return [one for one in self._changes if one.at_ms >= since_ms]

    def _note(self, at_ms: int, kind: Kind, subject: str, text: str, *, bad: bool) -> None:
        self._changes.append(PipelineChange(at_ms, kind, subject, text, bad))

    def _outages(self, now_ms: int, now_s: float, services: Iterable[Mapping[str, Any]]) -> None:
        for one in services:
            name, up = one["name"], one["ok"]
            was_up, since_s = self._services.get(name, (True, now_s))
            if up == was_up:
                self._services.setdefault(name, (up, now_s))
                continue
            self._services[name] = up, now_s
            if up:
                text = f"up again after {max(1, int(now_s - since_s))} s"
            else:
                text = f"down: {one['detail']}"
            self._note(now_ms, "outage", name, text, bad=not up)

    def _processes(self, now_ms: int, workers: dict[str, int]) -> None:
        before, self._workers = self._workers, workers
        if before is None:
            return
        for slot in sorted(before.keys() | workers.keys()):
            was, now = before.get(slot), workers.get(slot)
            if was == now:
                continue
            if now is None:
                self._note(now_ms, "worker", f"worker {slot}", f"process {was} is gone", bad=True)
            elif was is None:
                self._note(now_ms, "worker", f"worker {slot}", f"process {now} started", bad=False)
            else:
                text = f"restarted: process {now} replaces {was}"
                self._note(now_ms, "worker", f"worker {slot}", text, bad=False)

    def _deploys(self, now_ms: int, versions: Mapping[str, str]) -> None:
        """One change for all workers that changed alike between two samples; the first version of a new
        worker is one only if no other worker runs it."""
        known, changed = {*self._versions.values()}, dict[tuple[str, str], list[str]]()
        for slot, now in sorted(versions.items()):
            was = self._versions.get(slot, "")
            if was != now and known and (was or now not in known):
                changed.setdefault((was, now), []).append(slot)
        self._versions |= versions
        for (was, now), slots in changed.items():
            before = f" in place of {was}" if was else ""
            text = f"runs on worker{'s' if len(slots) > 1 else ''} {_named(slots)}{before}"
            self._note(now_ms, "deploy", f"version {now}", text, bad=False)

    def _rebalances(self, now_ms: int, health: Health) -> None:
        """An unknown owner, as during a rebalance, is none: what counts is the next known one."""
        moved: dict[tuple[str, str], list[int]] = {}
        for row in health.partitions:
            place = row["group"], row["topic"], row["partition"]
            owner = row["owner"]
            if owner is None:
                continue
            before = self._owners.get(place)
            self._owners[place] = owner
            if before is not None and before != owner:
                moved.setdefault(place[:2], []).append(place[2])
        for (group, topic), partitions in sorted(moved.items()):
            text = f"group {group}: partitions {_named(sorted(partitions))} have another worker"
            self._note(now_ms, "rebalance", topic, text, bad=False)

    def _judged(self, now_ms: int, health: Health) -> None:
        before, self._verdict = self._verdict, health.verdict
        if before is None or before == health.verdict:
            return
        worse = health.verdict > before
        why = ""
        if health.findings and health.verdict is not Severity.HEALTHY:
            why = f": {health.findings[0].subject}: {health.findings[0].detail}"
        text = f"{before.word} became {health.verdict.word}{why}"
        self._note(now_ms, "health", "pipeline", text, bad=worse)


def _named(all_of: Sequence[str] | Sequence[int]) -> str:
    more = f" and {len(all_of) - _SHOWN} more" if len(all_of) > _SHOWN else ""
    return ", ".join(map(str, all_of[:_SHOWN])) + more
