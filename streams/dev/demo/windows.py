"""Compares minute windows in ClickHouse with the oracle's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.dev.workload.oracle import Truth

SUM_TOLERANCE = 1e-9
"""of Σ|v|: the order of addition differs"""

DIFFERENCES_SHOWN = 10

_MINUTE_BITS = 26
"""minutes since the epoch, until the year 2097"""


class WindowDifference(NamedTuple):
    """(count, sum), None on the side that lacks the window."""

    window: str
    expected: tuple[int, float] | None
    found: tuple[int, float] | None


class Comparison(NamedTuple):
    """``differences`` holds the first `DIFFERENCES_SHOWN`."""

    expected: int
    found: int
    missing: int
    unexpected: int
    on_two_shards: int
    wrong_count: int
    wrong_sum: int
    events: int
    differences: tuple[WindowDifference, ...]


def compare(truth: Truth, windows: pa.Table) -> Comparison:
    """Counts must be equal and sums within `SUM_TOLERANCE` of Σ|v|. ``windows`` has a row per
    shard, tenant, model, metric and w (start, seconds), with n and s1."""
    expected_keys, found_keys = _keys(truth, windows)
    keys, rows, copies = np.unique(found_keys, return_index=True, return_counts=True)
    n, s1 = (windows[name].to_numpy()[rows] for name in ("n", "s1"))
    at, there = _locate(keys, expected_keys)
    unexpected = ~np.isin(keys, expected_keys)
    wrong_count, wrong_sum = np.zeros_like(there), np.zeros_like(there)
    wrong_count[there] = truth.n[there] != n[at[there]]
    error = np.abs(truth.s1[there] - s1[at[there]])
    # a NaN must be a difference
    wrong_sum[there] = ~(error <= SUM_TOLERANCE * truth.s_abs[there])
    wrong = np.flatnonzero(~there | wrong_count | wrong_sum)[:DIFFERENCES_SHOWN].tolist()
    differences = [
        WindowDifference(
            _name_of(truth, i),
            (int(truth.n[i]), float(truth.s1[i])),
            (int(n[at[i]]), float(s1[at[i]])) if there[i] else None,
        )
        for i in wrong
    ]
    differences += [
        WindowDifference(_name_of_row(windows, int(rows[i])), None, (int(n[i]), float(s1[i])))
        for i in np.flatnonzero(unexpected)[:DIFFERENCES_SHOWN].tolist()
    ]
    return Comparison(
        expected=len(truth),
        found=len(keys),
        missing=_count(~there),
        unexpected=_count(unexpected),
        on_two_shards=_count(copies > 1),
        wrong_count=_count(wrong_count),
        wrong_sum=_count(wrong_sum),
        events=int(windows["n"].to_numpy().sum()),
        differences=tuple(differences[:DIFFERENCES_SHOWN]),
    )


def _keys(truth: Truth, windows: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One number per window, the same on both sides."""
    expected = np.zeros(len(truth), np.int64)
    found = np.zeros(len(windows), np.int64)
    for column, names, codes in (
        ("tenant", truth.tenants, truth.tenant_code),
        ("model", truth.models, truth.model_code),
        ("metric", truth.metrics, truth.metric_code),
    ):
        found_codes, size = _codes(windows[column], names)
        expected = expected * size + codes
        found = found * size + found_codes
    minutes = windows["w"].to_numpy().astype(np.int64) // 60
    return (expected << _MINUTE_BITS) | (truth.w // 60), (found << _MINUTE_BITS) | minutes


def _codes(column: pa.ChunkedArray, names: Sequence[str]) -> tuple[NDArray[np.int64], int]:
    """Indexes into ``names``, unknown ones behind them; and the number of names."""
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    known = {name: code for code, name in enumerate(names)}
    for name in encoded.dictionary.to_pylist():
        known.setdefault(name, len(known))
    codes = np.array([known[name] for name in encoded.dictionary.to_pylist()], np.int64)
    return codes[encoded.indices.to_numpy()], len(known)


def _locate(
    keys: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Positions of the wanted keys in the sorted ``keys``, and whether they are there."""
    if not len(keys):
        return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), np.bool_)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, keys[at] == wanted


def _count(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


def _name_of(truth: Truth, i: int) -> str:
    series = (
        truth.tenants[truth.tenant_code[i]],
        truth.models[truth.model_code[i]],
        truth.metrics[truth.metric_code[i]],
    )
    return _window(*series, int(truth.w[i]))


def _name_of_row(windows: pa.Table, i: int) -> str:
    tenant, model, metric, w = (
        windows[name][i].as_py() for name in ("tenant", "model", "metric", "w")
    )
    return _window(tenant, model, metric, int(w))


def _window(tenant: Any, model: Any, metric: Any, w: int) -> str:
    return f"{tenant} {model} {metric} {np.datetime64(w, 's')}Z"
