"""What the runtime asks of a table: load, fold (the table's own verbs), delta, rewrite.

A table is one partition's memory of something. Its state is a set of entries, key to value, and
an entry always replaces its key's whole value, so applying entries in log order, any number of
times, gives the same state. What an agent folds into it stays in memory until `delta`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from streams.core.derived_files import Files
from streams.core.rows.targets import Targets
from streams.core.settings import Settings

Entry: TypeAlias = tuple[bytes, bytes | None]
"""Key and its new value; None deletes the key."""

MAX_ENTRY_BYTES = 880 << 10
"""An entry must fit one changelog record of 900 KiB with its header: tables cut their state
into entries below this."""


class Table(Protocol):
    """One partition's state of one kind."""

    @property
    def bytes_used(self) -> int:
        """Memory it holds, to within a fifth."""
        ...

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Fill the empty table from every live entry, in key order (A3)."""
        ...

    def delta(self, seq: int) -> list[Entry]:
        """Encode, once, all that changed since the last call, for commit ``seq`` (C2).

        The values are copies: what is folded later does not show in them. The table counts the
        entries as committed from here on; a commit that fails drops the whole table.
        """
        ...

    def rewrite(self, key: bytes, value: bytes) -> None:
        """Put what still lives of this entry into the next delta, so that the old copy in the
        changelog can be trimmed."""
        ...


@runtime_checkable
class FiledTable(Table, Protocol):
    """A table that derives files from its entries, so that a start need not read them all.

    `load` takes the entries in any number of calls: a restore of any size needs little memory.
    """

    def adopt(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        """Open the files that stand for some of these live keys, all there are, in order.
        Returns the keys whose entries `load` must still be given (A3)."""
        ...


ShardOf: TypeAlias = Callable[[Sequence[str], Sequence[str], Sequence[str]], NDArray[np.int32]]
"""Shard of each series, given its tenants, models and metrics as parallel sequences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableContext:
    """What a table may know of the partition it serves."""

    partition: int
    epoch: int
    shards: int
    shard_of: ShardOf
    settings: Settings
    files: Files
    targets: Targets


T_co = TypeVar("T_co", bound=Table, covariant=True)


@dataclass(frozen=True, slots=True)
class TableSpec(Generic[T_co]):
    """A declared table: ``prefix`` is its one-byte name in the store and in the changelog,
    ``build`` makes an empty instance for one partition."""

    name: str
    prefix: bytes
    build: Callable[[TableContext], T_co]
