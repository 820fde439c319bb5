"""The replicas of one in-memory shard: they acknowledge before they replicate, lag, go away and die.

A replica that is neither away nor lagging has every row at once. One that lags has what is given to
it, and the rest when it catches up. A dead one is replaced by an empty one, which copies what the
others have: rows that only the dead one had are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
"""Column name to value. Window rows hold ``sk_k`` and ``sk_n`` as lists."""


class MemoryReplica:
    """``keys``: of each table, the columns of a row's key."""

    def __init__(self, keys: Mapping[str, tuple[str, ...]]) -> None:
        self.away = False
        """it answers nothing"""
        self.lagging = False
        """it does not fetch what other replicas take"""
        self.tables: dict[str, dict[tuple[Any, ...], Row]] = {name: {} for name in keys}
        self._keys = keys

    def migrate(self, keys: Mapping[str, tuple[str, ...]]) -> None:
        """Have these tables too."""
        self._keys = {**self._keys, **keys}
        for name in keys:
            self.tables.setdefault(name, {})

    def put(self, table: str, row: Row) -> None:
        """Keep the row, unless one of a higher version is there."""
        stored = self.tables[table]
        key = tuple(row[name] for name in self._keys[table])
        if key not in stored or stored[key]["ver"] <= row["ver"]:
            stored[key] = row

    def die(self) -> None:
        """Lose everything; an empty replica takes its place."""
        self.away = self.lagging = False
        self.tables = {name: {} for name in self._keys}

    def copy(self, other: MemoryReplica) -> None:
        """Fetch what another replica has."""
        for table, rows in other.tables.items():
            for row in rows.values():
                self.put(table, row)


def spread(replicas: Sequence[MemoryReplica], rows: Sequence[tuple[str, Row]]) -> int:
    """Give the rows to the first replica that answers, which hands them on. Returns how many
    replicas have them."""
    there = [replica for replica in replicas if not replica.away]
    holders = there[:1] + [replica for replica in there[1:] if not replica.lagging]
    for replica in holders:
        for table, row in rows:
            replica.put(table, row)
    return len(holders)


def catch_up(replicas: Sequence[MemoryReplica]) -> None:
    """Every replica that is neither away nor lagging fetches what the others have."""
    for replica in replicas:
        if not replica.away and not replica.lagging:
            for other in replicas:
                if other is not replica and not other.away:
                    replica.copy(other)


def synced(replicas: Sequence[MemoryReplica]) -> MemoryReplica | None:
    """A replica that has everything the others have; None where none can have it now."""
    if len(replicas) == 1:
        return None if replicas[0].away else replicas[0]
    if any(replica.away for replica in replicas):
        # What it took last, the others may still have to fetch.
        return None
    catch_up(replicas)
    return next((replica for replica in replicas if not replica.lagging), None)


def shown(replicas: Sequence[MemoryReplica], table: str) -> Iterable[Row]:
    """The rows that any replica has, newest versions: what all of them show when they are in step."""
    if len(replicas) == 1:
        return replicas[0].tables[table].values()
    newest: dict[tuple[Any, ...], Row] = {}
    for replica in replicas:
        for key, row in replica.tables[table].items():
            if key not in newest or newest[key]["ver"] < row["ver"]:
                newest[key] = row
    return newest.values()
