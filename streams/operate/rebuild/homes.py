"""Where a row that no shard has lay: the shard and ``moved`` of its key, which follow from its ``inc``.

The partition's chain says what placed it, the states of the moves where it was brought (law 5 of
docs/protocols/rebuild.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.core.command_errors import RebuildRefused
from streams.core.rows.built_in_tables import OFFSET_BITS
from streams.core.rows.dated_map import DAY_S, DatedMap
from streams.core.rows.moved_home import brought
from streams.core.words.moments import iso_s
from streams.engine.state.placements import MINUTES_PER_DAY, Placements, TakenMap

_MINUTE_S = DAY_S // MINUTES_PER_DAY


class Homes:
    """Of the rows of one partition. ``maps``: as the servers record them; no day of the rows is
    moving. ``taken`` and ``maps_since``: of the partition's last commit."""

    def __init__(
        self, maps: Sequence[DatedMap], taken: Sequence[TakenMap], maps_since: int
    ) -> None:
        self._maps = maps
        self._maps_since = maps_since
        self._placements = Placements(maps[0].shards, maps[0].shard_of)
        for one, later in zip(taken, maps[1:], strict=False):
            days = one.first_day, one.last_day
            self._placements.add(*days, later.shards, later.shard_of, one.since)

    def of(
        self,
        names: tuple[Sequence[str], Sequence[str], Sequence[str]],
        w: NDArray[np.int64],
        inc: NDArray[np.uint64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Shard and ``moved`` of each row. ``names``: tenants, models, metrics; ``w`` in seconds.

        Raises `RebuildRefused` where the changelog that said it is lost."""
        self._refuse_unknown(w // DAY_S, inc)
        minutes = w // _MINUTE_S
        numbers = self._placements.numbers(minutes, inc)
        shard = np.zeros(len(w), np.int64)
        for number in np.unique(numbers).tolist():
            its = np.flatnonzero(numbers == number)
            columns = ([column[row] for row in its.tolist()] for column in names)
            shard[its] = self._placements.shard_of(number)(*columns)
        moved = self._placements.marks_of(numbers)
        return brought(self._maps, names, w // DAY_S, shard, moved)

    def _refuse_unknown(self, days: NDArray[np.int64], inc: NDArray[np.uint64]) -> None:
        unknown = (inc >> np.uint64(OFFSET_BITS)).astype(np.int64) < self._maps_since
        placed = np.zeros(len(days), np.bool_)
        for one in self._maps[1:]:
            end = days if one.last_day is None else one.last_day
            placed |= (days >= one.first_day) & (days <= end)
        if (unknown & placed).any():
            day = iso_s(int(days[unknown & placed].min()) * DAY_S)[:10]
            raise RebuildRefused(
                f"rows of {day} and of epochs before {self._maps_since} are lost, and so is the "
                "changelog of these epochs: whether the partition had taken the shard map or move of "
                "that day when their windows opened is unknown, and a row under another key would "
                "count beside its hour. No row of that epoch was written. Restore the day from a "
                "backup (`dia backup restore`), or rebuild other days."
            )

    def times(self, minutes: NDArray[np.int64], inc: NDArray[np.uint64]) -> NDArray[np.int64]:
        """How many moves of its day the partition had taken when an incarnation began with
        ``inc``. Of one window, incarnations with different numbers are different ones."""
        return self._placements.taken(minutes, inc)
