"""A shard map as the servers record it, with the addresses of its shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import IntEnum
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from xxhash import xxh3_64_hexdigest

from streams.connect.sinks.sharding import (
    DirectorySharding,
    HashSharding,
    RangeSharding,
    ShardMap,
    Strategy,
    WholeStrategy,
    WithoutShards,
)
from streams.core.rows.dated_map import DAY_S, DatedMap, MapIdentity

READ = "SELECT map, in_force FROM shard_maps_local FINAL ORDER BY version, in_force DESC, at"
WRITE = (
    "INSERT INTO shard_maps_local (version, digest, map, in_force) "
    "SELECT {version:UInt32}, {digest:String}, {map:String}, {in_force:UInt8}"
)
WITHDRAW = (
    "ALTER TABLE shard_maps_local DELETE WHERE version = {version:UInt32} AND in_force = 0 "
    "SETTINGS mutations_sync = 2"
)

READ_DAYS = "SELECT version, day, max(state) FROM shard_moves_local GROUP BY version, day"
WRITE_DAY = (
    "INSERT INTO shard_moves_local (version, day, state) "
    "SELECT {version:UInt32}, {day:UInt32}, {state:UInt8}"
)


class MapRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``version`` counts the maps from 1. ``first_day``: the planned first UTC day of
    window time, in days since 1970; 0 for the first map. ``urls``: of every shard, the
    addresses of its replicas when the map was recorded."""

    version: int
    first_day: int
    shards: int
    urls: tuple[tuple[str, ...], ...]
    strategy: str = "hash"
    weights: tuple[int, ...] = ()
    """of the shards, for ``hash`` and ``directory``; empty: equal"""
    lower: tuple[str, ...] = ()
    shard: tuple[int, ...] = ()
    """with ``lower``, for ``range``"""
    tenants: dict[str, int] = {}
    """for ``directory``"""
    without: tuple[int, ...] = ()
    """shards whose series are spread over the others"""
    last_day: int | None = None
    """of a move, its last day; None: a map without end"""

    @classmethod
    def of(
        cls,
        shard_map: ShardMap,
        urls: Sequence[Sequence[str]],
        *,
        version: int = 1,
        first_day: int = 0,
        last_day: int | None = None,
    ) -> MapRecord:
        given: dict[str, Any] = dict(shard_map.strategy.parameters())
        return cls(
            version=version,
            first_day=first_day,
            shards=shard_map.shards,
            urls=tuple(tuple(map(_without_login, group)) for group in urls),
            strategy=given["strategy"],
            weights=tuple(given.get("weights", ())),
            lower=tuple(given.get("lower", ())),
            shard=tuple(given.get("shard", ())),
            tenants=dict(given.get("tenants", {})),
            without=tuple(given.get("without", ())),
            last_day=last_day,
        )

    @property
    def shard_map(self) -> ShardMap:
        return ShardMap(self.shards, self._strategy(), self.version)

    @property
    def day(self) -> str:
        """Its days as people write them."""
        first = day_text(self.first_day)
        return first if self.last_day is None else f"{first}..{day_text(self.last_day)}"

    @property
    def days(self) -> range:
        """Of a move; of another map none."""
        return range(0) if self.last_day is None else range(self.first_day, self.last_day + 1)

    @property
    def identity(self) -> MapIdentity:
        """What a chain names: of a move also its days."""
        placed = self.shard_map.identity
        if self.last_day is None:
            return placed
        digest = xxh3_64_hexdigest(f"{placed.digest} {self.first_day} {self.last_day}".encode())
        return MapIdentity(digest, f"move of {self.day} to {placed.description}")

    def parameters(self, *, in_force: bool) -> Mapping[str, Any]:
        """Of `WRITE`."""
        return {
            "version": self.version,
            "digest": self.shard_map.identity.digest,
            "map": msgspec.json.encode(self).decode(),
            "in_force": int(in_force),
        }

    def _strategy(self) -> Strategy:
        inner = self._inner()
        return WithoutShards(self.shards, inner, self.without) if self.without else inner

    def _inner(self) -> WholeStrategy:
        if self.strategy == "range":
            return RangeSharding(self.lower, self.shard)
        hashed = HashSharding(self.shards, self.weights)
        return DirectorySharding(self.tenants, hashed) if self.strategy == "directory" else hashed


class DayState(IntEnum):
    """Of one day of a move (docs/protocols/shard_moves.md); it only rises."""

    COPYING = 0
    SHOWN = 1
    """readers take the copies"""
    RETURNED = 2
    """given up, before or after it was shown: readers take the rows that are where they were"""
    CLEANING = 3
    """the copies were compared once more, the originals may be deleted"""
    DONE = 4


SHOWN = frozenset({DayState.SHOWN, DayState.CLEANING, DayState.DONE})
"""The states in which readers take the copies."""


@dataclass(frozen=True, slots=True)
class RecordedMap:
    """``in_force``: every server has the record, so writers may use the map. ``states``: of the days
    of a move, those above `DayState.COPYING`."""

    record: MapRecord
    in_force: bool
    states: Mapping[int, DayState] = field(default_factory=dict)

    def state(self, day: int) -> DayState:
        return self.states.get(day, DayState.COPYING)

    @property
    def shown(self) -> list[int]:
        """The days of which readers take the copies."""
        return [day for day in self.record.days if self.state(day) in SHOWN]

    @property
    def returned(self) -> list[int]:
        """The days of which readers take the originals for good."""
        return [day for day in self.record.days if self.state(day) == DayState.RETURNED]

    @property
    def unfinished(self) -> frozenset[int]:
        over = (DayState.DONE, DayState.RETURNED)
        return frozenset(day for day in self.record.days if self.state(day) not in over)

    def dated(self) -> DatedMap:
        record = self.record
        return DatedMap(
            record.identity,
            record.shards,
            record.shard_map.shard_of,
            record.shard_map.shard_of_key,
            record.first_day,
            record.last_day,
            self.unfinished,
            frozenset(self.returned),
        )


def _without_login(url: str) -> str:
    """User and password are settings of each process."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def read(rows: Sequence[Sequence[Any]], days: Sequence[Sequence[Any]] = ()) -> list[RecordedMap]:
    """The maps in the result of `READ`, one a version: the one in force, else the first. ``days``:
    the result of `READ_DAYS`."""
    states: defaultdict[int, dict[int, DayState]] = defaultdict(dict)
    for version, day, state in days:
        states[int(version)][int(day)] = DayState(int(state))
    found: dict[int, RecordedMap] = {}
    for text, in_force in rows:
        record = msgspec.json.decode(text, type=MapRecord)
        known = RecordedMap(record, bool(in_force), states[record.version])
        found.setdefault(record.version, known)
    return [found[version] for version in sorted(found)]


def day_of(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def day_text(first_day: int) -> str:
    if not first_day:
        return "always"
    return f"{datetime.fromtimestamp(first_day * DAY_S, UTC):%Y-%m-%d}"
