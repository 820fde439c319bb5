"""Joins the steps of one series that several shards have parts of.

Around the day of a new shard map a series has windows on two shards. A step whose windows are all on
one shard is passed on; another is computed here, by the rules of `streams.connect.sinks.series`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, TypeAlias

import numpy as np

from streams.connect.sinks.percentiles import QUANTILES
from streams.core.rows.deviations import combined

Rows: TypeAlias = Sequence[Sequence[Any]]

EXTRA: Final = 3
"""columns at a row's end that only joining needs: codes, counts, and (time, incarnation) of the last
value"""


def joined(parts: Sequence[Rows]) -> list[Sequence[Any]]:
    """The steps of all shards, ascending. A row is that of `streams.connect.sinks.series.steps`, by its step or
    by the name that is ranked, and the `EXTRA` columns."""
    return [rows[0] if len(rows) == 1 else _one(rows) for rows in by_step(parts)]


def by_step(parts: Sequence[Rows]) -> list[list[Sequence[Any]]]:
    """The rows of all shards that have the same first column, a step or a name, ascending by it."""
    found: defaultdict[int | str, list[Sequence[Any]]] = defaultdict(list)
    for rows in parts:
        for row in rows:
            found[row[0]].append(row)
    return [rows for _, rows in sorted(found.items())]


def _one(rows: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    step, *_ = rows[0]
    n, means, m2s, low, high = (np.array([row[i] for row in rows]) for i in range(1, 6))
    total = int(n.sum())
    mean, m2 = combined(n, means, m2s)
    last = max(rows, key=lambda row: tuple(row[-1]))
    counts: Counter[int] = Counter()
    for row in rows:
        counts.update(dict(zip(row[-3], row[-2], strict=True)))
    smallest, largest = float(low.min()), float(high.max())
    codes = sorted(counts)
    return (
        *(step, total, min(max(mean, smallest), largest), m2, smallest, largest, last[6]),
        _of_ranks(codes, counts, total),
        *(codes, [counts[code] for code in codes], last[-1]),
    )


def _of_ranks(codes: Sequence[int], counts: Mapping[int, int], total: int) -> list[int]:
    """The code of each of `QUANTILES`: codes sort as values do."""
    upto = [*accumulate(counts[code] for code in codes)]
    ranks = (max(1, math.ceil(share * total)) for share in QUANTILES)
    return [codes[bisect_left(upto, rank)] for rank in ranks]
