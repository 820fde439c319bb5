"""The shard maps that a partition has taken, and which of them places a window.

The laws (docs/protocols/shard_maps.md):

 1.  the windows of one partition and UTC day are placed by one map, until it takes a move of that day
 2.  a map that a partition takes begins after every day of which the partition has folded an event;
     a move is taken while the partition has no live window of its days
 3.  the maps of a chain are the first of the recorded maps, in their order; none is taken twice
 4.  an incarnation of a day that began before its move was taken is over: the shards have its row,
     and no record is added to it, also where a restore finds its entry in the changelog again

So a row key, which names its partition, is written to one shard, whatever the clocks say and
however late the partition learns of a map. Rows of `app.windows` keep laws 1 to 3, by the day of
their start (`key_maps`); a window of theirs that is over never opens again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.core.rows.dated_map import DatedMap, MapIdentity, ShardOf, ShardOfKey
from streams.core.rows.moved_mark import mark

MINUTES_PER_DAY = 1440


class KeyMap(NamedTuple):
    """A later map as it places rows of `app.windows`. ``first_day`` and ``last_day`` as in `TakenMap`,
    ``moved``: of these rows."""

    first_day: int
    last_day: int
    shard_of: ShardOfKey
    moved: int

    def places(self, day: int) -> bool:
        return self.first_day <= day and (self.last_day < 0 or day <= self.last_day)


class TakenMap(msgspec.Struct, array_like=True, frozen=True):
    """A later map in a chain. ``map``: text of its `MapIdentity`. ``first_day``: the first day of
    windows that this partition places by it, in days since 1970; ``last_day``: of a move, the last
    one, -1: no end. ``since``: of a move, the highest ``inc`` of an incarnation that may have begun
    before it was taken."""

    map: str
    first_day: int
    last_day: int = -1
    since: int = 0


def take(
    taken: Sequence[TakenMap],
    maps: Sequence[DatedMap],
    last_day: int,
    has_windows: Callable[[int, int], bool],
    since: int,
) -> tuple[TakenMap, ...]:
    """``taken`` and the next of ``maps`` (the first one included), given the last day of which an
    event was folded, up to a move of days of which the partition has live windows (``has_windows``
    of the first and the last day). ``since``: as in `TakenMap`."""
    result = list(taken)
    for later in maps[1 + len(taken) :]:
        if later.last_day is not None:
            if has_windows(later.first_day, later.last_day):
                break
            result.append(TakenMap(str(later.identity), later.first_day, later.last_day, since))
            continue
        before = max((one.first_day for one in result if one.last_day < 0), default=0)
        first_day = max(later.first_day, last_day + 1, before)
        result.append(TakenMap(str(later.identity), first_day))
    return tuple(result)


def unknown(taken: Sequence[TakenMap], maps: Sequence[DatedMap]) -> MapIdentity | None:
    """The first taken map that is not at its place in ``maps``; None: all are."""
    for number, one in enumerate(taken, 1):
        identity = MapIdentity.parse(one.map)
        if number >= len(maps) or maps[number].identity.digest != identity.digest:
            return identity
    return None


def first_days(taken: Sequence[TakenMap]) -> tuple[int, ...]:
    """Of the later maps without end, ascending."""
    return tuple(one.first_day for one in taken if one.last_day < 0)


def key_maps(taken: Sequence[TakenMap], maps: Sequence[DatedMap]) -> tuple[KeyMap, ...]:
    """The maps that a partition has taken, of the recorded ``maps`` (the first one included)."""
    return tuple(
        KeyMap(
            one.first_day,
            one.last_day,
            dated.shard_of_key,
            mark(version) if one.last_day >= 0 else 0,
        )
        for version, (one, dated) in enumerate(zip(taken, maps[1:], strict=False), 2)
    )


def moved_of(taken: Sequence[TakenMap], day: int) -> int:
    """``moved`` of a row of `app.windows` of this day that a partition sends."""
    moves = (
        version
        for version, one in enumerate(taken, 2)
        if one.last_day >= 0 and one.first_day <= day <= one.last_day
    )
    return mark(newest) if (newest := max(moves, default=0)) else 0


class Placements:
    """The maps of one partition, numbered in their order. The first holds for every day."""

    def __init__(self, shards: int, shard_of: ShardOf) -> None:
        self.shards = shards
        self._shard_of = [shard_of]
        self._first_minutes = np.zeros(1, np.int64)
        self._without_end = np.zeros(1, np.int64)
        """the numbers of the maps that are no moves"""
        self._moves: list[tuple[int, int, int, int]] = []
        """number, first minute, end, and ``since`` of each move"""

    def __len__(self) -> int:
        return len(self._shard_of)

    def add(
        self, first_day: int, last_day: int, shards: int, shard_of: ShardOf, since: int = 0
    ) -> None:
        """``last_day``: of a move, -1: none. ``since``: as in `TakenMap`."""
        number, first = len(self._shard_of), first_day * MINUTES_PER_DAY
        self.shards = max(self.shards, shards)
        self._shard_of.append(shard_of)
        if last_day >= 0:
            self._moves.append((number, first, (last_day + 1) * MINUTES_PER_DAY, since))
            return
        self._first_minutes = np.append(self._first_minutes, first)
        self._without_end = np.append(self._without_end, number)

    def numbers(
        self, minutes: NDArray[np.int64], inc: NDArray[np.uint64] | None = None
    ) -> NDArray[np.int64]:
        """The number of the map that places each window, given its start in minutes since 1970: now, or
        when its incarnation ``inc`` began."""
        found = np.searchsorted(self._first_minutes, minutes, side="right") - 1
        numbers = self._without_end[np.maximum(found, 0)]
        for number, first, end, since in self._moves:
            its = (minutes >= first) & (minutes < end)
            numbers[its if inc is None else its & (inc > np.uint64(since))] = number
        return numbers

    def taken(self, minutes: NDArray[np.int64], inc: NDArray[np.uint64]) -> NDArray[np.int64]:
        """How many moves of its day were taken when the incarnation ``inc`` of each window began."""
        found = np.zeros(len(minutes), np.int64)
        for _, first, end, since in self._moves:
            found += (minutes >= first) & (minutes < end) & (inc > np.uint64(since))
        return found

    def marks(self, minutes: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """``moved`` of the row of each window; None: 0 for all, as no move was taken."""
        return self.marks_of(self.numbers(minutes)) if self._moves else None

    def marks_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """``moved`` of rows that the maps with these ``numbers`` place."""
        by_number = np.zeros(len(self._shard_of), np.int64)
        for number, *_ in self._moves:
            by_number[number] = mark(number + 1)
        return by_number[numbers]

    def over(self, minutes: NDArray[np.int64], inc: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Law 4: which incarnations of windows began before a move of their day was taken."""
        found = np.zeros(len(minutes), np.bool_)
        for _, first, end, since in self._moves:
            found |= (minutes >= first) & (minutes < end) & (inc <= np.uint64(since))
        return found

    def shard_of(self, number: int) -> ShardOf:
        return self._shard_of[number]
