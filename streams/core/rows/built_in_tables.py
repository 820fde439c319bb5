"""Rows for ClickHouse as columns, and the `ShardSet` that stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.dated_map import DatedMap, MapIdentity

Bucket: TypeAlias = Literal["h1", "d1"]
WindowTable: TypeAlias = Literal["m1", "h1", "d1"]
WINDOW_TABLES: tuple[WindowTable, ...] = ("m1", "h1", "d1")

OFFSET_BITS = 48
"""Of a window row's ``inc`` or ``ver``: the lower bits are a source offset + 1, the upper ones the
epoch. At a million records per second a partition's offsets last nine years."""
OFFSET_END = (1 << OFFSET_BITS) - 1
"""one past the highest source offset of a window row"""
_COMMIT_BITS = 40
"""Of a fact's ``ver``: the lower bits are the commit's number; at ten per second they last 3,000
years. The sum stays below 2^53, since Redis and JavaScript use doubles."""
EPOCH_END = 1 << (53 - _COMMIT_BITS)
"""one past the highest epoch of both kinds of version"""


def version_of(epoch: int, number: int) -> int:
    """A window row's ``inc`` or ``ver``. ``number`` is a source offset + 1, at most
    `OFFSET_END`."""
    return epoch << OFFSET_BITS | number


def commit_version(epoch: int, seq: int) -> int:
    """The ``ver`` of a fact, a ledger row or a cached value: below 2^53."""
    return epoch << _COMMIT_BITS | seq


def epoch_of(version: int) -> int:
    return version >> OFFSET_BITS


def offset_of(version: int) -> int:
    """In a row's ``inc`` (first folded) or ``ver`` (last folded)."""
    return (version & OFFSET_END) - 1


def offsets_of(versions: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (versions & np.uint64(OFFSET_END)).astype(np.int64) - 1


def rebuilt_version(generation: int, version: int) -> int:
    """The ``ver`` of a rebuilt window row. ``version``: that of its records in its epoch.

    Generations begin at `EPOCH_END`: a rebuilt row outranks every row that the engine wrote for the
    same incarnation, and one of an earlier rebuild."""
    return generation << OFFSET_BITS | version & OFFSET_END


MAP_HINT = (
    "Stored rows stay where a recorded map put them: set DIA_CLICKHOUSE_SHARDS (number and order) "
    "and DIA_SHARDING to the values of a recorded map; `dia shards list` shows the maps, `dia "
    "config show --explain` the source of each setting. `dia shards plan add` adds a shard."
)


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Rows of one shard for `m1` (or `h1` and `d1`, for windows older than m1's retention).

    Row i is the full state of one incarnation of a window at version ``ver[i]``: inserting it
    twice, or after a newer version, has no effect. It has tenant ``tenants[tenant_code[i]]``, and
    the sketch ``sk_k/sk_n[sk_off[i]:sk_off[i + 1]]``, codes ascending."""

    table: WindowTable
    shard: int
    part: int
    tenants: Sequence[str]
    models: Sequence[str]
    metrics: Sequence[str]
    tenant_code: NDArray[np.int32]
    model_code: NDArray[np.int32]
    metric_code: NDArray[np.int32]
    w: NDArray[np.uint32]
    """window start, seconds since the epoch"""
    inc: NDArray[np.uint64]
    n: NDArray[np.uint64]
    s1: NDArray[np.float64]
    """sum"""
    s2: NDArray[np.float64]
    """sum of squares"""
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    """sum of squared deviations from the mean"""
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]
    lv: NDArray[np.float64]
    lt: NDArray[np.int64]
    """time of the last value, milliseconds since the epoch"""
    sk_off: NDArray[np.int32]
    sk_k: NDArray[np.int16]
    sk_n: NDArray[np.uint32]
    ver: NDArray[np.uint64]
    moved: int = 0
    """the move that placed the rows, or brought them to the shard; 0: none
    (`streams.core.rows.moved_mark`)"""

    def __len__(self) -> int:
        return len(self.ver)


@dataclass(frozen=True, slots=True)
class FactRows:
    """Rows of one shard and declared table, idempotent by the table's key and ``ver``. Columns are
    lists of equal length."""

    declared: ClickHouseTable
    shard: int
    columns: Mapping[str, Sequence[Any]]

    @property
    def table(self) -> str:
        return self.declared.name

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


Rows: TypeAlias = WindowRows | FactRows


class RowsRefused(Exception):  # noqa: N818 - an answer about some rows, not a failure of the call
    """Every row but ``indexes`` is stored; those can never be, for ``reason``. They count over the
    concatenated chunks of `ShardSet.insert`."""

    def __init__(self, indexes: Sequence[int], reason: str) -> None:
        super().__init__(reason)
        self.indexes = list(indexes)
        self.reason = reason


class ShardSet(Protocol):
    """The ClickHouse shards. A method returns once the shard holds the effect.

    Raises `ShardUnavailable` or `PoolExhausted` (retry later), `ShardBusy` (code 252: slow down),
    `RowsRefused`, and `ShardMapChanged` when another map placed a server's rows. Repeating an
    insert is harmless."""

    @property
    def count(self) -> int:
        """Shards of the newest map in force; it may grow by `learn`."""
        ...

    @property
    def tables(self) -> Mapping[str, ClickHouseTable]:
        """Tables that `insert` takes besides window rows."""
        ...

    @property
    def identity(self) -> MapIdentity:
        """Of the first map."""
        ...

    @property
    def maps(self) -> Sequence[DatedMap]:
        """The maps in force, the first one first: those that the servers record, or before an
        answer the one that the settings name."""
        ...

    @property
    def confirmed(self) -> bool: ...

    async def learn(self, *, certain: bool = False) -> None:
        """Read the servers' record of maps; `maps` and `count` may grow. While no server says it: does
        nothing; with ``certain``, for a caller that would act wrongly by older maps, raises
        `ShardUnavailable`. Raises `ShardMapChanged` when the record does not know this process's
        map."""
        ...

    def shard_of_key(self, key: str) -> int:
        """The shard of a fact row, by its own key: facts stay where the first map puts them."""
        ...

    async def insert(self, shard: int, chunks: Sequence[Rows]) -> None:
        """Store all chunks (of one table) in one acknowledged insert."""
        ...

    async def roll_up(self, shard: int, table: Bucket, start_s: int) -> None:
        """Recompute the hour that starts at ``start_s`` from its minutes, or the day from its
        hours, on a replica with all acknowledged rows."""
        ...

    async def ping(self, shard: int) -> None:
        """Return once the shard has answered."""
        ...

    async def close(self) -> None: ...
