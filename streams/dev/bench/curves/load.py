"""A load with a given state. All events are in one minute, which never closes, so every series has
a live window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.app import AGGREGATE_METRICS
from schemas.metric import ModelMetric
from streams.dev.workload.generator import EventBlock
from streams.engine.agents.agent import AgentSpec, EventBatch, Scope
from streams.engine.engine_tables import MINUTE_WINDOWS, SEEN_EVENTS
from streams.engine.state.log_time import LogTimes

BLOCK_EVENTS = 50_000
IDS_PER_RECORD = 10_000
RECORDS_PER_BLOCK = 40


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """``events`` are measured, after ``windows`` were opened and ``ids`` remembered."""

    events: int = 300_000
    partitions: int = 4
    tenants: int = 1000
    windows: int = 100_000
    ids: int = 0


class LoadedSeries:
    """``minute_ms`` is the common minute of the series."""

    def __init__(self, load: Load, minute_ms: int, seed: int = 1) -> None:
        self._load = load
        self._minute_ms = minute_ms
        self._random = np.random.default_rng(seed)
        self._tenants = [f"tenant-{number:06d}" for number in range(load.tenants)]
        self._keys = [name.encode() for name in self._tenants]
        self._made = 0

    def each_once(self) -> Iterator[EventBlock]:
        """One event of every series, to open every window."""
        for start in range(0, self._load.windows, BLOCK_EVENTS):
            yield self._block(np.arange(start, min(start + BLOCK_EVENTS, self._load.windows)))

    def any_of_them(self, events: int) -> list[EventBlock]:
        sizes = [BLOCK_EVENTS] * (events // BLOCK_EVENTS) + [events % BLOCK_EVENTS]
        return [self._block(self._random.integers(0, self._load.windows, n)) for n in sizes if n]

    def ids(self) -> Iterator[EventBlock]:
        """Records for `Loader` that insert all ids of the load."""
        records = -(-self._load.ids // IDS_PER_RECORD)
        for start in range(0, records, RECORDS_PER_BLOCK):
            yield self._block(np.arange(start, min(start + RECORDS_PER_BLOCK, records)))

    def _block(self, series: NDArray[Any]) -> EventBlock:
        tenants, rest = series % self._load.tenants, series // self._load.tenants
        values = []
        for tenant, other in zip(tenants.tolist(), rest.tolist(), strict=True):
            self._made += 1
            values.append(
                f'{{"event_id":"{self._made:032x}","tenant_id":"{self._tenants[tenant]}",'
                f'"model_id":"model-{other % 100:03d}","metric":"metric-{other // 100:04d}",'
                f'"ts":{self._minute_ms + self._made % 60_000},"value":1.5}}'.encode()
            )
        return EventBlock([self._keys[tenant] for tenant in tenants.tolist()], values)


@dataclass(slots=True)
class Loader:
    """The agent of a curve: ``ids`` inserts `IDS_PER_RECORD` new ids per record, ``windows`` folds
    without inserting ids, ``usual`` counts its events."""

    mode: Literal["ids", "windows", "usual"] = "usual"
    seed: int = 1
    events: int = 0

    def agent(self) -> AgentSpec:
        usual = AGGREGATE_METRICS
        return AgentSpec(
            name="curve",
            source=usual.source,
            group=usual.group,
            tables=usual.tables,
            process=self._process,
            columns=usual.columns,
        )

    def _process(self, batch: EventBatch[ModelMetric], scope: Scope) -> None:
        if self.mode == "usual":
            self.events += len(batch)
            AGGREGATE_METRICS.process(batch, scope)
            return
        if self.mode == "ids":
            self._remember(batch, scope)
        else:
            _fold(batch, scope)
        scope.count(applied=len(batch))

    def _remember(self, batch: EventBatch[ModelMetric], scope: Scope) -> None:
        self.seed += 1
        random = np.random.default_rng(self.seed)
        count = len(batch) * IDS_PER_RECORD
        hi, lo, payload = random.integers(0, 2**64, (3, count), np.uint64)
        append_ms = np.repeat(batch.appended_ms(), IDS_PER_RECORD)
        log = LogTimes(*(np.repeat(column, IDS_PER_RECORD) for column in batch.log()))
        scope.table(SEEN_EVENTS).admit(hi, lo, payload, append_ms, log)


def _fold(batch: EventBatch[ModelMetric], scope: Scope) -> None:
    windows, events = scope.table(MINUTE_WINDOWS), batch.events
    keys = windows.names.keys(
        [event.tenant_id for event in events],
        [event.model_id for event in events],
        [event.metric for event in events],
    )
    values = np.array([event.value for event in events], np.float64)
    windows.fold(keys, batch.event_ms, values, batch.offsets(), batch.appended_ms())
