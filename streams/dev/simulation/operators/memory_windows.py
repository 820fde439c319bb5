"""What a rebuild reads, from in-memory shards."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, TypeAlias, cast

from streams.connect.sinks.memory import MemoryShards
from streams.connect.sinks.memory_replica import Row
from streams.connect.sinks.rollup import DAY_S, SOURCE, WIDTH_S
from streams.core.rows.built_in_tables import OFFSET_BITS, WINDOW_TABLES, Bucket
from streams.core.types import Admin, LogReader
from streams.dev.simulation.world import World
from streams.operate.audit.shards import Shards
from streams.operate.audit.snapshot import LedgerRow, ShedRange
from streams.operate.audit.snapshot_reader import SnapshotReader
from streams.operate.rebuild.facts import LedgerKey
from streams.operate.rebuild.stored_rows import ExcessBucket, StaleBucket, StoredRows

_Place: TypeAlias = tuple[str, str, str, int, int]
"""series, start in seconds, ``moved``"""
_LEDGER = ("epoch", "next_offset", "read", "applied", "duplicates", "dead", "gaps")


class MemoryWindows:
    """`WindowStore` of in-memory shards."""

    def __init__(self, shards: MemoryShards) -> None:
        self._shards = shards

    async def generation(self, from_s: int, to_s: int) -> int:
        first, last = from_s // DAY_S, (to_s - 1) // DAY_S
        return max(
            (
                row["ver"] >> OFFSET_BITS
                for table in WINDOW_TABLES
                for row in self._shards.stored(table)
                if first <= row["w"] // DAY_S <= last
            ),
            default=0,
        )

    async def own_rows(self, from_s: int, to_s: int) -> int:
        tables: tuple[Bucket, ...] = ("h1", "d1")
        return sum(
            1
            for table in tables
            for row in self._shards.stored(table)
            if row["inc"] and from_s < row["w"] + WIDTH_S[table] and row["w"] < to_s
        )

    async def rows(self, part: int, from_s: int, to_s: int, tenant: str) -> StoredRows:
        found = [
            (shard, row)
            for shard in range(self._shards.count)
            for row in self._counted("m1", shard)
            if row["part"] == part and from_s <= row["w"] < to_s and tenant in {"", row["tenant"]}
        ]
        return StoredRows.of([_columns(row) for _, row in found], [shard for shard, _ in found])

    async def stale(self, table: Bucket, from_s: int, to_s: int, tenant: str) -> list[StaleBucket]:
        found: list[StaleBucket] = []
        for shard in range(self._shards.count):
            minutes, stored = self._buckets(shard, "m1", table, from_s, to_s, tenant)
            for place in sorted(minutes.keys() | stored.keys()):
                its, row = minutes.get(place, []), stored.get(place)
                if _differ(its, row):
                    behind = _n(its) > (row["n"] if row is not None else 0)
                    orphan = place not in minutes
                    its_place = shard, place[4]
                    found.append(
                        StaleBucket(*place[:3], table, place[3], orphan, behind, *its_place)
                    )
        return found

    async def excess(
        self, table: Bucket, from_s: int, to_s: int, tenant: str
    ) -> list[ExcessBucket]:
        found: list[ExcessBucket] = []
        for shard in range(self._shards.count):
            parts, stored = self._buckets(shard, SOURCE[table], table, from_s, to_s, tenant)
            found += [
                ExcessBucket(*place[:3], table, place[3], row["n"], _n(parts.get(place, [])))
                for place, row in sorted(stored.items())
                if row["n"] > _n(parts.get(place, []))
            ]
        return found

    def _buckets(
        self, shard: int, source: str, table: Bucket, from_s: int, to_s: int, tenant: str
    ) -> tuple[dict[_Place, list[Row]], dict[_Place, Row]]:
        """The rows of ``source`` of each hour or day that the range touches, and its own row."""
        width_s = WIDTH_S[table]
        low, high = from_s // width_s * width_s, -(-to_s // width_s) * width_s
        parts: dict[_Place, list[Row]] = defaultdict(list)
        for row in self._counted(source, shard):
            chosen = low <= row["w"] < high and tenant in {"", row["tenant"]}
            if chosen and (source == "m1" or not row["inc"]):
                place = (*_series(row), row["w"] // width_s * width_s, row["moved"])
                parts[place].append(row)
        stored = {
            (*_series(row), row["w"], row["moved"]): row
            for row in self._counted(table, shard)
            if not row["inc"] and low <= row["w"] < high and tenant in {"", row["tenant"]}
        }
        return parts, stored

    def _counted(self, table: str, shard: int) -> list[Row]:
        shards = self._shards
        return [row for row in shards.stored(table, shard) if shards.counts(table, row, shard)]


def _n(rows: list[Row]) -> int:
    return sum(row["n"] for row in rows)


def _series(row: Row) -> tuple[str, str, str]:
    return row["tenant"], row["model"], row["metric"]


def _differ(minutes: list[Row], stored: Row | None) -> bool:
    n, generation = _n(minutes), max((row["ver"] >> OFFSET_BITS for row in minutes), default=0)
    if stored is None:
        return bool(n or generation)
    if n != stored["n"] or generation > stored["ver"] >> OFFSET_BITS:
        return True
    if not n:
        return False
    magnitude = sum(abs(row["s1"]) for row in minutes)
    if abs(sum(row["s1"] for row in minutes) - stored["s1"]) > 1e-9 * magnitude:
        return True
    last = max(minutes, key=lambda row: (row["lt"], row["inc"]))
    bounds = min(row["lo"] for row in minutes), max(row["hi"] for row in minutes)
    weight, sketched = (
        sum(one) for one in zip(*(_sketch(row)[1:] for row in minutes), strict=True)
    )
    return (*bounds, last["lv"], last["lt"], weight, sketched) != (
        *(stored[name] for name in ("lo", "hi", "lv", "lt")),
        *_sketch(stored)[1:],
    )


def _sketch(row: Row) -> tuple[int, int, int]:
    """Codes, the sum of codes times counts, and of counts."""
    weight = sum(code * count for code, count in zip(row["sk_k"], row["sk_n"], strict=True))
    return len(row["sk_k"]), weight, sum(row["sk_n"])


def _columns(row: Row) -> tuple[Any, ...]:
    names = ("tenant", "model", "metric", "w", "inc", "ver", "n", "s1", "mean", "m2", "lo", "hi")
    return (*(row[name] for name in names), row["lv"], row["lt"], *_sketch(row), row["moved"])


class MemoryFacts:
    """The facts that `SnapshotReader` asks the shards for."""

    def __init__(self, shards: MemoryShards) -> None:
        self._shards = shards

    async def ledger(self, group: str, topic: str) -> list[LedgerRow]:
        rows = [
            LedgerRow(
                partition=row["part"],
                shed=row["shed"],
                dead_by_code=row["dead_by_code"],
                **{name: row[name] for name in _LEDGER},
            )
            for row in self._shards.rows("ledger")
            if (row["grp"], row["topic"]) == (group, topic)
        ]
        return sorted(rows, key=lambda row: (row.partition, row.epoch))

    async def shed(self, group: str, topic: str) -> list[ShedRange]:
        return [
            ShedRange(
                partition=row["part"],
                epoch=row["epoch"],
                first=row["from_offset"],
                until=row["to_offset"],
                order=row["order_id"],
                actor=row["actor"],
                reason=row["reason"],
                at_ms=row["at"],
            )
            for row in self._shards.rows("shed_ranges")
            if (row["grp"], row["topic"]) == (group, topic)
        ]

    async def dead_letters(self, topic: str) -> tuple[dict[str, str], set[str]]:
        rows = [row for row in self._shards.rows("dead_letters") if row["topic"] == topic]
        replayed = {row["id"] for row in rows if row["disposition"] == "replayed"}
        return {row["id"]: row["error_code"] for row in rows}, replayed


class MemoryStoredFacts:
    """`FactStore` of in-memory shards."""

    def __init__(self, shards: MemoryShards) -> None:
        self._shards = shards

    async def ledger(self) -> dict[LedgerKey, int]:
        return {
            (row["grp"], row["topic"], row["part"], row["epoch"]): row["next_offset"]
            for row in self._shards.rows("ledger")
        }

    async def dead_letters(self, topic: str) -> dict[str, int]:
        rows = self._shards.rows("dead_letters")
        return {row["id"]: row["ver"] for row in rows if row["topic"] == topic}


def facts_reader(world: World, reader: LogReader, admin: Admin) -> SnapshotReader:
    facts = cast(Shards, MemoryFacts(world.shards))
    return SnapshotReader(world.settings, world.clock, facts, reader, admin)
