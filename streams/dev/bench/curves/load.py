"""A load with a given state. All events are in one minute, which never closes, so every series has
a live window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
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
WINDOWS_PER_RECORD = 1000
_MODELS = 100


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """``events`` are measured, several times, after ``windows`` were opened and ``ids``
    remembered; in each of ``processes`` at the same time, all of which have that state."""

    events: int = 300_000
    processes: int = 1
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
        """Records for `Loader` that open the window of every series once. A record opens windows of
        its own tenant only: so each lies in the partition that gets that tenant's events."""
        tenants: list[int] = []
        values: list[bytes] = []
        opened = 0
        for tenant in range(min(self._load.tenants, self._load.windows)):
            windows = -(-(self._load.windows - tenant) // self._load.tenants)
            for start in range(0, windows, WINDOWS_PER_RECORD):
                count = min(WINDOWS_PER_RECORD, windows - start)
                tenants.append(tenant)
                values.append(self._value(tenant, "any", f"{count}", start))
                opened += count
                if opened >= BLOCK_EVENTS:
                    yield self._named(tenants, values)
                    tenants, values, opened = [], [], 0
        if tenants:
            yield self._named(tenants, values)

    def any_of_them(self, events: int) -> list[EventBlock]:
        sizes = [BLOCK_EVENTS] * (events // BLOCK_EVENTS) + [events % BLOCK_EVENTS]
        return [self._block(self._random.integers(0, self._load.windows, n)) for n in sizes if n]

    def ids(self) -> Iterator[EventBlock]:
        """Records for `Loader` that insert all ids of the load."""
        records = -(-self._load.ids // IDS_PER_RECORD)
        for start in range(0, records, RECORDS_PER_BLOCK):
            yield self._block(np.arange(start, min(start + RECORDS_PER_BLOCK, records)))

    def _block(self, series: NDArray[Any]) -> EventBlock:
        tenants, rest = (series % self._load.tenants).tolist(), series // self._load.tenants
        values = [
            self._value(tenant, *_model_and_metric(other), 1.5)
            for tenant, other in zip(tenants, rest.tolist(), strict=True)
        ]
        return self._named(tenants, values)

    def _value(self, tenant: int, model: str, metric: str, value: float) -> bytes:
        self._made += 1
        return (
            f'{{"event_id":"{self._made:032x}","tenant_id":"{self._tenants[tenant]}",'
            f'"model_id":"{model}","metric":"{metric}",'
            f'"ts":{self._minute_ms + self._made % 60_000},"value":{value}}}'.encode()
        )

    def _named(self, tenants: Sequence[int], values: list[bytes]) -> EventBlock:
        return EventBlock([self._keys[tenant] for tenant in tenants], values)


def _model_and_metric(number: int) -> tuple[str, str]:
    """Of a tenant's series of that number."""
    return f"model-{number % _MODELS:03d}", f"metric-{number // _MODELS:04d}"


@dataclass(slots=True)
class Loader:
    """The agent of a curve: ``ids`` inserts `IDS_PER_RECORD` new ids per record, ``windows`` opens
    the windows that a record of `LoadedSeries.each_once` names, without inserting ids, ``usual``
    counts its events."""

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
    counts = np.array([int(event.metric) for event in events])
    named = [
        _model_and_metric(int(event.value) + number)
        for event, count in zip(events, counts.tolist(), strict=True)
        for number in range(count)
    ]
    tenants = chain.from_iterable(
        [event.tenant_id] * count for event, count in zip(events, counts.tolist(), strict=True)
    )
    keys = windows.names.keys(
        list(tenants), [model for model, _ in named], [metric for _, metric in named]
    )
    times = (batch.event_ms, batch.offsets(), batch.appended_ms())
    event_ms, offsets, appended_ms = (np.repeat(column, counts) for column in times)
    windows.fold(keys, event_ms, np.full(len(keys), 1.5), offsets, appended_ms)
