"""The ClickHouse tables of the built-in pipeline besides its windows."""

from __future__ import annotations

from typing import Final

from streams import ClickHouseTable, Column
from streams.core.rows.column_type import TIME

_NAME = "LowCardinality(String)"
_TEXT = Column(str, codec="ZSTD(3)")
_TIME = Column(TIME, codec="DoubleDelta, ZSTD(1)")

TRAINING_RUNS: Final = ClickHouseTable(
    name="training_runs",
    description="What happened to models: one row per result, decided once.",
    columns={
        "tenant": _NAME,
        "model": _NAME,
        "version": str,
        "run": str,
        "result_id": str,
        "event": _NAME,
        "alias": _NAME,
        "stage": _NAME,
        "metrics": Column("Map(LowCardinality(String), Float64)", codec="ZSTD(3)"),
        "ts": _TIME,
        "part": "UInt32",
        "off": "UInt64",
    },
    order_by=("tenant", "model", "part", "off"),
    shard_by=("tenant", "model"),
    in_epoch=True,
    ttl_days=1825,
)

MODELS: Final = ClickHouseTable(
    name="models",
    description="One row per model: its newest card, which ver orders.",
    columns={"tenant": _NAME, "model": _NAME, "card": _TEXT},
    order_by=("tenant", "model"),
    shard_by=("tenant", "model"),
)

SIMULATIONS: Final = ClickHouseTable(
    name="simulations",
    description="One row per request and what came of it. A repeat of a key has a row of its own, "
    "with the summary of the run it repeats. requested is the append time of the request; started "
    "and finished are the run's.",
    columns={
        "tenant": _NAME,
        "idempotency_key": str,
        "request_id": str,
        "model": _NAME,
        "policy": _NAME,
        "scenario": _NAME,
        "priority": "UInt8",
        "trials": "UInt64",
        "status": _NAME,
        "repeated": "UInt8",
        "error_code": _NAME,
        "error_message": _TEXT,
        "summary": _TEXT,
        "requested": _TIME,
        "started": _TIME,
        "finished": _TIME,
        "part": "UInt32",
        "off": "UInt64",
    },
    order_by=("tenant", "idempotency_key", "request_id", "part", "off"),
    shard_by=("tenant", "idempotency_key"),
    in_epoch=True,
    ttl_days=400,
)
