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

OPERATIONAL: Final[Mapping[str, ClickHouseTable]] = {
    table.name: table for table in (DEAD_LETTERS, LEDGER, SHED_RANGES)
}
