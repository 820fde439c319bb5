"""Replicas of one in-memory shard. A healthy one has every row at once; a lagging one fetches rows
when it catches up; a dead one is replaced by a copy of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
"""Column name to value. Window rows hold ``sk_k`` and ``sk_n`` as lists."""


class MemoryReplica:
    """``keys``: key columns by table."""

    def __init__(self, keys: Mapping[str, tuple[str, ...]]) -> None:
        self.away = False
        """it refuses all calls"""
        self.lagging = False
        """it does not fetch rows of other replicas"""
        self.tables: dict[str, dict[tuple[Any, ...], Row]] = {name: {} for name in keys}
        self._keys = keys

    def migrate(self, keys: Mapping[str, tuple[str, ...]]) -> None:
        self._keys = {**self._keys, **keys}
        for name in keys:
            self.tables.setdefault(name, {})

    def put(self, table: str, row: Row) -> None:
        stored = self.tables[table]
        key = tuple(row[name] for name in self._keys[table])
        if key not in stored or stored[key]["ver"] <= row["ver"]:
            stored[key] = row

    def die(self) -> None:
        """An empty replica replaces it."""
        self.away = self.lagging = False
        self.tables = {name: {} for name in self._keys}

    def copy(self, other: MemoryReplica) -> None:
        for table, rows in other.tables.items():
            for row in rows.values():
                self.put(table, row)


def spread(replicas: Sequence[MemoryReplica], rows: Sequence[tuple[str, Row]]) -> int:
    """Returns how many replicas have the rows."""
    there = [replica for replica in replicas if not replica.away]
    holders = there[:1] + [replica for replica in there[1:] if not replica.lagging]
    for replica in holders:
        for table, row in rows:
            replica.put(table, row)
    return len(holders)


def catch_up(replicas: Sequence[MemoryReplica]) -> None:
    """Make every available replica that does not lag fetch missing rows."""
    for replica in replicas:
        if not replica.away and not replica.lagging:
            for other in replicas:
                if other is not replica and not other.away:
                    replica.copy(other)


def synced(replicas: Sequence[MemoryReplica]) -> MemoryReplica | None:
    """A replica with all rows of the others, or None."""
    if len(replicas) == 1:
        return None if replicas[0].away else replicas[0]
    if any(replica.away for replica in replicas):
        # it may have rows that the others still have to fetch
        return None
    catch_up(replicas)
    return next((replica for replica in replicas if not replica.lagging), None)


def shown(replicas: Sequence[MemoryReplica], table: str) -> Iterable[Row]:
    """The newest version of each row on any replica: the state after replication."""
    if len(replicas) == 1:
        return replicas[0].tables[table].values()
    newest: dict[tuple[Any, ...], Row] = {}
    for replica in replicas:
        for key, row in replica.tables[table].items():
            if key not in newest or newest[key]["ver"] < row["ver"]:
                newest[key] = row
    return newest.values()
