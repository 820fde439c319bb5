"""Engines that place windows by the wrong shard map (streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from unittest.mock import patch

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.core.rows.dated_map import DatedMap, ShardOfKey
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.runtime.effects import effects
from streams.engine.runtime.restore import state
from streams.engine.state.placements import KeyMap, Placements, TakenMap, key_maps, take


def _newest_everywhere(self: Placements, minutes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Windows of every day are placed by the newest map."""
    return np.full(len(minutes), len(self) - 1)


@contextmanager
def _taken_without_margin() -> Iterator[None]:
    """A map holds from its planned day on, though the partition has windows of it."""

    def at_once(
        taken: Sequence[TakenMap],
        maps: Sequence[DatedMap],
        last_day: int,
        has_windows: Callable[[int, int], bool],
        since: int,
    ) -> tuple[TakenMap, ...]:
        return take(taken, maps, -1, has_windows, since)

    with patch.object(state, "take", at_once):
        yield


@contextmanager
def _taken_again() -> Iterator[None]:
    """The chain's maps are not looked at: each owner takes all anew."""

    def anew(
        taken: Sequence[TakenMap],
        maps: Sequence[DatedMap],
        last_day: int,
        has_windows: Callable[[int, int], bool],
        since: int,
    ) -> tuple[TakenMap, ...]:
        return take((), maps, last_day, has_windows, since)

    with patch.object(state, "take", anew):
        yield


def _placed_by_the_newest(
    times_ms: Sequence[int], first: ShardOfKey, later: Sequence[KeyMap]
) -> Iterator[tuple[ShardOfKey, int]]:
    """Rows of `app.windows` of every day go where the newest map puts their key."""
    del times_ms, first
    return repeat((later[-1].shard_of, 0))


def _days_of_the_plan(taken: Sequence[TakenMap], maps: Sequence[DatedMap]) -> tuple[KeyMap, ...]:
    """The planned day of a map counts, though the partition has rows of it."""
    planned = zip(taken, maps[1:], strict=False)
    return key_maps(
        [msgspec.structs.replace(one, first_day=dated.first_day) for one, dated in planned], maps
    )


VARIANTS: Mapping[str, Variant] = {
    "newest_map_places_all_days": replaced(Placements, numbers=_newest_everywhere),
    "map_taken_without_margin": _taken_without_margin,
    "maps_taken_anew_by_each_owner": _taken_again,
}

OF_APPS: Mapping[str, Variant] = {
    "rows_placed_by_the_newest_map": replaced(effects, _places=_placed_by_the_newest),
    "rows_placed_by_planned_days": replaced(state, key_maps=_days_of_the_plan),
}
"""Found by the simulation of any app with `app.windows`."""
