"""Stores all rows except those that the shard refuses, and returns their indexes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.connect.sinks.replica import RowsUnfit
from streams.core.errors import ShardUnavailable
from streams.core.rows.built_in_tables import RowsRefused

PARTITIONS_MAX = 90
"""of ClickHouse; the server refuses more than 100 per insert (code 252)"""
REFUSED_MAX = 100
"""More indicate a wrong schema; bisection stops."""


def store(
    rows: pa.Table, partition: NDArray[np.int64] | None, send: Callable[[pa.Table], None]
) -> None:
    """Send ``rows`` in inserts of at most `PARTITIONS_MAX` ClickHouse partitions.

    ``partition`` is each row's; None when they are few. ``send`` raises `RowsUnfit` when a row does
    not fit; bisection finds it in at most 2 log2(n) inserts. Raises `RowsRefused` once all other
    rows are stored, and `ShardUnavailable` past `REFUSED_MAX`."""
    order, ranges = _cut(rows.num_rows, partition)
    sorted_rows = rows if order is None else rows.take(pa.array(order))
    refused: list[int] = []
    reason = ""
    while ranges:
        start, stop = ranges.pop()
        try:
            send(sorted_rows.slice(start, stop - start))
        except RowsUnfit as error:
            if stop - start > 1:
                middle = (start + stop) // 2
                ranges += [(middle, stop), (start, middle)]
                continue
            refused.append(start if order is None else int(order[start]))
            reason = str(error)
            if len(refused) > REFUSED_MAX:
                raise ShardUnavailable(
                    f"more than {REFUSED_MAX} rows of one insert do not fit their table, the last: "
                    f"{reason}. Its schema may be behind: `dia migrate status`."
                ) from error
    if refused:
        raise RowsRefused(sorted(refused), reason)


def _cut(
    count: int, partition: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64] | None, list[tuple[int, int]]]:
    """The order in which to send rows (None: unchanged), and (start, stop) ranges, last first."""
    if partition is None:
        return None, [(0, count)]
    distinct = np.unique(partition)
    if len(distinct) <= PARTITIONS_MAX:
        return None, [(0, count)]
    order = np.argsort(partition, kind="stable")
    first = np.searchsorted(partition[order], distinct[::PARTITIONS_MAX])
    bounds = [*first.tolist(), count]
    return order, list(pairwise(bounds))[::-1]
