"""Whether each accepted event was counted once, by the counts that the pipeline keeps of itself: the
ledger of the console's pipeline page, and the rows of the test's own series."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

from streams.core.clock import Clock
from streams.operate.loadtest.http_target import EventCounts, HttpTarget

SERIES_CHECKED: Final = 50
LOOK_S: Final = 3.0
READ_S: Final = 60.0
_BEFORE_S: Final = 120
"""of the first event, so that its minute is in the range"""


class TopicLedger(NamedTuple):
    """Sums over partitions. ``unbalanced``: partitions whose counts do not add up. ``epochs``: of each
    partition, raised by a reset."""

    applied: int
    dead: int
    unbalanced: int
    epochs: Mapping[int, int]


class ExactCheck(msgspec.Struct, frozen=True, kw_only=True):
    """``found`` None: no answer. Above ``least`` by requests without an answer."""

    what: str
    least: int
    most: int
    found: int | None

    @property
    def ok(self) -> bool:
        return self.found is not None and self.least <= self.found <= self.most


class ExactnessReport(msgspec.Struct, frozen=True, kw_only=True):
    """``notes``: what could not be compared, and why."""

    checks: list[ExactCheck] = []
    notes: list[str] = []

    @property
    def proven(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)


def ledgers(answer: Mapping[str, Any] | None) -> dict[str, TopicLedger] | None:
    """By topic, of ``GET /api/pipeline``; None where the ledger is not known."""
    if answer is None or not answer.get("ledger_known"):
        return None
    found: dict[str, TopicLedger] = {}
    for partition in answer["partitions"]:
        row, topic = partition["ledger"], partition["topic"]
        if row is None:
            continue
        before = found.get(topic, TopicLedger(0, 0, 0, {}))
        found[topic] = TopicLedger(
            before.applied + row["applied"],
            before.dead + row["dead"],
            before.unbalanced + (not row["balanced"]),
            {**before.epochs, partition["partition"]: row["epoch"]},
        )
    return found


class ExactnessCheck:
    """Make it before the first event. ``shared``: others send, too, so the ledger says nothing."""

    def __init__(self, target: HttpTarget, clock: Clock, *, shared: bool, seed: int) -> None:
        self._target = target
        self._clock = clock
        self._shared = shared
        self._rng = random.Random(seed)
        self._since_s = clock.now_ms() // 1000 - _BEFORE_S
        self._before: dict[str, TopicLedger] | None = None

    async def begin(self) -> None:
        if not self._shared:
            self._before = ledgers(await self._target.read("/api/pipeline", {}))

    async def report(self, wait_s: float, stopped: Callable[[], bool]) -> ExactnessReport:
        """What differs is looked at again for ``wait_s``, because rows follow their events; once where
        it is ``stopped``. A reading that takes longer than `READ_S` is given up. Without an accepted
        event there are no checks, which prove nothing."""
        sample, notes = self._sample(), self._notes()
        if not any(counts.accepted for counts in self._target.counts.values()):
            return ExactnessReport(
                notes=[*notes, "no event was accepted: there is nothing to count."]
            )
        until_s = self._clock.monotonic() + wait_s
        looked = 0
        while True:
            found = ExactnessReport(notes=[*notes, f"no answer within {READ_S:g} s."])
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_S):
                    checks = [*await self._ledger_checks(), *await self._row_checks(sample, looked)]
                    found = ExactnessReport(checks=checks, notes=notes)
            left_s = until_s - self._clock.monotonic()
            if found.proven or stopped() or left_s <= 0:
                return found
            looked += 1
            await self._clock.sleep(min(LOOK_S, left_s))

    def _notes(self) -> list[str]:
        notes = []
        if self._shared:
            notes.append("the topics are shared, so the ledger is not compared.")
        elif self._before is None:
            notes.append(
                "the console shows this token no ledger: it needs an admin token of every tenant."
            )
        doubted = sum(counts.in_doubt for counts in self._target.counts.values())
        if doubted:
            notes.append(f"{doubted} events are in doubt: their requests got no answer.")
        return notes

    def _sample(self) -> list[tuple[tuple[str, str, str], int]]:
        known = [
            (series, count)
            for counts in self._target.counts.values()
            for series, count in counts.by_series.items()
            if series not in counts.doubted_series
        ]
        return self._rng.sample(known, min(SERIES_CHECKED, len(known)))

    async def _ledger_checks(self) -> list[ExactCheck]:
        if self._before is None:
            return []
        after = ledgers(await self._target.read("/api/pipeline", {}))
        found: list[ExactCheck] = []
        for topic, counts in sorted(self._target.counts.items()):
            now = None if after is None else after.get(topic)
            found += _of_topic(topic, counts, self._before.get(topic), now)
        return found

    async def _row_checks(
        self, sample: Sequence[tuple[tuple[str, str, str], int]], looked: int
    ) -> list[ExactCheck]:
        if not sample:
            return []
        found: int | None = 0
        differing = 0
        for series, count in sample:
            rows = await self._target.count(series, self._since_s - looked)
            differing += rows != count
            found = None if rows is None or found is None else found + rows
        expected = sum(count for _, count in sample)
        return [
            ExactCheck(what=f"events in rows of {len(sample)} series", least=expected, most=expected, found=found),
            ExactCheck(what="series whose rows differ", least=0, most=0, found=differing),
        ]  # fmt: skip


def _of_topic(
    topic: str, counts: EventCounts, before: TopicLedger | None, now: TopicLedger | None
) -> list[ExactCheck]:
    old = before or TopicLedger(0, 0, 0, {})
    accepted = counts.accepted
    if now is None or not old.epochs.items() <= now.epochs.items():
        none = ExactCheck(what=f"{topic}: applied", least=accepted, most=accepted, found=None)
        return [none]
    return [
        ExactCheck(
            what=f"{topic}: applied",
            least=accepted,
            most=accepted + counts.in_doubt,
            found=now.applied - old.applied,
        ),
        ExactCheck(what=f"{topic}: dead letters", least=0, most=0, found=now.dead - old.dead),
        ExactCheck(
            what=f"{topic}: partitions whose counts do not add up",
            least=0,
            most=0,
            found=now.unbalanced,
        ),
    ]
