"""Rows as Arrow tables: an exact and cheap way from numpy columns into ClickHouse. 20,000 window
rows take about 1.5 ms."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.core.rows.built_in_tables import FactRows, Rows, WindowRows
from streams.core.rows.column_type import TIME, ColumnType

_TIME = pa.timestamp("ms", "UTC")
_ARROW: Mapping[str, pa.DataType] = {
    "String": pa.string(),
    "Bool": pa.bool_(),
    "Float32": pa.float32(),
    "Float64": pa.float64(),
    "Date": pa.date32(),
    TIME: _TIME,
    **{f"Int{bits}": getattr(pa, f"int{bits}")() for bits in (8, 16, 32, 64)},
    **{f"UInt{bits}": getattr(pa, f"uint{bits}")() for bits in (8, 16, 32, 64)},
}

UNFIT = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""Raised for a value that does not fit its column. (An encoding error is a ValueError.)"""


class _NoPandas:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not wanted here", name=name)


def forgo_pandas() -> None:
    """Keep pyarrow from importing pandas, which chdb installs, with the first array: 1.5 s of CPU
    while a worker restarts."""
    blind = _NoPandas()
    sys.meta_path.insert(0, blind)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(blind)


def table(chunks: Sequence[Rows]) -> pa.Table:
    """In order; all chunks are of one ClickHouse table. Raises one of `UNFIT`."""
    parts = [_windows(c) if isinstance(c, WindowRows) else _facts(c) for c in chunks]
    if len(parts) == 1:
        return parts[0]
    return pa.concat_tables(parts, promote_options="default").unify_dictionaries()


def stream(rows: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return memoryview(sink.getvalue())


def _windows(rows: WindowRows) -> pa.Table:
    moved = {"moved": pa.array(np.full(len(rows), rows.moved, np.uint32))} if rows.moved else {}
    return pa.table(
        {
            "tenant": _names(rows.tenant_code, rows.tenants),
            "model": _names(rows.model_code, rows.models),
            "metric": _names(rows.metric_code, rows.metrics),
            "w": pa.array(rows.w),
            "part": pa.array(np.full(len(rows), rows.part, np.uint32)),
            "inc": pa.array(rows.inc),
            "n": pa.array(rows.n),
            "s1": pa.array(rows.s1),
            "s2": pa.array(rows.s2),
            "mean": pa.array(rows.mean),
            "m2": pa.array(rows.m2),
            "lo": pa.array(rows.lo),
            "hi": pa.array(rows.hi),
            "lv": pa.array(rows.lv),
            "lt": pa.array(rows.lt).view(_TIME),
            "sk_k": _ragged(rows.sk_off, rows.sk_k),
            "sk_n": _ragged(rows.sk_off, rows.sk_n),
            "ver": pa.array(rows.ver),
            **moved,
        }
    )


def _names(codes: NDArray[np.int32], names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.string()))


def _ragged(offsets: NDArray[np.int32], values: NDArray[Any]) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _facts(rows: FactRows) -> pa.Table:
    types = rows.declared.types
    columns = {
        name: pa.array(plain(values), arrow_type(types[name]))
        for name, values in rows.columns.items()
    }
    return pa.table(columns)


@cache
def arrow_type(kind: ColumnType) -> pa.DataType:
    if kind.name in ("LowCardinality", "Nullable"):
        return arrow_type(kind.inside[0])
    if kind.name == "Array":
        return pa.list_(arrow_type(kind.inside[0]))
    if kind.name == "Map":
        return pa.map_(arrow_type(kind.inside[0]), arrow_type(kind.inside[1]))
    return _ARROW[kind.name]


def plain(values: Sequence[Any]) -> Sequence[Any]:
    """Arrow's map type requires lists of pairs."""
    return [list(v.items()) if isinstance(v, Mapping) else v for v in values]
