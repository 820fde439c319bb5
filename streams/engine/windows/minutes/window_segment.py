"""Segments: the stored form of changed windows.

A partition's windows are a log of segments with rising numbers. A segment holds, for every window
that changed in a commit, its scalar state (count, sums, ...), and of its sketch either the buckets
added since the last segment, or (``base == 0``) all of them. The current state of a window is:
scalars of its last row; buckets of its last full row and of every row after it.

Segments are dropped from the front only; the commit that drops one writes the live windows whose
full row is in it again, in full. So a row whose ``base`` segment is gone belongs to an evicted
window and is ignored; an evicted window whose rows all remain is restored and repeats rows at the
same versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray

from streams.engine.state.runs import ragged
from streams.engine.state.table import MAX_ENTRY_BYTES
from streams.engine.windows.minutes.names import SeriesNames, codes_in_use, joined, split
from streams.engine.windows.minutes.sketch_runs import Buckets, codes_of, combine, serials_of
from streams.engine.windows.minutes.window_columns import WindowColumns

ROW_COLUMNS: tuple[tuple[str, DTypeLike], ...] = (
    ("minute", "<i4"),
    ("old", "|b1"),
    ("inc", "<u8"),
    ("ver", "<u8"),
    ("n", "<u4"),
    ("s1", "<f8"),
    ("pivot", "<f8"),
    ("d1", "<f8"),
    ("d2", "<f8"),
    ("lo", "<f8"),
    ("hi", "<f8"),
    ("lv", "<f8"),
    ("lt", "<i8"),
    ("base", "<i8"),
)
_NAME_BYTES_PER_ROW = 12
_ROW_BYTES = _NAME_BYTES_PER_ROW + 4 + sum(np.dtype(dtype).itemsize for _, dtype in ROW_COLUMNS)
_BUCKET_BYTES = 6
_NAME_OVERHEAD_BYTES = 5
_HEADER_BYTES = 1024

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode


@dataclass(slots=True)
class SegmentRows:
    """Decoded rows of one or more segments: parallel columns, and sketch slices by row."""

    key: NDArray[np.int64]
    segment: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]
    sk_len: NDArray[np.int64]
    sk_k: NDArray[np.int16]
    sk_n: NDArray[np.int64]


def encode_rows(
    names: SeriesNames,
    columns: WindowColumns,
    slots: NDArray[np.int64],
    base: NDArray[np.int64],
    sketch: Buckets,
) -> Iterator[tuple[NDArray[np.int64], bytes]]:
    """Cut ``slots`` (ascending by serial) into segments below the entry limit.

    ``base`` replaces the base column (0 for rows whose buckets in ``sketch`` are complete). Yields
    the slots of each segment and its bytes.
    """
    buckets, counts = sketch
    owner = np.searchsorted(columns.serial[slots], serials_of(buckets))
    lengths = np.bincount(owner, minlength=len(slots)).astype(np.int64)
    ends = np.cumsum(lengths)
    sizes = _ROW_BYTES + _BUCKET_BYTES * lengths
    for first, last in _cuts(names, columns.key[slots], sizes):
        low = int(ends[first] - lengths[first])
        high = int(ends[last - 1])
        part = slots[first:last]
        yield (
            part,
            _encode(
                [
                    *_names(names, columns.key[part]),
                    *(
                        _column(columns, name, part, base[first:last], dtype)
                        for name, dtype in ROW_COLUMNS
                    ),
                    lengths[first:last].astype("<u4").tobytes(),
                    codes_of(buckets[low:high]).astype("<i2").tobytes(),
                    counts[low:high].astype("<u4").tobytes(),
                ]
            ),
        )


def _names(names: SeriesNames, keys: NDArray[np.int64]) -> list[Any]:
    local = names.local(keys)
    pairs = (
        (local.tenants, local.tenant_code),
        (local.models, local.model_code),
        (local.metrics, local.metric_code),
    )
    return [part for used, index in pairs for part in (used, index.astype("<u4").tobytes())]


def _column(
    columns: WindowColumns,
    name: str,
    slots: NDArray[np.int64],
    base: NDArray[np.int64],
    dtype: DTypeLike,
) -> bytes:
    values = base if name == "base" else getattr(columns, name)[slots]
    return values.astype(dtype).tobytes()


def _cuts(
    names: SeriesNames, keys: NDArray[np.int64], sizes: NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    """Row ranges whose segments stay below the limit.

    Rows usually share few names, which are charged once; otherwise each row is charged for its
    three.
    """
    dimensions = (names.tenants, names.models, names.metrics)
    codes = list(zip(split(keys), dimensions, strict=True))
    shared = sum(
        int((dimension.sizes[codes_in_use(code, len(dimension))] + _NAME_OVERHEAD_BYTES).sum())
        for code, dimension in codes
    )
    budget = MAX_ENTRY_BYTES - _HEADER_BYTES
    if shared <= budget // 2:
        budget -= shared
    else:
        sizes = sizes + sum(
            dimension.sizes[code] + _NAME_OVERHEAD_BYTES for code, dimension in codes
        )
    total = np.cumsum(sizes)
    first, used = 0, 0
    while first < len(sizes):
        last = max(first + 1, int(np.searchsorted(total, used + budget, side="right")))
        yield first, last
        first, used = last, int(total[last - 1])


def decode_rows(names: SeriesNames, items: Iterable[tuple[int, bytes]]) -> SegmentRows:
    keys: list[NDArray[np.int64]] = []
    numbers: list[NDArray[np.int64]] = []
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name, _ in ROW_COLUMNS}
    sketch: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for number, value in items:
        fields = _decode(value)
        rows = _series_keys(names, fields[:6])
        keys.append(rows)
        numbers.append(np.full(len(rows), number, np.int64))
        for (name, dtype), data in zip(ROW_COLUMNS, fields[6:], strict=False):
            parts[name].append(np.frombuffer(data, dtype))
        length, code, count = fields[6 + len(ROW_COLUMNS) :]
        sketch.append(
            (
                np.frombuffer(length, "<u4").astype(np.int64),
                np.frombuffer(code, "<i2"),
                np.frombuffer(count, "<u4").astype(np.int64),
            )
        )
    return SegmentRows(
        key=_joined(keys, np.int64),
        segment=_joined(numbers, np.int64),
        columns={name: _joined(parts[name], dtype) for name, dtype in ROW_COLUMNS},
        sk_len=_joined([part[0] for part in sketch], np.int64),
        sk_k=_joined([part[1] for part in sketch], np.int16),
        sk_n=_joined([part[2] for part in sketch], np.int64),
    )


def _series_keys(names: SeriesNames, fields: list[Any]) -> NDArray[np.int64]:
    columns = []
    dimensions = (names.tenants, names.models, names.metrics)
    for dimension, used, index in zip(dimensions, fields[0::2], fields[1::2], strict=True):
        codes = dimension.codes(used)
        columns.append(codes[np.frombuffer(index, "<u4")])
    return joined(*columns)


def _joined(arrays: list[NDArray[Any]], dtype: DTypeLike) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def current_rows(rows: SegmentRows) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Find the live windows in a log of segments.

    Returns (last, owner, entries): index of each live window's last row; and, for every valid
    sketch entry, its window (an index into ``last``) and its index into ``sk_k``.
    """
    order = np.lexsort((rows.columns["inc"], rows.key, rows.columns["minute"]))
    first = np.flatnonzero(_changes(rows, order))
    if not len(first):
        empty = np.empty(0, np.intp)
        return empty, empty, empty
    size = np.diff(np.r_[first, len(order)])
    last = order[first + size - 1]
    full = np.where(rows.columns["base"][order] == 0, order, -1)
    last_full = np.maximum.reduceat(full, first)
    stated = rows.columns["base"][last]
    complete = (last_full >= 0) & ((stated == 0) | (stated == rows.segment[last_full]))
    group = np.repeat(np.arange(len(first)), size)
    counts = complete[group] & (order >= last_full[group])
    window = np.cumsum(complete) - 1
    row, owner = order[counts], window[group[counts]]
    ends = np.cumsum(rows.sk_len)
    entries = ragged(ends[row] - rows.sk_len[row], rows.sk_len[row])
    return last[complete], np.repeat(owner, rows.sk_len[row]), entries


def _changes(rows: SegmentRows, order: NDArray[np.intp]) -> NDArray[np.bool_]:
    """True where (minute, series, incarnation) differs from the row before."""
    changed = np.ones(len(order), np.bool_)
    if len(order):
        changed[1:] = False
    for column in (rows.columns["minute"], rows.key, rows.columns["inc"]):
        ordered = column[order]
        changed[1:] |= ordered[1:] != ordered[:-1]
    return changed


def sketch_of(
    rows: SegmentRows,
    owner: NDArray[np.intp],
    entries: NDArray[np.intp],
    serials: NDArray[np.int64],
) -> Buckets:
    """Buckets of the windows numbered ``serials``, from the result of `current_rows`."""
    codes = rows.sk_k[entries].astype(np.int64)
    return combine((serials[owner] << 16) | (codes + (1 << 15)), rows.sk_n[entries])
