"""What a rebuild reads, from in-memory shards."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, TypeAlias, cast

from streams.connect.sinks.memory import MemoryShards
from streams.connect.sinks.memory_replica import Row
from streams.connect.sinks.rollup import DAY_S, WIDTH_S
from streams.core.rows.built_in_tables import OFFSET_BITS, WINDOW_TABLES, Bucket
from streams.core.types import Admin, LogReader
from streams.dev.simulation.world import World
from streams.operate.audit.shards import Shards
from streams.operate.audit.snapshot import LedgerRow, ShedRange
from streams.operate.audit.snapshot_reader import SnapshotReader
from streams.operate.rebuild.stored_rows import StaleBucket, StoredRows

_Place: TypeAlias = tuple[str, str, str, int]
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
        rows = self._shards.stored("h1")
        return sum(1 for row in rows if row["inc"] and from_s <= row["w"] < to_s)

    async def rows(self, part: int, from_s: int, to_s: int, tenant: str) -> StoredRows:
        found = [
            (shard, row)
            for shard in range(self._shards.count)
            for row in self._shards.stored("m1", shard)
            if row["part"] == part and from_s <= row["w"] < to_s and tenant in {"", row["tenant"]}
        ]
        return StoredRows.of([_columns(row) for _, row in found], [shard for shard, _ in found])

    async def stale(self, table: Bucket, from_s: int, to_s: int, tenant: str) -> list[StaleBucket]:
        width_s = WIDTH_S[table]
        low, high = from_s // width_s * width_s, -(-to_s // width_s) * width_s
        found: list[StaleBucket] = []
        for shard in range(self._shards.count):
            minutes: dict[_Place, list[Row]] = defaultdict(list)
            stored: dict[_Place, Row] = {}
            for row in self._shards.stored("m1", shard):
                if low <= row["w"] < high and tenant in {"", row["tenant"]}:
                    minutes[(*_series(row), row["w"] // width_s * width_s)].append(row)
            for row in self._shards.stored(table, shard):
                if not row["inc"] and low <= row["w"] < high and tenant in {"", row["tenant"]}:
                    stored[(*_series(row), row["w"])] = row
            found += [
                StaleBucket(
                    *(place[0], place[1], place[2]), table, place[3], orphan=place not in minutes
                )
                for place in sorted(minutes.keys() | stored.keys())
                if _differ(minutes.get(place, []), stored.get(place))
            ]
        return found


def _series(row: Row) -> tuple[str, str, str]:
    return row["tenant"], row["model"], row["metric"]


def _differ(minutes: list[Row], stored: Row | None) -> bool:
    n = sum(row["n"] for row in minutes)
    if stored is None:
        return bool(n)
    if not n:
        return bool(stored["n"])
    magnitude = sum(abs(row["s1"]) for row in minutes)
    filled = [row for row in minutes if row["n"]]
    bounds = min(row["lo"] for row in filled), max(row["hi"] for row in filled)
    same = bool(n == stored["n"]) and bounds == (stored["lo"], stored["hi"])
    return not same or bool(
        abs(sum(row["s1"] for row in minutes) - stored["s1"]) > 1e-9 * magnitude
    )


def _columns(row: Row) -> tuple[Any, ...]:
    names = ("tenant", "model", "metric", "w", "inc", "ver", "n", "s1", "mean", "m2", "lo", "hi")
    weight = sum(code * count for code, count in zip(row["sk_k"], row["sk_n"], strict=True))
    sketch = len(row["sk_k"]), weight, sum(row["sk_n"])
    return (*(row[name] for name in names), row["lv"], row["lt"], *sketch)


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


def facts_reader(world: World, reader: LogReader, admin: Admin) -> SnapshotReader:
    facts = cast(Shards, MemoryFacts(world.shards))
    return SnapshotReader(world.settings, world.clock, facts, reader, admin)
