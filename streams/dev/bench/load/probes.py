"""Events whose delay through the pipeline is measured one by one.

Each has its own series and so one window row; the shard records its insert time (column ``at``).
Probes are removed before the rest is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.metric import ModelMetric
from streams.connect.sinks.clickhouse import shard_replicas
from streams.core.settings import Settings
from streams.dev.demo.reconcile import Found

MODEL = "probe"
TENANTS = 8
"""Enough keys to reach most partitions."""

_INSERTED = (
    "SELECT toString(metric), toUnixTimestamp64Milli(min(at)), sum(n) FROM m1_local FINAL "
    "WHERE tenant IN {tenants:Array(String)} AND model = {model:String} GROUP BY metric"
)
_encode = msgspec.json.Encoder().encode


class Probes:
    """In order of due time (wall clock, milliseconds)."""

    def __init__(self) -> None:
        self._due_ms: list[float] = []

    def __len__(self) -> int:
        return len(self._due_ms)

    @property
    def due_ms(self) -> NDArray[np.float64]:
        return np.array(self._due_ms, np.float64)

    def make(self, due_ms: float) -> tuple[bytes, bytes]:
        number = len(self._due_ms)
        self._due_ms.append(due_ms)
        tenant = _tenant(number)
        event = ModelMetric(
            event_id=f"probe-{due_ms:.0f}-{number}",
            tenant_id=tenant,
            model_id=MODEL,
            metric=_name(number),
            ts=int(due_ms),
            value=float(number),
        )
        return tenant.encode(), _encode(event)

    def delays_s(self, inserted_ms: Mapping[str, int]) -> NDArray[np.float64]:
        """Seconds from due time to insert."""
        delays = [
            inserted_ms[name] - due_ms
            for number, due_ms in enumerate(self._due_ms)
            if (name := _name(number)) in inserted_ms
        ]
        return np.array(delays, np.float64) / 1000

    def without(self, found: Found) -> Found:
        count = len(self)
        ledger = dict(found.ledger)
        for name in ("read", "applied"):
            ledger[name] = ledger.get(name, 0) - count
        return Found(
            windows=found.windows.filter(pc.field("model").cast(pa.string()) != MODEL),
            topic_records=found.topic_records - count,
            ledger=ledger,
            dead_in_ledger=found.dead_in_ledger,
            dead_in_dlq=found.dead_in_dlq,
            dead_in_rows=found.dead_in_rows,
        )


def read_inserted_ms(settings: Settings) -> dict[str, int]:
    """Of every probe that arrived once and complete: by name, in milliseconds."""
    asked = {"tenants": [_tenant(number) for number in range(TENANTS)], "model": MODEL}
    found: dict[str, int] = {}
    for replica, *_ in shard_replicas(settings):
        try:
            rows: Sequence[Sequence[int]] = replica.query(_INSERTED, asked)[1]
        finally:
            replica.close()
        found.update({str(name): int(at) for name, at, count in rows if int(count) == 1})
    return found


def _tenant(number: int) -> str:
    return f"probe-{number % TENANTS}"


def _name(number: int) -> str:
    return f"probe-{number:06d}"
