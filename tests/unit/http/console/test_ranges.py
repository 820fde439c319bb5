"""Heatmaps: counts that add up, over comparable bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.windows.minutes.sketch_code import encode
from streams.http.console.ranges import heatmaps_of

values = st.lists(st.floats(-1e150, 1e150, allow_nan=False), min_size=1, max_size=30)


def _row(step: int, found: list[float]) -> tuple[int, list[int], list[int]]:
    codes, counts = np.unique(encode(found), return_counts=True)
    return step, codes.tolist(), counts.tolist()


@given(st.lists(st.lists(values, max_size=4), min_size=1, max_size=3), st.integers(1, 64))
def test_every_value_is_counted_once(series, buckets):
    """The counts of each window add up to its number of values, and bounds ascend."""
    rows = [[_row(60 * i, found) for i, found in enumerate(windows)] for windows in series]
    heatmaps = heatmaps_of(rows, buckets)
    for windows, heatmap in zip(series, heatmaps, strict=True):
        assert heatmap["t"] == [60 * i for i in range(len(windows))]
        assert [sum(counts) for counts in heatmap["counts"]] == [len(found) for found in windows]
        assert heatmap["edges"] == heatmaps[0]["edges"]
        assert heatmap["edges"] == sorted(set(heatmap["edges"]))


async def _asked(http, bearer, query: str) -> int:
    answer = await http.get(f"/api/range?{query}", headers=bearer("read"))
    return answer.status_code


@pytest.mark.parametrize(
    "query",
    [
        "metric=x", "model=m", "model=m&metric=x&table=m2", "model=m&metric=x&buckets=65",
        "model=m&metric=x&from=-2h&to=-3h", "model=m&metric=x&table=h1&step=1m",
        "model=m&metric=x&from=-30d&table=m1&step=1m", "model=m&metric=x&step=90s",
        "metric=x&" + "&".join(f"model=m{n}" for n in range(9)),
    ],
)  # fmt: skip
async def test_invalid_ranges_are_refused(http, bearer, query):
    """The check comes before the query: ClickHouse is away here, and a query would give a 503."""
    assert await _asked(http, bearer, query) == 400
    assert await _asked(http, bearer, "model=m&metric=x&buckets=64&from=-30d") == 503
