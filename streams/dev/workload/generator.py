"""Synthetic `model.metrics` records, fast and reproducible, with an oracle of the expected result.

Every column has its own random stream, so event i does not depend on how events are cut into
blocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.core.records.bad_records import (
    InvalidJson,
    InvalidUtf8,
    KeyMismatch,
    MissingField,
    TimestampInFuture,
    WrongType,
)
from streams.dev.workload.columns import EventColumns, EventHistory
from streams.dev.workload.oracle import Oracle
from streams.dev.workload.shape import Workload

Spoiled: TypeAlias = tuple[bytes, bytes]
"""(key, value)"""


class Poison(NamedTuple):
    """A way to spoil a good record, and its error code."""

    code: str
    spoil: Callable[[bytes, bytes], Spoiled]


def _cut(key: bytes, value: bytes) -> Spoiled:
    return key, value[: len(value) // 2]


def _lose_field(key: bytes, value: bytes) -> Spoiled:
    return key, value.replace(b'"value":', b'"lost":', 1)


def _quote_time(key: bytes, value: bytes) -> Spoiled:
    head, tail = value.split(b'"ts":', 1)
    digits, rest = tail.split(b",", 1)
    return key, head + b'"ts":"' + digits + b'",' + rest


def _break_encoding(key: bytes, value: bytes) -> Spoiled:
    head, tail = value.split(b'"metric":', 1)
    space, rest = tail.split(b'"', 1)
    return key, head + b'"metric":' + space + b'"\xff' + rest


def _change_key(key: bytes, value: bytes) -> Spoiled:
    return key + b"-other", value


POISONS: tuple[Poison, ...] = (
    Poison(InvalidJson.code, _cut),
    Poison(MissingField.code, _lose_field),
    Poison(WrongType.code, _quote_time),
    Poison(InvalidUtf8.code, _break_encoding),
    Poison(KeyMismatch.code, _change_key),
)


BLOCK_EVENTS = 5000
BLOCK_EVENTS_MAX = 50_000
NEGATIVE_SHARE = 0.1
VALUE_SIGMA = 1.5
RUNS = 500
FUTURE_MS = (366 * 86_400_000, 3660 * 86_400_000)
"""one to ten years ahead: always refused"""

# in the order of their shares of one uniform draw
_FUTURE, _POISON, _DUPLICATE, _LATE, _ORDINARY = range(5)

_HISTORY_SLACK = 4096
"""room for unrepeatable events before a duplicate's oldest choice"""


def tenant_name(number: int) -> str:
    """Tenant 0 has the most events, and so on."""
    return f"tenant-{number:04d}"


def foreign_tenant_name(number: int) -> str:
    return f"ténant-日本-{number:04d}"


def model_name(number: int) -> str:
    return f"model-{number:03d}"


def metric_name(number: int) -> str:
    return f"metric-{number:02d}"


class EventBlock(NamedTuple):
    """Columns for a producer's ``send_many``."""

    keys: list[bytes]
    values: list[bytes]


class Generator:
    """``oracle`` covers all generated events."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        foreign = workload.spelling in ("escaped", "utf8")
        name = foreign_tenant_name if foreign else tenant_name
        self._tenants = [name(i) for i in range(workload.tenants)]
        ascii_only = workload.spelling != "utf8"
        self._written = [json.dumps(one, ensure_ascii=ascii_only) for one in self._tenants]
        self._models = [model_name(i) for i in range(workload.models)]
        self._metrics = [metric_name(i) for i in range(workload.metrics)]
        self._runs = [f"run-{i:05d}" for i in range(RUNS)]
        self._keys = [name.encode() for name in self._tenants]
        self.oracle = Oracle(self._tenants, self._models, self._metrics)
        self._tenant_cdf = _tenant_cdf(workload)
        self._draws = _Draws(workload)
        self._history = EventHistory(
            workload.duplicate_lag_events + _HISTORY_SLACK + BLOCK_EVENTS_MAX
        )
        self._next = 0
        self._repeatable = 0

    def blocks(self, events: int, block_events: int = BLOCK_EVENTS) -> Iterator[EventBlock]:
        while events > 0:
            size = min(events, block_events)
            yield self.block(size)
            events -= size

    def block(self, size: int) -> EventBlock:
        assert 0 < size <= BLOCK_EVENTS_MAX
        index = np.arange(self._next, self._next + size)
        self._next += size
        kind = self._draw_kinds(index)
        columns = self._draw_columns(index, kind)
        self._repeat(index, kind, columns)
        self._tell_oracle(kind, columns)
        return self._spoil(kind, index, self._render(columns))

    def _draw_kinds(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        shape = self.workload
        edges = np.cumsum([shape.future, shape.poison, shape.duplicates, shape.late])
        kind = np.searchsorted(edges, self._draws.kind.random(len(index)), side="right")
        # every duplicate has something to repeat
        kind[index == 0] = _ORDINARY
        return kind

    def _draw_columns(self, index: NDArray[np.int64], kind: NDArray[np.int64]) -> EventColumns:
        shape, draws, size = self.workload, self._draws, len(index)
        shift = draws.shift.random(size)
        ts = float(shape.start_ms) + index * shape.step_ms
        ts -= np.where(kind == _LATE, shift * (shape.late_max_s * 1000), 0)
        low, high = FUTURE_MS
        ts += np.where(kind == _FUTURE, low + shift * (high - low), 0)
        value = draws.value.lognormal(0, VALUE_SIGMA, size)
        value[draws.sign.random(size) < NEGATIVE_SHARE] *= -1
        tenant = np.searchsorted(self._tenant_cdf, draws.tenant.random(size), side="right")
        return EventColumns(
            id=draws.id.integers(0, 2**64, (size, 2), dtype=np.uint64),
            tenant=tenant.astype(np.int32),
            model=_below(shape.models, draws.model, size),
            metric=_below(shape.metrics, draws.metric, size),
            run=_below(RUNS, draws.run, size),
            ts=ts.astype(np.int64),
            value=value,
        )

    def _repeat(
        self, index: NDArray[np.int64], kind: NDArray[np.int64], columns: EventColumns
    ) -> None:
        latest = np.where(kind >= _LATE, index, self._repeatable)
        repeatable = np.maximum.accumulate(np.maximum(latest, self._repeatable))
        self._repeatable = int(repeatable[-1])
        self._history.append(index, columns, repeatable)
        duplicate = kind == _DUPLICATE
        reach = np.minimum(index, self.workload.duplicate_lag_events)
        lag = 1 + (self._draws.lag.random(len(index)) * reach).astype(np.int64)
        older = index[duplicate] - np.minimum(lag, reach)[duplicate]
        columns.put(duplicate, self._history.repeat(older))

    def _tell_oracle(self, kind: NDArray[np.int64], columns: EventColumns) -> None:
        self.oracle.apply(columns.take(kind >= _LATE))
        self.oracle.duplicates += int(np.count_nonzero(kind == _DUPLICATE))
        if future := int(np.count_nonzero(kind == _FUTURE)):
            self.oracle.dead[TimestampInFuture.code] += future

    def _render(self, columns: EventColumns) -> EventBlock:
        tenants, models, metrics, runs = self._written, self._models, self._metrics, self._runs
        ids = columns.id.byteswap().tobytes().hex()
        values = [
            f'{{"event_id":"{ids[at : at + 32]}","tenant_id":{tenants[tenant]},'
            f'"model_id":"{models[model]}","metric":"{metrics[metric]}",'
            f'"ts":{ts},"value":{value!r},"run_id":"{runs[run]}"}}'.encode()
            for at, tenant, model, metric, run, ts, value in zip(
                range(0, len(ids), 32),
                columns.tenant.tolist(),
                columns.model.tolist(),
                columns.metric.tolist(),
                columns.run.tolist(),
                columns.ts.tolist(),
                columns.value.tolist(),
                strict=True,
            )
        ]
        if self.workload.spelling != "compact":
            values = [value.replace(b'":', b'": ').replace(b',"', b', "') for value in values]
        return EventBlock([self._keys[tenant] for tenant in columns.tenant.tolist()], values)

    def _spoil(
        self, kind: NDArray[np.int64], index: NDArray[np.int64], block: EventBlock
    ) -> EventBlock:
        for i in np.flatnonzero(kind == _POISON).tolist():
            # by index: a count of poisons would depend on the block's cut
            poison = POISONS[int(index[i]) % len(POISONS)]
            block.keys[i], block.values[i] = poison.spoil(block.keys[i], block.values[i])
            self.oracle.dead[poison.code] += 1
        return block


class _Draws:
    """The seed includes the start, so that event ids of a later run differ."""

    def __init__(self, workload: Workload) -> None:
        parent = np.random.SeedSequence([workload.seed, workload.start_ms])
        streams = iter([np.random.default_rng(child) for child in parent.spawn(10)])
        self.kind, self.id, self.tenant, self.model, self.metric = (next(streams) for _ in range(5))
        self.run, self.value, self.sign, self.shift, self.lag = streams


def _below(bound: int, draws: np.random.Generator, size: int) -> NDArray[np.int32]:
    """By multiplication: rejection would depend on the block's cut."""
    return (draws.random(size) * bound).astype(np.int32)


def _tenant_cdf(workload: Workload) -> NDArray[np.float64]:
    """Zipf's law, with tenant 0 raised by ``hot``."""
    weights = np.arange(1, workload.tenants + 1, dtype=np.float64) ** -workload.zipf
    shares = weights / weights.sum() * (1 - workload.hot)
    shares[0] += workload.hot
    cdf = np.cumsum(shares)
    # rounding may leave the last edge below a draw
    cdf[-1] = 1.0
    return cdf
