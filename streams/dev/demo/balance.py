"""The difference between a pipeline's windows and the generator's oracle."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from streams.dev.workload.oracle import Truth


def balance(truth: Truth, windows: pa.Table) -> tuple[int, int]:
    """Events missing from ``windows`` (an Arrow table: tenant, model, metric, w, n), and events
    that are too many."""
    surplus: Counter[tuple[str, str, str, int]] = Counter()
    columns = (windows[name].to_pylist() for name in ("tenant", "model", "metric", "w", "n"))
    for tenant, model, metric, w, n in zip(*columns, strict=True):
        surplus[tenant, model, metric, int(w)] += int(n)
    expected = zip(
        np.array(truth.tenants)[truth.tenant_code].tolist(),
        np.array(truth.models)[truth.model_code].tolist(),
        np.array(truth.metrics)[truth.metric_code].tolist(),
        truth.w.tolist(),
        truth.n.tolist(),
        strict=True,
    )
    for tenant, model, metric, w, n in expected:
        surplus[tenant, model, metric, w] -= n
    lost = -sum(n for n in surplus.values() if n < 0)
    return lost, sum(n for n in surplus.values() if n > 0)
