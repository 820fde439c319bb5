"""Places series on shards: hash (the default), range and directory strategies.

Facts (`dead_letters`, `ledger`) are spread by the hash of their own key, over the shards of the
first map. A later map places windows of later days only (docs/protocols/shard_maps.md). A map's `identity` (number of shards, strategy, parameters; no
addresses) is stored on every server and in every commit's link; a process whose map is not recorded
is refused.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_hexdigest, xxh64_intdigest

from streams.core.clock import SystemClock
from streams.core.errors import UsageError
from streams.core.rows.dated_map import DatedMap, MapIdentity
from streams.core.settings import Settings

_MASK = (1 << 64) - 1
_JUMP_MULTIPLIER = np.uint64(2862933555777941757)


def jump_consistent_hash(keys: NDArray[np.uint64], buckets: int) -> NDArray[np.int32]:
    """Lamping and Veach's, elementwise; ClickHouse's jumpConsistentHash. ``buckets`` is at least 1.
    Going from S to S + 1 buckets moves 1 / (S + 1) of the keys."""
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
    """Of one key; an array of one costs ten times as much."""
    bucket, jump = 0, 0
    while jump < buckets:
        bucket = jump
        key = (key * int(_JUMP_MULTIPLIER) + 1) & _MASK
        jump = int((bucket + 1) * (float(1 << 31) / ((key >> 33) + 1)))
    return bucket


def series_hashes(
    tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
) -> NDArray[np.uint64]:
    """xxHash64 of ``tenant NUL model NUL metric`` in UTF-8, of parallel sequences. Unkeyed, so that
    any client can locate a series; quotas bound a tenant that targets one shard."""
    names = zip(tenants, models, metrics, strict=True)
    hashes = (xxh64_intdigest(f"{t}\0{m}\0{k}".encode()) for t, m, k in names)
    return np.fromiter(hashes, np.uint64, len(tenants))


class Strategy(Protocol):
    def parameters(self) -> dict[str, Any]:
        """All that decides a placement, besides the number of shards."""
        ...

    def shard_of(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> NDArray[np.int32]: ...


@dataclass(frozen=True, slots=True)
class HashSharding:
    """A shard of ``weights`` 3 gets three times the series of one of 1; empty: all are equal. A
    shard at the end of the list takes its series from all others alike."""

    shards: int
    weights: tuple[int, ...] = ()

    def parameters(self) -> dict[str, Any]:
        unequal = {"weights": self.weights} if len(set(self.weights)) > 1 else {}
        return {"strategy": "hash", **unequal}

    def shard_of(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> NDArray[np.int32]:
        hashes = series_hashes(tenants, models, metrics)
        if not self.weights:
            return jump_consistent_hash(hashes, self.shards)
        owner = np.repeat(np.arange(self.shards, dtype=np.int32), self.weights)
        return owner[jump_consistent_hash(hashes, len(owner))]


@dataclass(frozen=True, slots=True)
class RangeSharding:
    """``lower[i]`` is the first tenant of the range on shard ``shard[i]``; it ascends and starts
    with ""."""

    lower: tuple[str, ...]
    shard: tuple[int, ...]

    def parameters(self) -> dict[str, Any]:
        return {"strategy": "range", "lower": self.lower, "shard": self.shard}

    def shard_of(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> NDArray[np.int32]:
        found = (self.shard[bisect_right(self.lower, tenant) - 1] for tenant in tenants)
        return np.fromiter(found, np.int32, len(tenants))


@dataclass(frozen=True, slots=True)
class DirectorySharding:
    """Named tenants on named shards; every other series by hash."""

    tenants: Mapping[str, int]
    others: HashSharding

    def parameters(self) -> dict[str, Any]:
        tenants = dict(sorted(self.tenants.items()))
        return {**self.others.parameters(), "strategy": "directory", "tenants": tenants}

    def shard_of(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> NDArray[np.int32]:
        hashed = self.others.shard_of(tenants, models, metrics)
        named = (self.tenants.get(tenant, -1) for tenant in tenants)
        listed = np.fromiter(named, np.int32, len(tenants))
        return np.where(listed < 0, hashed, listed).astype(np.int32)


WholeStrategy: TypeAlias = HashSharding | RangeSharding | DirectorySharding
"""It may place a series on any shard."""


@dataclass(frozen=True, slots=True)
class WithoutShards:
    """As ``inner``, and what it puts on the shards ``away`` is spread over the other ``shards`` by a
    second hash; series of the others stay."""

    shards: int
    inner: WholeStrategy
    away: tuple[int, ...]

    @property
    def left(self) -> tuple[int, ...]:
        return tuple(shard for shard in range(self.shards) if shard not in self.away)

    def parameters(self) -> dict[str, Any]:
        return {**self.inner.parameters(), "without": self.away}

    def shard_of(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> NDArray[np.int32]:
        placed = self.inner.shard_of(tenants, models, metrics)
        moving = np.flatnonzero(np.isin(placed, self.away))
        if len(moving):
            chosen = moving.tolist()
            # The NUL makes it another hash: by the first one, all series of a shard are alike.
            hashes = series_hashes(
                [tenants[i] for i in chosen],
                [models[i] for i in chosen],
                [f"{metrics[i]}\0" for i in chosen],
            )
            left = np.array(self.left, np.int32)
            placed[moving] = left[jump_consistent_hash(hashes, len(left))]
        return placed


@dataclass(frozen=True, slots=True)
class ShardMap:
    """``version`` is the operator's number."""

    shards: int
    strategy: Strategy
    version: int = 1

    @property
    def identity(self) -> MapIdentity:
        """Equal for two maps with the same placement."""
        parameters = {"shards": self.shards, **self.strategy.parameters()}
        digest = xxh3_64_hexdigest(msgspec.json.encode(parameters))
        name = parameters["strategy"]
        named = name if name == "hash" else f"{name} (version {self.version})"
        plural = "" if self.shards == 1 else "s"
        return MapIdentity(digest, f"{self.shards} shard{plural} by {named}")

    def dated(self, first_day: int = 0) -> DatedMap:
        return DatedMap(self.identity, self.shards, self.shard_of, self.shard_of_key, first_day)

    def shard_of(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> NDArray[np.int32]:
        return self.strategy.shard_of(tenants, models, metrics)

    def shard_of_key(self, key: str) -> int:
        """Of a fact row, by its own key, whatever the strategy: only shards that are left out get none."""
        shard = _jump(xxh64_intdigest(key.encode()), self.shards)
        strategy = self.strategy
        if not isinstance(strategy, WithoutShards) or shard not in strategy.away:
            return shard
        # The NUL makes it another hash, as in `WithoutShards`.
        return strategy.left[_jump(xxh64_intdigest(f"{key}\0".encode()), len(strategy.left))]


class _Range(msgspec.Struct, rename={"lower": "from"}, forbid_unknown_fields=True):
    lower: str
    shard: int


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    valid_from: date
    ranges: list[_Range] | None = None
    tenants: dict[str, int] | None = None


def declared(settings: Settings) -> ShardMap:
    """The map of ``DIA_CLICKHOUSE_SHARDS`` and ``DIA_SHARDING``. Raises as `load`."""
    today = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC).date()
    return load(settings.sharding, len(settings.shards()), today)


def load(setting: str, shards: int, today: date) -> ShardMap:
    """``DIA_SHARDING`` is ``hash``, ``range:FILE`` or ``directory:FILE``. Raises `UsageError` for
    another value, an invalid file, a shard out of range, or a ``valid_from`` after ``today``
    (UTC)."""
    kind, _, name = setting.partition(":")
    if setting == "hash":
        return ShardMap(shards, HashSharding(shards))
    if kind not in {"range", "directory"} or not name:
        raise UsageError(
            f"DIA_SHARDING={setting} is not hash, range:FILE or directory:FILE. Correct it."
        )
    try:
        file = _read(Path(name))
    except (OSError, ValueError) as error:
        raise UsageError(f"DIA_SHARDING={setting}: {name} cannot be used: {error}.") from error
    if file.valid_from > today:
        raise UsageError(
            f"{name} is valid from {file.valid_from}, and today is {today} (UTC). A map holds for all "
            "rows at once: use the one that is valid today."
        )
    strategy = _ranges(file, name) if kind == "range" else _directory(file, name, shards)
    named = [r.shard for r in file.ranges or ()] + list((file.tenants or {}).values())
    _refuse_beyond(shards, named, name)
    return ShardMap(shards, strategy, file.version)


def _read(path: Path) -> _File:
    """Raises `OSError`, and `ValueError` for an invalid map."""
    content = path.read_bytes()
    file = msgspec.json.decode(content, type=_File)
    json.loads(content, object_pairs_hook=_refuse_repeats)
    return file


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f'"{name}" is there twice')
        seen.add(name)


def _ranges(file: _File, name: str) -> RangeSharding:
    if file.tenants is not None:
        raise UsageError(f'{name} has "tenants", which are for directory:FILE, not range:FILE.')
    lower = tuple(r.lower for r in file.ranges or ())
    if not lower or lower[0] != "" or list(lower) != sorted(set(lower)):
        raise UsageError(
            f'{name}: "ranges" must start with {{"from": ""}} and ascend without repeats.'
        )
    return RangeSharding(lower, tuple(r.shard for r in file.ranges or ()))


def _directory(file: _File, name: str, shards: int) -> DirectorySharding:
    if file.ranges is not None:
        raise UsageError(f'{name} has "ranges", which are for range:FILE, not directory:FILE.')
    if not file.tenants:
        raise UsageError(
            f'{name} names no tenant: "tenants" must have one. Else DIA_SHARDING=hash.'
        )
    return DirectorySharding(file.tenants, HashSharding(shards))


def _refuse_beyond(shards: int, named: Sequence[Any], name: str) -> None:
    wrong = sorted({shard for shard in named if not 0 <= shard < shards})
    if wrong:
        raise UsageError(f"{name} names shard {wrong[0]}, but there are shards 0 to {shards - 1}.")
