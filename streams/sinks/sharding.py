"""Which shard holds a series: hash (the default), range and directory strategies, as data.

Facts (`dead_letters`, `ledger`) are always spread by the hash of their own key. A map says from
which UTC day of window time it is valid, so that a later map can add shards without moving data.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

from streams.errors import UsageError

_EPOCH = date(1970, 1, 1)
_MASK = (1 << 64) - 1
_JUMP_MULTIPLIER = np.uint64(2862933555777941757)


def jump_consistent_hash(keys: NDArray[np.uint64], buckets: int) -> NDArray[np.int32]:
    """Lamping and Veach's jump consistent hash, elementwise; ClickHouse's jumpConsistentHash.

    ``buckets`` is at least 1. Going from S to S + 1 buckets moves 1 / (S + 1) of the keys.
    """
    key = keys.astype(np.uint64)
    bucket = np.zeros(len(key), np.int64)
    jump = np.zeros(len(key), np.float64)
    moving = np.arange(len(key))
    while len(moving):
        bucket[moving] = jump[moving].astype(np.int64)
        key[moving] = key[moving] * _JUMP_MULTIPLIER + np.uint64(1)
        step = float(1 << 31) / ((key[moving] >> np.uint64(33)).astype(np.float64) + 1.0)
        jump[moving] = np.floor((bucket[moving] + 1) * step)
        moving = moving[jump[moving] < buckets]
    return bucket.astype(np.int32)


def _jump(key: int, buckets: int) -> int:
    """`jump_consistent_hash` of one key: an array of one costs ten times as much."""
    bucket, jump = 0, 0
    while jump < buckets:
        bucket = jump
        key = (key * int(_JUMP_MULTIPLIER) + 1) & _MASK
        jump = int((bucket + 1) * (float(1 << 31) / ((key >> 33) + 1)))
    return bucket


def series_hashes(
    tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
) -> NDArray[np.uint64]:
    """xxHash64 of ``tenant NUL model NUL metric`` in UTF-8, of parallel sequences."""
    names = zip(tenants, models, metrics, strict=True)
    hashes = (xxh64_intdigest(f"{t}\0{m}\0{k}".encode()) for t, m, k in names)
    return np.fromiter(hashes, np.uint64, len(tenants))


class Strategy(Protocol):
    """A rule from series to shard."""

    def shard_of(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> NDArray[np.int32]: ...


@dataclass(frozen=True, slots=True)
class HashSharding:
    """Spread series evenly."""

    shards: int

    def shard_of(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> NDArray[np.int32]:
        return jump_consistent_hash(series_hashes(tenants, models, metrics), self.shards)


@dataclass(frozen=True, slots=True)
class RangeSharding:
    """Tenants in order: ``lower[i]`` is the first tenant of the range that ``shard[i]`` holds.

    ``lower`` ascends and starts with "": every tenant has a range.
    """

    lower: tuple[str, ...]
    shard: tuple[int, ...]

    def shard_of(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> NDArray[np.int32]:
        found = (self.shard[bisect_right(self.lower, tenant) - 1] for tenant in tenants)
        return np.fromiter(found, np.int32, len(tenants))


@dataclass(frozen=True, slots=True)
class DirectorySharding:
    """Named tenants on named shards; every other series by hash over all shards."""

    tenants: Mapping[str, int]
    others: HashSharding

    def shard_of(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> NDArray[np.int32]:
        hashed = self.others.shard_of(tenants, models, metrics)
        named = (self.tenants.get(tenant, -1) for tenant in tenants)
        listed = np.fromiter(named, np.int32, len(tenants))
        return np.where(listed < 0, hashed, listed).astype(np.int32)


@dataclass(frozen=True, slots=True)
class ShardMap:
    """A strategy, and the UTC day of window time from which it holds."""

    shards: int
    strategy: Strategy
    version: int = 1
    valid_from: date = _EPOCH

    def shard_of(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> NDArray[np.int32]:
        """The shard of each series (parallel sequences)."""
        return self.strategy.shard_of(tenants, models, metrics)

    def shard_of_key(self, key: str) -> int:
        """The shard of a fact row, by its own key."""
        return _jump(xxh64_intdigest(key.encode()), self.shards)


class _Range(msgspec.Struct, rename={"lower": "from"}, forbid_unknown_fields=True):
    lower: str
    shard: int


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON file of a range or directory map."""

    version: int
    valid_from: date
    ranges: list[_Range] = []
    tenants: dict[str, int] = {}


def load(setting: str, shards: int) -> ShardMap:
    """The map that ``DIA_SHARDING`` names, over ``shards`` shards: ``hash``, ``range:FILE`` or
    ``directory:FILE``.

    Raises `UsageError` for another word, an unreadable or wrong file, or a shard out of range.
    """
    kind, _, name = setting.partition(":")
    if setting == "hash":
        return ShardMap(shards, HashSharding(shards))
    if kind not in {"range", "directory"} or not name:
        raise UsageError(
            f"DIA_SHARDING={setting} is not hash, range:FILE or directory:FILE. Correct it."
        )
    try:
        file = msgspec.json.decode(Path(name).read_bytes(), type=_File)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"DIA_SHARDING={setting}: {name} cannot be used: {error}.") from error
    strategy = _ranges(file, name) if kind == "range" else _directory(file, shards)
    _refuse_beyond(shards, [r.shard for r in file.ranges] + list(file.tenants.values()), name)
    return ShardMap(shards, strategy, file.version, file.valid_from)


def _ranges(file: _File, name: str) -> RangeSharding:
    lower = tuple(r.lower for r in file.ranges)
    if not lower or lower[0] != "" or list(lower) != sorted(set(lower)):
        raise UsageError(
            f'{name}: "ranges" must start with {{"from": ""}} and ascend without repeats.'
        )
    return RangeSharding(lower, tuple(r.shard for r in file.ranges))


def _directory(file: _File, shards: int) -> DirectorySharding:
    return DirectorySharding(file.tenants, HashSharding(shards))


def _refuse_beyond(shards: int, named: Sequence[Any], name: str) -> None:
    wrong = sorted({shard for shard in named if not 0 <= shard < shards})
    if wrong:
        raise UsageError(f"{name} names shard {wrong[0]}, but there are shards 0 to {shards - 1}.")
