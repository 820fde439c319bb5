"""Where a row that no shard has lay: the shard and ``moved`` of its key, which follow from its ``inc``.

The partition's chain says what placed it, the states of the moves where it was brought (law 5 of
docs/protocols/rebuild.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.core.rows.dated_map import DAY_S, DatedMap
from streams.core.rows.moved_home import brought
from streams.engine.state.placements import MINUTES_PER_DAY, Placements, TakenMap

_MINUTE_S = DAY_S // MINUTES_PER_DAY


class Homes:
    """Of the rows of one partition. ``maps``: as the servers record them; no day of the rows is
    moving. ``taken``: by the partition's last commit."""

    def __init__(self, maps: Sequence[DatedMap], taken: Sequence[TakenMap]) -> None:
        self._maps = maps
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
        """Shard and ``moved`` of each row. ``names``: tenants, models, metrics; ``w`` in seconds."""
        minutes = w // _MINUTE_S
        numbers = self._placements.numbers(minutes, inc)
        shard = np.zeros(len(w), np.int64)
        for number in np.unique(numbers).tolist():
            its = np.flatnonzero(numbers == number)
            columns = ([column[row] for row in its.tolist()] for column in names)
            shard[its] = self._placements.shard_of(number)(*columns)
        moved = self._placements.marks_of(numbers)
        return brought(self._maps, names, w // DAY_S, shard, moved)

    def times(self, minutes: NDArray[np.int64], inc: NDArray[np.uint64]) -> NDArray[np.int64]:
        """How many moves of its day the partition had taken when an incarnation began with
        ``inc``. Of one window, incarnations with different numbers are different ones."""
        return self._placements.taken(minutes, inc)
