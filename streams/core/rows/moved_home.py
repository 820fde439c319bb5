"""To which shard moves have brought rows, and their column ``moved`` (docs/protocols/shard_moves.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.core.rows.dated_map import DatedMap
from streams.core.rows.moved_mark import SOURCE_BITS, token


def brought(
    maps: Sequence[DatedMap],
    names: tuple[Sequence[str], Sequence[str], Sequence[str]],
    days: NDArray[np.int64],
    shard: NDArray[np.int64],
    moved: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``shard`` and ``moved`` of each row now, given those with which it was first stored.

    All arguments but ``maps`` are parallel columns; ``names``: tenants, models, metrics. A day of a
    move that is neither finished nor given up counts as moved."""
    shard, moved = shard.copy(), moved.copy()
    for version, one in enumerate(maps, 1):
        if one.last_day is None:
            continue
        at = np.flatnonzero((days >= one.first_day) & (days <= one.last_day))
        at = at[(moved[at] >> SOURCE_BITS < version) & ~np.isin(days[at], [*one.returned])]
        chosen: list[int] = at.tolist()
        target = one.shard_of(*([column[row] for row in chosen] for column in names))
        leaves = target != shard[at]
        at, target = at[leaves], target[leaves]
        moved[at] = token(version, 0) | shard[at]
        shard[at] = target
    return shard, moved
