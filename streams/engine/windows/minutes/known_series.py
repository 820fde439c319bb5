"""The live series of a partition: shards, and counts by tenant.

A series lives until a whole generation, in append time, has passed without a new window of it: 10
to 20 minutes after its last. Its shard is computed once in its life for each shard map that places
windows of it: hashing three names costs more than a fold.

A tenant has a share of the series bound (streams/engine/state/shares.py) and a limit of new series
in a minute of append time. Tenants far from both are not looked up. Series are kept in memory only:
after a restart, those without a live window are new again.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.core.rows.dated_map import ShardOf
from streams.engine.state.row_table import RowTable, mixed
from streams.engine.state.runs import run_starts
from streams.engine.windows.minutes.names import CODE_BITS, SeriesNames

GENERATION_MS: Final = 600_000
_MINUTE_MS: Final = 60_000
_TENANT_SHIFT: Final = 2 * CODE_BITS


class SeriesQuota(NamedTuple):
    """``bound``: live series of the partition. ``quota``: those of one tenant, 0: its share of the
    bound. ``new_a_minute``: those that one tenant may begin."""

    bound: int
    quota: int = 0
    new_a_minute: int = 1 << 30


class _Generation:
    """A row a series, with its shard by each of ``maps`` maps; -1: not computed."""

    def __init__(self, maps: int) -> None:
        self._table = RowTable()
        self._keys = np.empty(1024, np.int64)
        self._shards = np.empty((1024, maps), np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def bytes_used(self) -> int:
        return self._table.bytes_used + self._keys.nbytes + self._shards.nbytes

    @property
    def keys(self) -> NDArray[np.int64]:
        return self._keys[: self._count]

    @property
    def shards(self) -> NDArray[np.int32]:
        """One row a series, one column a map."""
        return self._shards[: self._count]

    def find(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each key, or -1."""
        if kernels.active is not None:
            rows = np.empty(len(keys), np.int64)
            kernels.active.find_series(*self._table.entries, keys, self._keys, rows)
            return rows
        return self._table.find(mixed(keys), lambda rows, index: self._keys[rows] == keys[index])

    def shards_of(self, keys: NDArray[np.int64]) -> NDArray[np.int32]:
        """A row for each key; -1 for an unknown one."""
        rows = self.find(keys)
        found = self._shards[np.maximum(rows, 0)]
        found[rows < 0] = -1
        return found

    def add(self, keys: NDArray[np.int64], shards: NDArray[np.int32]) -> NDArray[np.int64]:
        """Their row numbers."""
        first, end = self._count, self._count + len(keys)
        if end > len(self._keys):
            self._keys = np.resize(self._keys, max(2 * len(self._keys), end))
            self._shards = np.resize(self._shards, (len(self._keys), self._shards.shape[1]))
        self._keys[first:end] = keys
        self._shards[first:end] = shards
        self._count = end
        rows = np.arange(first, end)
        self._table.add(mixed(keys), rows)
        return rows

    def add_map(self) -> None:
        none = np.full(len(self._shards), -1, np.int32)
        self._shards = np.column_stack([self._shards, none])


class KnownSeries:
    """Keys change when names are renumbered: `renumber`."""

    def __init__(self, shard_of: ShardOf, quota: SeriesQuota) -> None:
        """``shard_of``: by the first map."""
        self._shard_of = [shard_of]
        self._quota = quota
        self._young = self._generation()
        self._old = self._generation()
        self._began_ms = 0
        self._minute = 0
        self._alive = np.zeros(64, np.int64)
        """by tenant code"""
        self._new = np.zeros(64, np.int64)
        """of those, the ones that began in ``_minute``"""
        self._total = 0

    def __len__(self) -> int:
        return self._total

    @property
    def bytes_used(self) -> int:
        return self._young.bytes_used + self._old.bytes_used

    # --- quotas ------------------------------------------------------------------------------

    def beyond(self, keys: NDArray[np.int64], at_ms: int) -> NDArray[np.bool_] | None:
        """Which records are over quota, given each one's series in log order; None: none.

        ``at_ms`` is the append time of the last record. Counts nothing.
        """
        self._pass_time(at_ms)
        tenants = keys >> _TENANT_SHIFT
        counts = np.bincount(tenants)
        self._reach(len(counts))
        present = np.flatnonzero(counts)
        rooms = self._rooms(present, counts[present])
        over = counts[present] > rooms
        if not over.any():
            return None
        rows = np.flatnonzero(np.isin(tenants, present[over]))
        series, first, place = np.unique(keys[rows], return_index=True, return_inverse=True)
        unknown = np.flatnonzero(~self._knows(series))
        owner = series[unknown] >> _TENANT_SHIFT
        order = np.lexsort((first[unknown], owner))
        unknown, owner = unknown[order], owner[order]
        starts = run_starts(owner)
        rank = np.arange(len(owner)) - np.repeat(starts, np.diff(starts, append=len(owner)))
        room = np.zeros(len(counts), np.int64)
        room[present] = rooms
        refused_series = np.zeros(len(series), np.bool_)
        refused_series[unknown[rank >= room[owner]]] = True
        refused = np.zeros(len(keys), np.bool_)
        refused[rows] = refused_series[place]
        return refused if refused.any() else None

    def _rooms(self, tenants: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many series each tenant may begin now (`streams.engine.state.shares.room`), given its
        number of records."""
        bound, quota, new_a_minute = self._quota
        alive, free = self._alive[tenants], bound - self._total
        if counts.sum() > free:
            rooms = np.zeros(len(tenants), np.int64)
            for index, count in enumerate(counts.tolist()):  # what one takes is no longer free
                rooms[index] = max(0, (free - int(alive[index]) + 1) // 2)
                free -= min(count, int(rooms[index]))
        else:
            rooms = (free - alive + 1) // 2
        if quota:
            rooms = np.minimum(rooms, quota - alive)
        return np.maximum(0, np.minimum(rooms, new_a_minute - self._new[tenants]))

    def _knows(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        known: NDArray[np.bool_] = (self._young.find(keys) >= 0) | (self._old.find(keys) >= 0)
        return known

    # --- what is alive -----------------------------------------------------------------------

    def add_map(self, shard_of: ShardOf) -> None:
        """One more shard map, whose number is the next."""
        self._shard_of.append(shard_of)
        self._young.add_map()
        self._old.add_map()

    def of(self, names: SeriesNames, keys: NDArray[np.int64], number: int = 0) -> NDArray[np.int32]:
        """Shard of each of these distinct series by map ``number``; they are live from now on."""
        rows = self._young.find(keys)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            rows[missing] = self._begin(keys[missing])
        shards: NDArray[np.int32] = self._young.shards[rows, number]
        unknown = np.flatnonzero(shards < 0)
        if len(unknown):
            shards[unknown] = self._shard_of[number](*names.series(keys[unknown]))
            self._young.shards[rows[unknown], number] = shards[unknown]
        return shards

    def _generation(self) -> _Generation:
        return _Generation(len(self._shard_of))

    def _begin(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Their rows in the young generation."""
        new = np.flatnonzero(self._old.find(keys) < 0)
        if len(new):
            counts = np.bincount(keys[new] >> _TENANT_SHIFT)
            self._reach(len(counts))
            self._alive[: len(counts)] += counts
            self._new[: len(counts)] += counts
            self._total += len(new)
        return self._young.add(keys, self._old.shards_of(keys))

    def _pass_time(self, at_ms: int) -> None:
        # abs(): the clock of a broker may go back after it was ahead.
        if at_ms // _MINUTE_MS != self._minute:
            self._minute = at_ms // _MINUTE_MS
            self._new[:] = 0
        if abs(at_ms - self._began_ms) < GENERATION_MS:
            return
        self._began_ms = at_ms
        gone = self._old.keys[self._young.find(self._old.keys) < 0]
        counts = np.bincount(gone >> _TENANT_SHIFT)
        self._alive[: len(counts)] -= counts
        self._total -= len(gone)
        self._old, self._young = self._young, self._generation()

    # --- renumbered names --------------------------------------------------------------------

    @property
    def keys(self) -> NDArray[np.int64]:
        """Keys of all live series, some of them twice."""
        return np.concatenate([self._young.keys, self._old.keys])

    def keep_only(self, keys: NDArray[np.int64]) -> None:
        """Forget all other series; keys may repeat."""
        kept = np.unique(keys)
        shards = np.maximum(self._young.shards_of(kept), self._old.shards_of(kept))
        self._young, self._old = self._generation(), self._generation()
        self._young.add(kept, shards)
        counts = np.bincount(kept >> _TENANT_SHIFT)
        self._reach(len(counts))
        self._alive[:] = 0
        self._alive[: len(counts)] = counts
        self._total = len(kept)

    def renumber(self, keys: NDArray[np.int64]) -> None:
        """Replace the keys; ``keys`` are the new ones in the order of the property `keys`."""
        before, tenants = self.keys, keys >> _TENANT_SHIFT
        alive, new = self._alive, self._new
        self._alive, self._new = np.zeros(64, np.int64), np.zeros(64, np.int64)
        if len(keys):
            self._reach(int(tenants.max()) + 1)
            self._alive[tenants] = alive[before >> _TENANT_SHIFT]
            self._new[tenants] = new[before >> _TENANT_SHIFT]
        count = len(self._young)
        young, old = self._young, self._old
        self._young, self._old = self._generation(), self._generation()
        self._young.add(keys[:count], young.shards)
        self._old.add(keys[count:], old.shards)

    def _reach(self, tenants: int) -> None:
        if tenants > len(self._alive):
            grown = max(tenants, 2 * len(self._alive))
            self._alive = np.concatenate(
                [self._alive, np.zeros(grown - len(self._alive), np.int64)]
            )
            self._new = np.concatenate([self._new, np.zeros(grown - len(self._new), np.int64)])
