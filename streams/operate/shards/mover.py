"""Moves the stored rows of days to the shards of another map (docs/protocols/shard_moves.md).

M4  the state of every partition names the move: no row of its days is written by an older map
M5  of each day: hours and days are recomputed on the sources, then all rows are copied in portions,
     each compared by its checksum
M6  a sample of series is answered by originals and by copies; too many differ: the day is given up
M7  the day is shown: readers take the copies, in each question of all shards or of none
M8  after the readers' time, copies are compared once more; if they differ, the day is given up; else
     the originals are deleted

Every step may be repeated, so a run that was killed, at any step, is run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from streams.connect.sinks.map_record import DayState, day_text
from streams.connect.sinks.moves.notes import MoveOrder, MoveProgress
from streams.connect.sinks.moves.store import HASHES, Answers, MoveStore, Portion
from streams.connect.sinks.rollup import DAY_S, WIDTH_S, refuse_expired
from streams.core.clock import Clock
from streams.core.command_errors import MoveDiffers, MoveRefused
from streams.core.errors import RollUpExpired
from streams.core.rows.built_in_tables import WINDOW_TABLES
from streams.operate.shards.move_pace import MovePace

_TOLERANCE: Final = 1e-9
_OVER: Final = (DayState.RETURNED, DayState.DONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOptions:
    """``sample``: series that are compared of each pair of shards. ``differing_max``: the share of them
    that may differ. ``readers_s``: between showing a day and deleting its originals."""

    sample: int = 1000
    differing_max: float = 0.0
    readers_s: float = 60.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveMeans:
    """``taken`` waits until every partition has the move (M4). ``check`` raises when another process
    took the lock. ``order`` and ``told``: as in `MovePace`. ``retention_days``: of minutes."""

    taken: Callable[[], None]
    check: Callable[[], None]
    say: Callable[[str], None]
    sleep: Callable[[float], None]
    clock: Clock
    retention_days: int
    order: Callable[[], MoveOrder]
    told: Callable[[MoveProgress], None]


def expiring(retention_days: int) -> range:
    """The ages in days at which a day may have lost some of its minutes."""
    return range(retention_days - 2, retention_days + 2)


def rows_leaving(store: MoveStore, day: int) -> int:
    """Rows of a day, of all tables, on the shards that the move takes them from."""
    return sum(
        sum(store.leaving(table, day, source).values())
        for table in store.tables
        for source in range(store.shards)
    )


@dataclass(slots=True)
class MoveReport:
    """``copied``: rows of portions that the targets did not have; ``there``: rows that they had."""

    days: int = 0
    copied: int = 0
    there: int = 0
    repaired: int = 0
    """portions whose copies were deleted and copied again"""
    compared: int = 0
    """series"""
    given_up: list[str] = field(default_factory=list)


class Mover:
    def __init__(self, store: MoveStore, options: MoveOptions, means: MoveMeans) -> None:
        self._store = store
        self._options = options
        self._means = means
        self._report = MoveReport()
        self._pace = MovePace(
            means.clock, means.sleep, means.check, means.say, means.order, means.told
        )

    def run(self) -> MoveReport:
        """Raises `MoveDiffers`, and errors of the shards and of ``taken``: then run it again."""
        states = {day: self._store.state(day) for day in self._store.record.days}
        if any(state == DayState.COPYING for state in states.values()):
            self._means.taken()
        for day, state in states.items():
            if state in _OVER:
                self._end(day, state)
            elif state == DayState.COPYING and self._expires(day):
                self._give_up(day, "its minutes are expiring, each copy at another moment")
            else:
                self._day(day, state)
        return self._report

    def give_up(self) -> MoveReport:
        """Leave the days that are not moved where they are. Raises as `run`."""
        for day in self._store.record.days:
            state = self._store.state(day)
            if state in (DayState.COPYING, DayState.SHOWN):
                self._give_up(day, "given up by order")
            elif state in _OVER:
                self._end(day, state)
            else:
                self._day(day, state)  # originals may be gone in part
        return self._report

    def _expires(self, day: int) -> bool:
        today = self._means.clock.now_ms() // 1000 // DAY_S
        return today - day in expiring(self._means.retention_days)

    def _day(self, day: int, state: DayState) -> None:
        if state < DayState.SHOWN:
            self._roll_up(day)
            self._copy(day)
            if not self._sampled(day):
                return
        if state < DayState.CLEANING:
            self._enter(day, DayState.SHOWN)
            self._means.say(f"{day_text(day)}: shown from the copies")
            self._means.sleep(self._options.readers_s)
            if (wrong := self._first_wrong(day)) is not None:
                self._give_up(day, f"{wrong} after the day was shown")
                return
            self._enter(day, DayState.CLEANING)
        self._require(day, DayState.CLEANING)
        self._store.delete_originals(day)
        self._enter(day, DayState.DONE)
        self._report.days += 1
        self._means.say(f"{day_text(day)}: moved")

    def _enter(self, day: int, state: DayState) -> None:
        """A process that slept while another one went on must not act on what it knew."""
        self._means.check()
        now = self._store.state(day)
        if now > state:
            raise MoveRefused(
                f"{day_text(day)} is {now.name.lower()} already: another process runs this move. Each "
                "row counts once."
            )
        self._store.enter(day, state)

    def _require(self, day: int, state: DayState) -> None:
        """Before rows are deleted."""
        self._means.check()
        now = self._store.state(day)
        if now != state:
            raise MoveRefused(
                f"{day_text(day)} is {now.name.lower()}, no longer {state.name.lower()}: another process "
                "runs this move. Nothing was deleted."
            )

    def _give_up(self, day: int, why: str) -> None:
        """Readers take the originals again, and then the copies go."""
        self._enter(day, DayState.RETURNED)
        text = f"{day_text(day)}: {why}; the day stays where it was"
        self._report.given_up.append(text)
        self._means.say(text)
        self._clear(day)

    def _end(self, day: int, state: DayState) -> None:
        """Of a day that is over: a run may have died before every server recorded it, and made its views."""
        self._enter(day, state)
        if state == DayState.RETURNED:
            self._clear(day)

    def _clear(self, day: int) -> None:
        if not self._store.copies(day):
            return
        self._means.sleep(self._options.readers_s)  # some may still take the copies
        self._require(day, DayState.RETURNED)
        self._store.delete_copies(day)

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

    def _portions(self, day: int) -> Iterator[Portion]:
        """The size of the next one is that of the order when it is made."""
        for table in self._store.tables:
            for source in range(self._store.shards):
                for target, rows in sorted(self._store.leaving(table, day, source).items()):
                    first = 0
                    while first < HASHES:
                        width = math.ceil(HASHES / math.ceil(rows / self._pace.batch))
                        end = min(HASHES, first + width)
                        yield Portion(table, day, source, target, first, end)
                        first = end

    def _copy(self, day: int) -> None:
        self._pace.begin(day, rows_leaving(self._store, day))
        for portion in self._portions(day):
            self._means.check()
            wanted, copied = self._store.tally(portion, copies=False), 0
            if self._store.tally(portion, copies=True) == wanted:
                self._report.there += wanted.rows
            else:
                self._store.copy(portion)
                copied = wanted.rows
                self._report.copied += copied
            if (wrong := self._wrong(portion)) is not None:
                self._repair(portion, wrong)
            self._pace.passed(wanted.rows, copied)

    def _repair(self, portion: Portion, wrong: str) -> None:
        """Copies that another insert cannot replace: their versions are higher, or the source lacks
        them."""
        self._means.say(f"{wrong}. Its copies are deleted and made again")
        self._means.check()
        self._store.delete_portion(portion)
        self._store.copy(portion)
        self._report.repaired += 1
        if (still := self._wrong(portion)) is not None:
            raise MoveDiffers(f"{still}. The originals count. Run the move again.")

    def _wrong(self, portion: Portion) -> str | None:
        """How the copies differ; None: they do not."""
        wanted = self._store.tally(portion, copies=False)
        found = self._store.tally(portion, copies=True)
        if found == wanted:
            return None
        return (
            f"{portion.table} of {day_text(portion.day)}, hashes {portion.first} to {portion.end}: "
            f"shard {portion.source} has {wanted.rows} rows of {wanted.events} events, their copies on "
            f"shard {portion.target} are {found.rows} of {found.events}, or their checksums differ"
        )

    def _first_wrong(self, day: int) -> str | None:
        found = (self._wrong(portion) for portion in self._portions(day))
        return next((one for one in found if one is not None), None)

    def _sampled(self, day: int) -> bool:
        """M6. False: the day is given up."""
        options, store = self._options, self._store
        series, differing = 0, 0
        pairs = {
            (portion.source, portion.target)
            for portion in self._portions(day)
            if portion.table in WINDOW_TABLES
        }
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
        self._give_up(day, f"{differing} of {series} compared series differ")
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
