"""Movers, and engines and rebuilds beside them, that lose or double rows (docs/protocols/shard_moves.md,
rebuild.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from streams.connect.sinks.map_record import DayState
from streams.connect.sinks.moves.store import Portion
from streams.core.rows.built_in_tables import WINDOW_TABLES
from streams.dev.simulation.operators import moves
from streams.dev.simulation.operators.moves import _Readers
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.state.placements import Placements
from streams.engine.windows.aggregated.aggregate_table import AggregateTable
from streams.operate.rebuild import homes
from streams.operate.rebuild.homes import Homes
from streams.operate.rebuild.rebuild import _Rebuild
from streams.operate.shards.mover import Mover

_portions = Mover._portions
_copy = Mover._copy
_sampled = Mover._sampled
_home = Homes.of


async def _not_awaited(*arguments: Any) -> bool:
    """M4 is left out: partitions still place windows of the day by older maps."""
    del arguments
    return True


def _no_mark(self: Placements, minutes: Any) -> None:
    """Rows do not say which move placed their windows."""
    del self, minutes


def _none_over(self: Placements, minutes: Any, inc: Any) -> Any:
    """Evicted incarnations that a restore finds again are sent to where the move places them."""
    del self, inc
    return np.zeros(len(minutes), np.bool_)


def _one_skipped(self: Mover, day: int) -> Iterator[Portion]:
    return iter([*_portions(self, day)][1:])


def _shown_first(self: Mover, day: int) -> None:
    """Readers take copies that are not made yet."""
    self._store.enter(day, DayState.SHOWN)
    _copy(self, day)


def _deleted_first(self: Mover, day: int) -> bool:
    """Originals go while readers still take them."""
    self._store.delete_originals(day)
    return _sampled(self, day)


def _not_sampled(self: Mover, day: int) -> bool:
    del self, day
    return True


def _for_ever(self: _Readers) -> None:
    """Readers go by older states than a mover waits for."""
    del self


def _home_of_now(self: Homes, names: Any, w: Any, inc: Any) -> Any:
    """A lost row comes back where its window would be placed if it began now."""
    return _home(self, names, w, np.full_like(inc, np.iinfo(np.uint64).max))


def _never_brought(maps: Any, names: Any, days: Any, shard: Any, moved: Any) -> Any:
    """A lost row comes back where it was first placed."""
    del maps, names, days
    return shard, moved


async def _no_moves(self: _Rebuild) -> tuple[()]:
    """Days are rebuilt while they move."""
    await self.means.shards.learn()
    return ()


def _none_live(self: AggregateTable, first_day: int, last_day: int) -> bool:
    """A move is taken while windows of its days are open, whose rows older maps have placed."""
    del self, first_day, last_day
    return False


def _keys_skipped(self: Mover, day: int) -> Iterator[Portion]:
    """Rows of `app.windows` stay behind, and are deleted."""
    return (one for one in _portions(self, day) if one.table in WINDOW_TABLES)


OF_APPS: Mapping[str, Variant] = {
    "move_taken_with_open_windows": replaced(AggregateTable, has_windows=_none_live),
    "windows_left_behind_by_a_move": replaced(Mover, _portions=_keys_skipped),
}
"""Found by the simulation of any app with `app.windows`."""

VARIANTS: Mapping[str, Variant] = {
    "move_not_awaited": replaced(moves, all_took=_not_awaited),
    "rows_without_their_move": replaced(Placements, marks=_no_mark),
    "evicted_incarnations_brought_back": replaced(Placements, over=_none_over),
    "portion_skipped": replaced(Mover, _portions=_one_skipped, _sampled=_not_sampled),
    "day_shown_before_its_copies": replaced(Mover, _copy=_shown_first),
    "originals_deleted_before_the_day_is_shown": replaced(Mover, _sampled=_deleted_first),
    "readers_by_older_maps": replaced(_Readers, given_time=_for_ever),
    "lost_rows_placed_as_if_they_began_now": replaced(Homes, of=_home_of_now),
    "lost_rows_never_brought": replaced(homes, brought=_never_brought),
    "days_rebuilt_while_they_move": replaced(_Rebuild, _settled_moves=_no_moves),
}
