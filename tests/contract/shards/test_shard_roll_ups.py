"""Hours and days, recomputed alike by `MemoryShards` and by real ClickHouse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streams.core.errors import RollUpExpired
from streams.core.rows.built_in_tables import EPOCH_END, WindowRows, rebuilt_version, version_of

DAY_S = 86_400


async def test_an_hour_is_the_sum_of_its_minutes(world: Any, windows: Any, hour_start: Any) -> None:
    """It takes the latest version of each incarnation, all incarnations, and no neighbouring
    minute."""
    start = hour_start()
    await world.shards.insert(0, [windows(world.tenant, [start], n=1, ver=3, part=1)])
    inside = windows(world.tenant, [start + 60 * i for i in range(60)], n=2, ver=7, value=4.0)
    outside = windows(world.tenant, [start - 60, start + 3600], n=100, value=9.0)
    await world.shards.insert(0, [inside, outside])
    await world.shards.insert(0, [windows(world.tenant, [start], n=1, ver=6)])
    await world.shards.roll_up(0, "h1", start)
    (row,) = await world.rows("h1", 0)
    assert (row["w"], row["part"], row["inc"], row["n"]) == (start, 0, 0, 121)
    assert (row["s1"], row["s2"], row["lo"], row["hi"]) == (482.0, 1924.0, 2.0, 4.0)
    # 120 values of 4 and one of 2
    assert row["mean"] == pytest.approx(482 / 121)
    assert row["m2"] == pytest.approx(1924 - 482**2 / 121)
    assert (row["lv"], row["lt"]) == (63.0, (start + 59 * 60) * 1000 + 5)
    assert (row["sk_k"], row["sk_n"], row["ver"]) == ([1073], [121], 121)


async def test_a_small_deviation_about_a_large_mean_survives(
    world: Any, windows: Any, hour_start: Any
) -> None:
    """Squares of 1e12 have no digit left for a difference of 1: a sum of squares would give 0 or
    noise."""
    start = hour_start(2) - 3600
    for minute, value in enumerate((1e12 - 1, 1e12, 1e12 + 1)):
        rows = windows(world.tenant, [start + 60 * minute], n=7, value=value)
        await world.shards.insert(0, [rows])
    for table in ("h1", "d1"):
        await world.shards.roll_up(0, table, start)
        (row,) = await world.rows(table, 0)
        assert (row["mean"], row["m2"]) == pytest.approx((1e12, 14.0), rel=1e-12)


async def test_an_hour_follows_its_minutes_in_a_high_epoch(
    world: Any, windows: Any, hour_start: Any
) -> None:
    """The epoch counts before the number of values: a reset may begin with fewer of them."""
    start, starts = hour_start(), [hour_start() + 60 * minute for minute in range(60)]
    before, after = version_of(7000, 10), version_of(7000, 11)
    await world.shards.insert(0, [windows(world.tenant, starts, n=1, inc=before, ver=before)])
    await world.shards.roll_up(0, "h1", start)
    await world.shards.insert(0, [windows(world.tenant, [start], n=2, inc=before, ver=after)])
    await world.shards.roll_up(0, "h1", start)
    assert [(row["n"], row["ver"]) for row in await world.rows("h1", 0)] == [
        (61, version_of(7000, 61))
    ]


async def test_a_day_follows_late_minutes(world: Any, windows: Any, hour_start: Any) -> None:
    """Recomputing after a late row replaces the day; recomputing again changes nothing."""
    start = hour_start(2) - 3600
    await world.shards.insert(0, [windows(world.tenant, [start, start + DAY_S - 60], n=5)])
    for hour in (start, start + DAY_S - 3600):
        await world.shards.roll_up(0, "h1", hour)
    await world.shards.roll_up(0, "d1", start)
    await world.shards.insert(0, [windows(world.tenant, [start + 600], n=1, inc=2)])
    for _ in range(2):
        await world.shards.roll_up(0, "h1", start)
        await world.shards.roll_up(0, "d1", start)
    assert [(row["n"], row["ver"]) for row in await world.rows("d1", 0)] == [(11, 11)]


async def test_a_day_leaves_out_windows_that_have_their_own_row_in_it(
    world: Any, windows: Any, hour_start: Any
) -> None:
    """A window too old for m1 is written to h1 and d1: counted through the hour, it would count
    twice."""
    start = hour_start(2) - 3600
    await world.shards.insert(0, [windows(world.tenant, [start], n=5)])
    for table in ("h1", "d1"):
        await world.shards.insert(0, [windows(world.tenant, [start], table=table, n=2, inc=77)])
    await world.shards.roll_up(0, "h1", start)
    await world.shards.roll_up(0, "d1", start)
    assert sorted(row["n"] for row in await world.rows("d1", 0)) == [2, 5]


async def test_an_old_window_stays_beside_the_recomputed_hour(
    world: Any, windows: Any, hour_start: Any
) -> None:
    """A window too old for m1 is written to h1 under its own key; readers add both rows."""
    start = hour_start()
    await world.shards.insert(0, [windows(world.tenant, [start], n=5)])
    await world.shards.roll_up(0, "h1", start)
    await world.shards.insert(0, [windows(world.tenant, [start], table="h1", n=2, inc=77)])
    assert sorted(row["n"] for row in await world.rows("h1", 0)) == [2, 5]


async def test_an_hour_whose_minutes_expire_is_refused(world: Any, hour_start: Any) -> None:
    """Recomputing it would lower the stored counts."""
    with pytest.raises(RollUpExpired):
        await world.shards.roll_up(0, "h1", hour_start(31))


def _empty(rows: WindowRows) -> WindowRows:
    """As a rebuild writes them for keys of which the log has no record."""
    count = len(rows)
    zeros, none = np.zeros(count), np.zeros(0, np.int64)
    return replace(
        rows, n=zeros.astype(np.uint64), s1=zeros, s2=zeros, mean=zeros, m2=zeros,
        lo=zeros + np.inf, hi=zeros - np.inf, lv=zeros, lt=np.zeros(count, np.int64),
        sk_off=np.zeros(count + 1, np.int32), sk_k=none.astype(np.int16),
        sk_n=none.astype(np.uint32),
    )  # fmt: skip


async def test_an_hour_follows_rebuilt_minutes_that_count_less(
    world: Any, windows: Any, hour_start: Any
) -> None:
    """A rebuilt row has a higher generation, and an empty one takes no part in means and bounds."""
    start = hour_start(2) - 3600
    rebuilt = rebuilt_version(EPOCH_END, 1)
    await world.shards.insert(0, [windows(world.tenant, [start, start + 60], n=5, value=9.0)])
    await world.shards.insert(0, [windows(world.tenant, [start + 3600], n=5)])
    for hour in (start, start + 3600):
        await world.shards.roll_up(0, "h1", hour)
    await world.shards.roll_up(0, "d1", start)
    await world.shards.insert(0, [windows(world.tenant, [start], n=2, value=3.0, ver=rebuilt)])
    gone = windows(world.tenant, [start + 60, start + 3600], ver=rebuilt)
    await world.shards.insert(0, [_empty(gone)])
    for hour in (start, start + 3600):
        await world.shards.roll_up(0, "h1", hour)
    await world.shards.roll_up(0, "d1", start)
    shown = ("n", "s1", "mean", "m2", "lo", "hi", "sk_n", "ver")
    right = (2, 6.0, 3.0, 0.0, 3.0, 3.0, [2], version_of(EPOCH_END, 2))
    for table in ("h1", "d1"):
        rows = [row for row in await world.rows(table, 0) if row["n"]]
        assert [tuple(row[name] for name in shown) for row in rows] == [right]
