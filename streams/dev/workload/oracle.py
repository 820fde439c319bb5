"""The expected result: the generator's record of every event, as columns (about 20 bytes per
applied event)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.dev.workload.columns import EventColumns

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Truth:
    """Minute windows as columns of equal length, sorted by (tenant, model, metric, minute).

    Row i belongs to ``tenants[tenant_code[i]]``, and so on; ``w`` is the window's start in seconds,
    ``s1`` the sum of its ``n`` values, ``s_abs`` of their magnitudes."""

    tenants: Sequence[str]
    models: Sequence[str]
    metrics: Sequence[str]
    tenant_code: NDArray[np.int64]
    model_code: NDArray[np.int64]
    metric_code: NDArray[np.int64]
    w: NDArray[np.int64]
    n: NDArray[np.int64]
    s1: NDArray[np.float64]
    s_abs: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.w)


class Oracle:
    """The result of each event: applied, duplicate, dead letter."""

    def __init__(
        self, tenants: Sequence[str], models: Sequence[str], metrics: Sequence[str]
    ) -> None:
        self.tenants, self.models, self.metrics = tenants, models, metrics
        self.duplicates = 0
        self.dead: Counter[str] = Counter()
        self._series: list[NDArray[np.int64]] = []
        self._minutes: list[NDArray[np.int32]] = []
        self._values: list[NDArray[np.float64]] = []

    @property
    def applied(self) -> int:
        return sum(map(len, self._values))

    @property
    def produced(self) -> int:
        return self.applied + self.duplicates + self.dead.total()

    def apply(self, events: EventColumns) -> None:
        models, metrics = len(self.models), len(self.metrics)
        tenant = events.tenant.astype(np.int64)
        self._series.append((tenant * models + events.model) * metrics + events.metric)
        self._minutes.append((events.ts // MINUTE_MS).astype(np.int32))
        self._values.append(events.value)

    def truth(self) -> Truth:
        """Sums have extended precision (64-bit mantissa): their error, at most n · 2⁻⁶⁴ · Σ|v|, is
        far below the tolerance 1e-9 · Σ|v|."""
        series, minutes, values = self._columns()
        first = int(minutes.min()) if len(minutes) else 0
        span = int(minutes.max()) - first + 1 if len(minutes) else 1
        window = series * span + (minutes - first)
        order = np.argsort(window, kind="stable")
        window = window[order]
        starts = np.flatnonzero(np.diff(window, prepend=-1))
        ids, counts = window[starts], np.diff(starts, append=len(window))
        values = values[order]
        models, metrics = len(self.models), len(self.metrics)
        at = ids // span
        return Truth(
            tenants=self.tenants,
            models=self.models,
            metrics=self.metrics,
            tenant_code=at // (models * metrics),
            model_code=at // metrics % models,
            metric_code=at % metrics,
            w=(ids % span + first) * (MINUTE_MS // 1000),
            n=counts.astype(np.int64),
            s1=_sums(values, starts),
            s_abs=_sums(np.abs(values), starts),
        )

    def _columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        if not self._series:
            none = np.empty(0, np.int64)
            return none, none, np.empty(0)
        minutes = np.concatenate(self._minutes).astype(np.int64)
        return np.concatenate(self._series), minutes, np.concatenate(self._values)


def _sums(values: NDArray[np.float64], starts: NDArray[np.intp]) -> NDArray[np.float64]:
    if not len(values):
        return np.empty(0)
    return np.add.reduceat(values.astype(np.longdouble), starts).astype(np.float64)
