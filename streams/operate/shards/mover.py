"""Moves the stored rows of days to the shards of another map (docs/protocols/shard_moves.md).

M4  the state of every partition names the move: no row of its days is written by an older map
M5  of each day: hours and days are recomputed on the sources, then all rows are copied in portions,
     each compared by its checksum
M6  a sample of series is answered by originals and by copies; too many differ: the day is given up
M7  the day is shown: readers take the copies, in each question of all shards or of none
M8  after the readers' time, copies are compared once more, and the originals are deleted

Every step may be repeated, so a run that was killed, at any step, is run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from streams.connect.sinks.map_record import DayState, day_text
from streams.connect.sinks.moves.store import Answers, MoveStore, Portion
from streams.connect.sinks.rollup import DAY_S, WIDTH_S, refuse_expired
from streams.core.clock import Clock
from streams.core.command_errors import MoveDiffers
from streams.core.errors import RollUpExpired
from streams.core.rows.built_in_tables import WINDOW_TABLES

_SAY_S: Final = 10.0
_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOptions:
    """``batch``: rows of an insert, about. ``rate``: rows a second at most; None: no limit.
    ``sample``: series that are compared of each pair of shards. ``differing_max``: the share of them
    that may differ. ``readers_s``: between showing a day and deleting its originals."""

    batch: int = 50_000
    rate: float | None = None
    sample: int = 1000
    differing_max: float = 0.0
    readers_s: float = 60.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveMeans:
    """``taken`` waits until every partition has the move (M4). ``check`` raises when another process
    took the lock. ``retention_days``: of minutes."""

    taken: Callable[[], None]
    check: Callable[[], None]
    say: Callable[[str], None]
    sleep: Callable[[float], None]
    clock: Clock
    retention_days: int


@dataclass(slots=True)
class MoveReport:
    """``copied``: rows of portions that the targets did not have; ``there``: rows that they had."""

    days: int = 0
    copied: int = 0
    there: int = 0
    compared: int = 0
    """series"""
    given_up: list[str] = field(default_factory=list)


class Mover:
    def __init__(self, store: MoveStore, options: MoveOptions, means: MoveMeans) -> None:
        self._store = store
        self._options = options
        self._means = means
        self._report = MoveReport()
        self._progress = _Progress(means)

    def run(self) -> MoveReport:
        """Raises `MoveDiffers`, and errors of the shards and of ``taken``: then run it again."""
        states = {day: self._store.state(day) for day in self._store.record.days}
        if any(state == DayState.COPYING for state in states.values()):
            self._means.taken()
        for day, state in states.items():
            if state not in (DayState.DONE, DayState.RETURNED):
                self._day(day, state)
        return self._report

    def _day(self, day: int, state: DayState) -> None:
        if state < DayState.SHOWN:
            self._roll_up(day)
            self._copy(day)
            if not self._sampled(day):
                return
        if state < DayState.CLEANING:
            self._means.check()
            self._store.enter(day, DayState.SHOWN)
            self._means.say(f"{day_text(day)}: shown from the copies")
            self._means.sleep(self._options.readers_s)
            self._compare(day)
            self._store.enter(day, DayState.CLEANING)
        self._means.check()
        self._store.delete_originals(day)
        self._store.enter(day, DayState.DONE)
        self._report.days += 1
        self._means.say(f"{day_text(day)}: moved")

    def _roll_up(self, day: int) -> None:
        """An hour of the last rows may not be recomputed yet. Hours and days without minutes are final."""
        now_s = self._means.clock.now_ms() / 1000
        for table in ("h1", "d1"):
            for start_s in range(day * DAY_S, (day + 1) * DAY_S, WIDTH_S[table]):
                try:
                    refuse_expired(table, start_s, now_s, self._means.retention_days)
                except RollUpExpired:
                    return
                for shard in range(self._store.shards):
                    self._store.roll_up(shard, table, start_s)

    def _portions(self, day: int) -> Iterator[tuple[Portion, int]]:
        """With the rows of each, about."""
        for table in WINDOW_TABLES:
            for source in range(self._store.shards):
                for target, rows in sorted(self._store.leaving(table, day, source).items()):
                    buckets = math.ceil(rows / self._options.batch)
                    for bucket in range(buckets):
                        portion = Portion(table, day, source, target, bucket, buckets)
                        yield portion, rows // buckets

    def _copy(self, day: int) -> None:
        portions = list(self._portions(day))
        self._progress.begin(day_text(day), sum(rows for _, rows in portions))
        for portion, _ in portions:
            self._means.check()
            wanted = self._store.tally(portion, copies=False)
            if self._store.tally(portion, copies=True) == wanted:
                self._report.there += wanted.rows
            else:
                self._store.copy(portion)
                self._report.copied += wanted.rows
                self._progress.paced(wanted.rows, self._options.rate)
            self._same(portion)
            self._progress.passed(wanted.rows)

    def _same(self, portion: Portion) -> None:
        wanted = self._store.tally(portion, copies=False)
        found = self._store.tally(portion, copies=True)
        if found != wanted:
            raise MoveDiffers(
                f"{portion.table} of {day_text(portion.day)}, bucket {portion.bucket} of "
                f"{portion.buckets}: shard {portion.source} has {wanted.rows} rows of "
                f"{wanted.events} events, their copies on shard {portion.target} are {found.rows} of "
                f"{found.events}, or their checksums differ. The originals count. Run the move again."
            )

    def _compare(self, day: int) -> None:
        for portion, _ in self._portions(day):
            self._same(portion)

    def _sampled(self, day: int) -> bool:
        """M6. False: the day is given up."""
        options, store = self._options, self._store
        series, differing = 0, 0
        pairs = {(portion.source, portion.target) for portion, _ in self._portions(day)}
        for source, target in sorted(pairs):
            originals, copies = (
                store.answers(day, source, target, options.sample, options.seed, copies=which)
                for which in (False, True)
            )
            series += len(originals)
            differing += _differing(originals, copies)
        self._report.compared += series
        if differing <= options.differing_max * series:
            return True
        self._means.check()
        store.enter(day, DayState.RETURNED)
        store.delete_copies(day)
        why = f"{day_text(day)}: {differing} of {series} compared series differ, the day stays"
        self._report.given_up.append(why)
        self._means.say(why)
        return False


def _differing(originals: Answers, copies: Answers) -> int:
    names = originals.keys() | copies.keys()
    return sum(not _alike(originals.get(one, ()), copies.get(one, ())) for one in names)


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other)


class _Progress:
    """Bounds the rate of copying, and says how far it is."""

    def __init__(self, means: MoveMeans) -> None:
        self._means = means
        self._day = ""
        self._whole = self._done = 0
        self._began_s = self._said_s = 0.0

    def begin(self, day: str, rows: int) -> None:
        self._day, self._whole, self._done = day, rows, 0
        self._began_s = self._said_s = self._means.clock.monotonic()

    def paced(self, rows: int, rate: float | None) -> None:
        if rate is not None:
            self._means.sleep(rows / rate)

    def passed(self, rows: int) -> None:
        self._done += rows
        now_s = self._means.clock.monotonic()
        if now_s - self._said_s < _SAY_S or not self._done:
            return
        self._said_s = now_s
        left_s = max(0, self._whole - self._done) * (now_s - self._began_s) / self._done
        self._means.say(f"{self._day}: {self._done:,} of {self._whole:,} rows, {left_s:.0f} s left")
