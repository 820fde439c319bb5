"""Store all rows but those a shard will never take, and say which those are."""

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
"""Partitions one insert may touch; ClickHouse refuses the insert past 100 (code 252)."""
REFUSED_MAX = 100
"""More refused rows in one insert than this are no bad rows but a wrong schema: stop asking."""


def store(
    rows: pa.Table, partition: NDArray[np.int64] | None, send: Callable[[pa.Table], None]
) -> None:
    """Send ``rows``, cut so that no insert touches more than `PARTITIONS_MAX` partitions.

    ``partition`` is each row's partition, None where one insert cannot touch many. ``send``
    raises `RowsUnfit` when a row does not fit; halves are then tried until the row is found,
    at most 2 log2(n) inserts a row. Raises `RowsRefused` once all other rows are stored, and
    `ShardUnavailable` past `REFUSED_MAX`.
    """
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
    """The order to send rows in (None: as they are), and (start, stop) ranges, last one first."""
    if partition is None:
        return None, [(0, count)]
    distinct = np.unique(partition)
    if len(distinct) <= PARTITIONS_MAX:
        return None, [(0, count)]
    order = np.argsort(partition, kind="stable")
    first = np.searchsorted(partition[order], distinct[::PARTITIONS_MAX])
    bounds = [*first.tolist(), count]
    return order, list(pairwise(bounds))[::-1]
