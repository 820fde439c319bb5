"""The safe rate of this machine: the highest constant rate at which the lag does not grow.

Rates are tried in an open loop on one running pipeline. A rate holds when everything is committed
within a commit interval and `BEHIND_S` of its last event. The best rate must hold once more, for
longer; otherwise lower ones are tried."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agents.app import MODEL_METRICS
from streams.dev.bench import exactness
from streams.dev.bench.cases.case import Case
from streams.dev.bench.load import open_loop
from streams.dev.bench.report.machine import Machine, this_machine, versions
from streams.dev.bench.rig import Rig
from streams.dev.bench.run import on_stack
from streams.dev.demo.run import Talk
from streams.dev.demo.worker_process import WorkerProcess

RESOLUTION = 1.1
"""A machine's speed varies by a tenth from minute to minute."""
RATE_MAX_PER_S = 500_000
"""Generated in advance, some 300 bytes an event."""


@dataclass(slots=True)
class Ramp:
    """Bisection: try `next_rate`, then `tell` the result, until it is None. ``best`` is the highest
    rate that held, ``failed`` the lowest above it that did not."""

    first: int
    best: int | None = None
    failed: int | None = None
    _tried: set[int] = field(default_factory=set)

    def next_rate(self) -> int | None:
        """Events per second; None at the required resolution."""
        rate = self._candidate()
        return None if rate in self._tried or not 1 <= rate <= RATE_MAX_PER_S else rate

    def _candidate(self) -> int:
        if self.best is None:
            return self.first if self.failed is None else self.failed // 2
        if self.failed is None:
            return self.best * 2
        if self.failed <= self.best * RESOLUTION:
            return self.best
        return round(math.sqrt(self.best * self.failed))

    def tell(self, rate: int, *, held: bool) -> None:
        """A failure at a lower rate overrules a higher one that held before."""
        self._tried.add(rate)
        if held:
            self.best = max(rate, self.best or 0)
            return
        self.failed = rate if self.failed is None else min(rate, self.failed)
        if self.best is not None and self.best >= self.failed:
            self.best = None


FORMAT = 1
FIRST_PER_S = 25_000
TRY_S = 6
CONFIRM_S = 10
CONFIRMATIONS_MAX = 4
LESS = 0.85
BEHIND_S = 0.6
SENDER_LATE_S = 0.25
DRAIN_MAX_S = 30.0
POLL_S = 0.02


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """``behind_s``: from the last event until everything was committed; ``lag_max``: most sent and
    uncommitted events."""

    rate_per_s: int
    seconds: int
    behind_s: float
    sender_late_s: float
    lag_max: int
    held: bool


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """``safe_per_s`` is None when no rate held or the result was not exact."""

    format: int = FORMAT
    started_at: str
    machine: Machine
    versions: dict[str, str]
    case: str
    safe_per_s: int | None
    exact: bool
    differences: list[str]
    tries: list[Try]


@dataclass(slots=True)
class Sums:
    produced: int = 0
    applied: int = 0
    duplicates: int = 0


@dataclass(slots=True)
class Search:
    rig: Rig
    process: WorkerProcess
    ramp: Ramp = field(default_factory=lambda: Ramp(FIRST_PER_S))
    sums: Sums = field(default_factory=Sums)
    tries: list[Try] = field(default_factory=list)

    async def safe_rate(self, budget_s: float) -> int | None:
        deadline = self.rig.clock.monotonic() + budget_s
        while (rate := self.ramp.next_rate()) is not None:
            if self.rig.clock.monotonic() >= deadline:
                break
            self.ramp.tell(rate, held=(await self.attempt(rate, TRY_S)).held)
        candidate = self.ramp.best
        for _ in range(CONFIRMATIONS_MAX):
            if candidate is None:
                break
            if (await self.attempt(candidate, CONFIRM_S)).held:
                return candidate
            candidate = round(candidate * LESS)
        return None

    async def attempt(self, rate_per_s: int, seconds: int) -> Try:
        """Send at this rate until everything is committed, or the rate has failed."""
        rig = self.rig
        rig.talk.say(f"{rate_per_s:,} events/s for {seconds} s")
        made = await asyncio.to_thread(
            open_loop.make,
            rig.case.workload,
            rig.case.seed + len(self.tries),
            rate_per_s * seconds,
            rate_per_s,
            rig.clock.now_ms(),
        )
        sent = await open_loop.send(rig, made.blocks, rate_per_s, None)
        behind_s = await self._drained()
        self.sums.produced += made.oracle.produced
        self.sums.applied += made.oracle.applied
        self.sums.duplicates += made.oracle.duplicates
        attempt = judged(rate_per_s, seconds, behind_s, sent, rig.settings.commit_interval_s)
        self.tries.append(attempt)
        rig.talk.say(
            f"{rate_per_s:,} events/s {'held' if attempt.held else 'did not hold'}: committed "
            f"{attempt.behind_s:.1f} s after the last event"
        )
        return attempt

    async def _drained(self) -> float:
        began = self.rig.clock.monotonic()
        while await self.rig.reading.unread():
            self.process.check()
            if self.rig.clock.monotonic() - began > DRAIN_MAX_S:
                await self.rig.until_committed(self.process, self.rig.case.events)
                break
            await self.rig.clock.sleep(POLL_S)
        return self.rig.clock.monotonic() - began


def judged(
    rate_per_s: int,
    seconds: int,
    behind_s: float,
    sent: open_loop.SentLoad,
    commit_interval_s: float,
) -> Try:
    """A late sender means that the machine is too small for both."""
    held = behind_s <= commit_interval_s + BEHIND_S and sent.late_s <= SENDER_LATE_S
    return Try(
        rate_per_s=rate_per_s,
        seconds=seconds,
        behind_s=round(behind_s, 2),
        sender_late_s=round(sent.late_s, 2),
        lag_max=sent.lag_max,
        held=held,
    )


def measure_capacity(case: Case, budget_s: float, home: Path, talk: Talk) -> Capacity:
    """On a stack of its own. Raises as `streams.dev.bench.run.run`."""
    started_at = datetime.now(UTC).isoformat()

    async def search(rig: Rig) -> Capacity:
        process = rig.start("worker")
        try:
            await rig.all_opened(process, MODEL_METRICS.partitions)
            found = Search(rig, process)
            safe_per_s = await found.safe_rate(budget_s)
            visible = await rig.until_visible(process, found.sums.applied)
            metrics, _ = await rig.until_acknowledged(process)
        finally:
            await rig.stop(process)
        verdict = exactness.also(
            exactness.of_counters(found.sums, metrics),
            failed=not visible,
            difference="ClickHouse does not show every event that was sent",
        )
        return Capacity(
            started_at=started_at,
            machine=this_machine(),
            versions=versions(),
            case=f"{case.workload}, {case.processes} proc, {case.shards} shards",
            safe_per_s=safe_per_s if verdict.exact else None,
            exact=verdict.exact,
            differences=verdict.differences,
            tries=found.tries,
        )

    return on_stack(case, home, talk, None, search)
