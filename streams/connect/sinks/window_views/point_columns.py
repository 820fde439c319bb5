"""Points as Arrow columns, for files and notebooks."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from streams.connect.sinks.arrow import arrow_type
from streams.connect.sinks.window_views.view import WindowPoints, WindowView
from streams.core.rows.column_type import column_type
from streams.core.rows.window_figures import WindowFigure


def point_columns(
    view: WindowView, figures: Sequence[WindowFigure], points: WindowPoints
) -> pa.RecordBatch:
    """``t`` in UTC, to the second where windows follow each other, else to the millisecond; other columns as
    in ``points``."""
    unit, scale = ("s", 1) if view.disjoint else ("ms", 1000)
    kinds = {one.name: arrow_type(column_type(one.type)) for one in figures}
    kinds["closed"] = pa.bool_()
    arrays = {
        "t": pa.array([round(t * scale) for t in points.columns["t"]], pa.timestamp(unit, "UTC"))
    }
    for name, values in points.columns.items():
        if name != "t":
            arrays[name] = pa.array(values, kinds[name])
    return pa.RecordBatch.from_arrays([*arrays.values()], names=[*arrays])
