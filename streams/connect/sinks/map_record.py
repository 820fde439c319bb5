"""A shard map as the servers record it, with the addresses of its shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from streams.connect.sinks.sharding import (
    DirectorySharding,
    HashSharding,
    RangeSharding,
    ShardMap,
    Strategy,
)
from streams.core.rows.dated_map import DAY_S, DatedMap

READ = "SELECT map, in_force FROM shard_maps_local FINAL ORDER BY version, in_force DESC, at"
WRITE = (
    "INSERT INTO shard_maps_local (version, digest, map, in_force) "
    "SELECT {version:UInt32}, {digest:String}, {map:String}, {in_force:UInt8}"
)
WITHDRAW = (
    "ALTER TABLE shard_maps_local DELETE WHERE version = {version:UInt32} AND in_force = 0 "
    "SETTINGS mutations_sync = 2"
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

    @classmethod
    def of(
        cls,
        shard_map: ShardMap,
        urls: Sequence[Sequence[str]],
        *,
        version: int = 1,
        first_day: int = 0,
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
        )

    @property
    def shard_map(self) -> ShardMap:
        return ShardMap(self.shards, self._strategy(), self.version)

    @property
    def day(self) -> str:
        """Its first day as people write it."""
        return day_text(self.first_day)

    def dated(self) -> DatedMap:
        return self.shard_map.dated(self.first_day)

    def parameters(self, *, in_force: bool) -> Mapping[str, Any]:
        """Of `WRITE`."""
        return {
            "version": self.version,
            "digest": self.shard_map.identity.digest,
            "map": msgspec.json.encode(self).decode(),
            "in_force": int(in_force),
        }

    def _strategy(self) -> Strategy:
        if self.strategy == "range":
            return RangeSharding(self.lower, self.shard)
        hashed = HashSharding(self.shards, self.weights)
        return DirectorySharding(self.tenants, hashed) if self.strategy == "directory" else hashed


@dataclass(frozen=True, slots=True)
class RecordedMap:
    """``in_force``: every server has the record, so writers may use the map."""

    record: MapRecord
    in_force: bool


def _without_login(url: str) -> str:
    """User and password are settings of each process."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def read(rows: Sequence[Sequence[Any]]) -> list[RecordedMap]:
    """The maps in the result of `READ`, one a version: the one in force, else the first."""
    found: dict[int, RecordedMap] = {}
    for text, in_force in rows:
        record = msgspec.json.decode(text, type=MapRecord)
        found.setdefault(record.version, RecordedMap(record, bool(in_force)))
    return [found[version] for version in sorted(found)]


def day_of(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def day_text(first_day: int) -> str:
    if not first_day:
        return "always"
    return f"{datetime.fromtimestamp(first_day * DAY_S, UTC):%Y-%m-%d}"
