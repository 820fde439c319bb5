"""The shard of each series, computed once: hashing its three names costs more than a fold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tables.names import SeriesNames
from tables.row_table import RowTable, mixed
from tables.table import ShardOf

_SERIES_MAX = 1 << 20
"""Remembered series; beyond them it begins anew: 40 MB at most."""


class SeriesShards:
    """A cache over `ShardOf`, by series key. Keys change their meaning when names are
    renumbered: `clear` it then."""

    def __init__(self, shard_of: ShardOf) -> None:
        self._shard_of = shard_of
        self.clear()

    def clear(self) -> None:
        self._table = RowTable()
        self._keys = np.empty(1024, np.int64)
        self._shards = np.empty(1024, np.int32)

    @property
    def bytes_used(self) -> int:
        return self._table.bytes_used + self._keys.nbytes + self._shards.nbytes

    def of(self, names: SeriesNames, keys: NDArray[np.int64]) -> NDArray[np.int32]:
        """Shard of each of these distinct series."""
        hashes = mixed(keys)
        rows = self._table.find(hashes, lambda rows, index: self._keys[rows] == keys[index])
        missing = np.flatnonzero(rows < 0)
        shards = self._shards[np.maximum(rows, 0)]
        if len(missing):
            shards[missing] = self._shard_of(*names.series(keys[missing]))
            self._remember(hashes[missing], keys[missing], shards[missing])
        return shards

    def _remember(
        self, hashes: NDArray[np.uint64], keys: NDArray[np.int64], shards: NDArray[np.int32]
    ) -> None:
        if len(self._table) + len(keys) > _SERIES_MAX:
            self.clear()
        first = len(self._table)
        end = first + len(keys)
        if end > len(self._keys):
            self._keys = np.resize(self._keys, max(2 * len(self._keys), end))
            self._shards = np.resize(self._shards, len(self._keys))
        self._keys[first:end] = keys
        self._shards[first:end] = shards
        self._table.add(hashes, np.arange(first, end))
