"""The shard maps that a partition has taken, and which of them places a window.

The laws (docs/protocols/shard_maps.md):

 1.  the windows of one partition and UTC day are placed by one map, for ever
 2.  a map that a partition takes begins after every day of which the partition has folded an event
 3.  the maps of a chain are the first of the recorded maps, in their order; none is taken twice

So a row key, which names its partition, is written to one shard, whatever the clocks say and
however late the partition learns of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.core.rows.dated_map import DatedMap, MapIdentity, ShardOf

MINUTES_PER_DAY = 1440


class TakenMap(msgspec.Struct, array_like=True, frozen=True):
    """A later map in a chain. ``map``: text of its `MapIdentity`. ``first_day``: the first day of
    windows that this partition places by it, in days since 1970."""

    map: str
    first_day: int


def take(
    taken: Sequence[TakenMap], maps: Sequence[DatedMap], last_day: int
) -> tuple[TakenMap, ...]:
    """``taken`` and the rest of ``maps`` (the first one included), given the last day of which an
    event was folded."""
    result = list(taken)
    for later in maps[1 + len(taken) :]:
        before = result[-1].first_day if result else 0
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


class Placements:
    """The maps of one partition, numbered in their order. The first holds for every day."""

    def __init__(self, shards: int, shard_of: ShardOf) -> None:
        self.shards = shards
        self._shard_of = [shard_of]
        self._first_minutes = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return len(self._shard_of)

    def add(self, first_day: int, shards: int, shard_of: ShardOf) -> None:
        self.shards = max(self.shards, shards)
        self._shard_of.append(shard_of)
        self._first_minutes = np.append(self._first_minutes, first_day * MINUTES_PER_DAY)

    def numbers(self, minutes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the map of each window, given its start in minutes since 1970."""
        found = np.searchsorted(self._first_minutes, minutes, side="right") - 1
        return np.maximum(found, 0)

    def shard_of(self, number: int) -> ShardOf:
        return self._shard_of[number]
