"""ClickHouse tables of every app: dead letters, and the progress of each partition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streams.core.rows.clickhouse_table import ClickHouseTable, Column
from streams.core.rows.column_type import TIME

_NAME = "LowCardinality(String)"
_TIME = Column(TIME, codec="DoubleDelta, ZSTD(1)")

DEAD_LETTERS: Final = ClickHouseTable(
    name="dead_letters",
    description="One row per dead letter; each disposition (replayed, parked, dropped) replaces it "
    "whole, with ver = 1 + the number of dispositions. ts is the record's own and never changes.",
    columns={
        "id": str,
        "topic": _NAME,
        "part": "UInt32",
        "off": "UInt64",
        "ts": _TIME,
        "error_code": _NAME,
        "error_message": Column(str, codec="ZSTD(3)"),
        "stage": _NAME,
        "agent": _NAME,
        "tenant": _NAME,
        "hops": "UInt16",
        "disposition": _NAME,
        "actor": _NAME,
    },
    order_by=("topic", "part", "off", "id"),
    shard_by=("id",),
    ttl_days=400,
)

LEDGER: Final = ClickHouseTable(
    name="ledger",
    description="Cumulative counters of one partition of one group in one epoch (`dia tables reset` "
    "opens the next): next_offset - start = read + gaps + shed. One row an epoch and no history: "
    "`dia audit --deep` finds the offsets of a difference by reading them again.",
    columns={
        "grp": _NAME,
        "topic": _NAME,
        "part": "UInt32",
        "epoch": "UInt32",
        "next_offset": "UInt64",
        "read": "UInt64",
        "applied": "UInt64",
        "duplicates": "UInt64",
        "dead": "UInt64",
        "gaps": "UInt64",
        "dead_by_code": "Map(LowCardinality(String), UInt64)",
        "shed": "UInt64",
    },
    order_by=("grp", "topic", "part", "epoch"),
    shard_by=("grp", "topic", "part"),
)

SHED_RANGES: Final = ClickHouseTable(
    name="shed_ranges",
    description="Offsets that an operator had skipped (`dia shed`): one row per order and partition. "
    "to_offset is the first one that was not skipped; cutoff is the append time the range ends at.",
    columns={
        "grp": _NAME,
        "topic": _NAME,
        "part": "UInt32",
        "epoch": "UInt32",
        "from_offset": "UInt64",
        "to_offset": "UInt64",
        "shed": "UInt64",
        "order_id": str,
        "actor": str,
        "reason": str,
        "cutoff": TIME,
        "ordered": TIME,
    },
    order_by=("grp", "topic", "part", "epoch", "from_offset"),
    shard_by=("grp", "topic", "part"),
)

_PLACE = {"grp": _NAME, "agent": _NAME, "topic": _NAME, "part": "UInt32"}

LOAD_HISTORY: Final = ClickHouseTable(
    name="load_history",
    description="What a partition took in, by tenant and five minutes of append time (w: their start): "
    "records read, and bytes of their keys and values. One row a run, which is the records from "
    "from_offset to to_offset - 1: sum(events) is exact. Tenant '': those beyond the largest 16.",
    columns={
        **_PLACE,
        "from_offset": "UInt64",
        "to_offset": "UInt64",
        "tenant": _NAME,
        "w": _TIME,
        "events": "UInt64",
        "bytes": "UInt64",
    },
    order_by=("grp", "topic", "part", "from_offset", "tenant"),
    shard_by=("grp", "topic", "part"),
    ttl_days=400,
    in_epoch=True,
)

USAGE_HISTORY: Final = ClickHouseTable(
    name="usage_history",
    description="Samples, one for a partition and five minutes with a commit: cpu_s is of the process "
    "since it started, with all its partitions; memory_bytes and lag_records are those of the moment, "
    "fill (of the fullest buffer, 1 is its bound) the largest since the last sample, rows the number since.",
    columns={
        **_PLACE,
        "w": _TIME,
        "process": _NAME,
        "started": TIME,
        "cpu_s": float,
        "memory_bytes": "UInt64",
        "lag_records": "UInt64",
        "behind_s": float,
        "fill": float,
        "rows": "UInt64",
    },
    order_by=("grp", "topic", "part", "process", "started", "w"),
    shard_by=("grp", "topic", "part"),
    ttl_days=400,
)

OPERATIONAL: Final[Mapping[str, ClickHouseTable]] = {
    table.name: table for table in (DEAD_LETTERS, LEDGER, LOAD_HISTORY, SHED_RANGES, USAGE_HISTORY)
}
