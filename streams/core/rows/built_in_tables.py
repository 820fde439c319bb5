"""What leaves the pipeline for ClickHouse: rows as columns, and the `ShardSet` that takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.core.rows.clickhouse_table import ClickHouseTable

Bucket: TypeAlias = Literal["h1", "d1"]
WindowTable: TypeAlias = Literal["m1", "h1", "d1"]
WINDOW_TABLES: tuple[WindowTable, ...] = ("m1", "h1", "d1")

OFFSET_BITS = 48
"""Of a window row's ``inc`` or ``ver``: the lower bits hold a source offset + 1, the upper ones the
epoch. One partition with a million records a second has offsets for nine years."""
OFFSET_END = (1 << OFFSET_BITS) - 1
"""One past the highest source offset that a window row can name."""
_COMMIT_BITS = 40
"""Of a fact's ``ver``: the lower bits hold a commit's number. At ten commits a second they last
3,000 years. The sum stays below 2^53, because Redis and JavaScript count in doubles."""
EPOCH_END = 1 << (53 - _COMMIT_BITS)
"""One past the highest epoch that both kinds of version can name."""


def version_of(epoch: int, number: int) -> int:
    """A window row's ``inc`` or ``ver``: of two, the one of the later epoch is the greater.
    ``number`` is a source offset + 1, at most `OFFSET_END`."""
    return epoch << OFFSET_BITS | number


def commit_version(epoch: int, seq: int) -> int:
    """The ``ver`` of a fact, of a ledger row or of a cached value that commit ``seq`` wrote: below
    2^53, and of two, the one of the later epoch is the greater."""
    return epoch << _COMMIT_BITS | seq


def epoch_of(version: int) -> int:
    """The epoch of a window row's ``inc`` or ``ver``."""
    return version >> OFFSET_BITS


def offset_of(version: int) -> int:
    """The source offset in a row's ``inc`` (first folded) or ``ver`` (last folded)."""
    return (version & OFFSET_END) - 1


def offsets_of(versions: NDArray[np.uint64]) -> NDArray[np.int64]:
    """`offset_of` of each."""
    return (versions & np.uint64(OFFSET_END)).astype(np.int64) - 1


MAP_HINT = (
    "The shard map cannot be changed once rows are stored: set DIA_CLICKHOUSE_SHARDS (number and "
    "order) and DIA_SHARDING to what they were; `dia config show --explain` says where each comes "
    "from."
)


@dataclass(frozen=True, slots=True)
class MapIdentity:
    """What is remembered of a shard map, by every server and every changelog: two maps of one
    ``digest`` place every row alike. ``description`` is for people."""

    digest: str
    description: str

    def __str__(self) -> str:
        return f"{self.digest} {self.description}"

    @classmethod
    def parse(cls, text: str) -> MapIdentity:
        """The identity that `str` made ``text`` of."""
        digest, _, description = text.partition(" ")
        return cls(digest, description)


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Rows for `m1` (or, for windows older than m1's retention, `h1` and `d1`) of one shard.

    Row i is the full state of one incarnation of a window at version ``ver[i]``: inserting it
    twice, or after a newer version, changes nothing. Names are dictionary-encoded: row i has
    tenant ``tenants[tenant_code[i]]``. The sketch of row i lies in
    ``sk_k/sk_n[sk_off[i]:sk_off[i + 1]]``, codes ascending.
    """

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

    def __len__(self) -> int:
        return len(self.ver)


@dataclass(frozen=True, slots=True)
class FactRows:
    """Rows of a declared table of one shard, idempotent by the table's own key and ``ver``. Columns
    are lists of equal length, in any order."""

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
    """Every row but ``indexes`` is stored; those the shard will never take, for ``reason``.

    ``indexes`` count over the concatenation of the chunks given to `ShardSet.insert`.
    """

    def __init__(self, indexes: Sequence[int], reason: str) -> None:
        super().__init__(reason)
        self.indexes = list(indexes)
        self.reason = reason


class ShardSet(Protocol):
    """The ClickHouse shards, one by one. A method returns once the shard holds the effect.

    Raises `ShardUnavailable` or `PoolExhausted` (retry later), `ShardBusy` (code 252: slow
    down), `RowsRefused`, and `ShardMapChanged` when a server holds rows that another map placed.
    Inserting again what may already be there is always harmless.
    """

    @property
    def count(self) -> int: ...

    @property
    def tables(self) -> Mapping[str, ClickHouseTable]:
        """The declared tables, by name: what `insert` takes besides rows of windows."""
        ...

    @property
    def identity(self) -> MapIdentity:
        """Of the map that places rows."""
        ...

    @property
    def confirmed(self) -> bool:
        """Some server has said that its rows are placed by this very map."""
        ...

    def shard_of(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> NDArray[np.int32]:
        """The shard of each series (parallel sequences)."""
        ...

    def shard_of_key(self, key: str) -> int:
        """The shard of a fact row, by its own key."""
        ...

    async def insert(self, shard: int, chunks: Sequence[Rows]) -> None:
        """Store the rows of all chunks (same table) in one acknowledged insert."""
        ...

    async def roll_up(self, shard: int, table: Bucket, start_s: int) -> None:
        """Recompute the hour that starts at ``start_s`` from its minutes, or the day from its
        recomputed hours, on a replica that has all that was acknowledged of them."""
        ...

    async def ping(self, shard: int) -> None:
        """Return once the shard answered a question that costs it nothing."""
        ...

    async def close(self) -> None: ...
