"""The protocol of tables.

A table's state is a set of entries. An entry replaces the whole value of its key, so applying
entries in log order, any number of times, gives the same state. Changes stay in memory until
`delta`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from streams.core.derived_files import Files
from streams.core.rows.dated_map import ShardOf
from streams.core.rows.targets import Targets
from streams.core.settings import Settings

Entry: TypeAlias = tuple[bytes, bytes | None]
"""Key and value; None deletes the key."""

MAX_ENTRY_BYTES = 880 << 10
"""a changelog record has 900 KiB with its header: tables cut their state into smaller entries"""


class Table(Protocol):
    """One partition's state of one kind."""

    @property
    def bytes_used(self) -> int:
        """Memory use, within a fifth."""
        ...

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Fill the empty table with all live entries, in key order (A3)."""
        ...

    def delta(self, seq: int) -> list[Entry]:
        """Encode the changes since the last call for commit ``seq`` (C2).

        The values are copies. The table then counts them as committed; a failed commit drops the
        table.
        """
        ...

    def rewrite(self, key: bytes, value: bytes) -> None:
        """Put the live part of this entry into the next delta, so that the log can be trimmed."""
        ...


@runtime_checkable
class DatedTable(Table, Protocol):
    """A table of windows, whose rows are placed by the UTC day of their start, in days since 1970."""

    def has_windows(self, first_day: int, last_day: int) -> bool:
        """Whether it will send a row of a window of these days that it has begun."""
        ...


@runtime_checkable
class FiledTable(Table, Protocol):
    """A table that derives files from its entries, so that a start reads few of them.

    `load` may be called several times.
    """

    def adopt(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        """Open the files that stand for some of these live keys (all, in order); the keys that
        `load` still needs (A3)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TableContext:
    """The partition's properties for its tables. ``shards`` and ``shard_of`` are those of the first
    shard map."""

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
    """A declared table. ``prefix``: its one-byte name in store and changelog. ``build`` makes an
    empty table for one partition."""

    name: str
    prefix: bytes
    build: Callable[[TableContext], T_co]
