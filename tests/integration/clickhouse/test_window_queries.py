"""Percentiles, roll-ups, series and views, on the real engine with two shards."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.app import app
from streams.connect.sinks import schema, series
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.connect.sinks.view_source import WINDOWS
from streams.connect.sinks.window_views.read import read
from streams.connect.sinks.window_views.series_view import SeriesReading
from streams.core.clock import SystemClock
from streams.core.rows.built_in_tables import WindowRows
from streams.core.settings import Settings
from streams.engine.windows.minutes.sketch_code import decode, encode

pytestmark = pytest.mark.stack

HOUR_S = 3600
PATIENCE_S = 200.0
DAY_S = 86_400


def samples() -> dict[str, NDArray[np.float64]]:
    """Value distributions that broke earlier versions of the sketch."""
    random = np.random.default_rng(7)
    latency = random.lognormal(-3, 1, 4000)
    return {
        "positive": latency,
        "negative": -latency * 1e6,
        "mixed": random.normal(0, 10, 4001),
        "zeros": np.where(random.random(3000) < 0.6, 0.0, random.normal(0, 1, 3000)),
        "tiny": random.uniform(1e-9, 3e-9, 2000),
        "huge": np.exp(random.uniform(0, 345, 3000)),
        "tens": random.integers(-5, 6, 1000).astype(np.float64),
        "one": np.array([0.3]),
        "two": np.array([-1.0, 1e-9]),
        "three apart": np.array([-1e14, 3.5, 1e14]),
        "four apart": np.array([-1e8, 3.0, 3.5, 4.0]),
        "offset": random.normal(1.7e9, 10, 2000),
    }


async def _stored(
    settings: Settings, rows: Mapping[str, list[WindowRows]], roll_up_s: int | None = None
) -> None:
    """Insert the rows of each tenant into its shard, and roll them up to the hour."""
    shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
    by_shard: defaultdict[int, list[WindowRows]] = defaultdict(list)
    for tenant, found in rows.items():
        by_shard[int(shards.maps[0].shard_of([tenant], ["m"], ["k"])[0])] += found
    for shard, found in by_shard.items():
        await shards.insert(shard, found)
        if roll_up_s is not None:
            await shards.roll_up(shard, "h1", roll_up_s)
    await shards.close()


def _hour(settings: Settings, tenant: str, start: int, table: str) -> dict[str, Any]:
    """The one row of the tenant's hour, as `dia query series` reads it."""
    query = series.SeriesQuery(
        tenant=tenant, model="m", metric="k", start_s=start, stop_s=start + HOUR_S, step_s=HOUR_S
    )
    (row,) = read(settings, SeriesReading(query, table)).rows
    return dict(zip(series.COLUMNS, row, strict=True))


async def test_percentiles_are_within_one_percent(
    settings: Settings, yesterday: Any, minutes_of: Any
) -> None:
    """The accuracy that `dia query series` promises, against numpy's inverted_cdf of the same
    values."""
    start, rows = yesterday(), {}
    for name, values in samples().items():
        tenant = f"percentiles-{name}"
        parts = [chunk for chunk in np.array_split(values, 3) if len(chunk)]
        rows[tenant] = [minutes_of(tenant, start, part, i) for i, part in enumerate(parts)]
    await _stored(settings, rows, roll_up_s=start)
    for name, values in samples().items():
        exact = np.percentile(values, [50, 95, 99], method="inverted_cdf")
        mean = pytest.approx(values.mean(), rel=1e-9, abs=1e-9 * abs(values).max())
        for table in ("m1", "h1"):
            found = _hour(settings, f"percentiles-{name}", start, table)
            assert found["count"] == len(values), name
            assert (found["min"], found["max"]) == (values.min(), values.max()), name
            assert found["mean"] == mean, name
            assert found["sd"] == pytest.approx(values.std(), rel=1e-6), name
            percentiles = [found["p50"], found["p95"], found["p99"]]
            np.testing.assert_allclose(percentiles, exact, rtol=0.01, err_msg=name)


FEW = (
    [0.91],
    [0.91, 0.93],
    [0.93, 0.92, 0.91],
    [0.5, 0.93, 0.91, 0.92],
    [0.92, 0.92, 0.92, 0.93],
    [0.0, 0.0, 0.0, 1.0],
)


async def test_percentiles_of_up_to_four_values_are_exact(
    settings: Settings, yesterday: Any, minutes_of: Any
) -> None:
    """With up to four values, users compare each digit."""
    start = yesterday()
    rows = {
        f"few-{values}": [minutes_of(f"few-{values}", start, np.array(values), 0, minutes=2)]
        for values in FEW
    }
    await _stored(settings, rows)
    for values in FEW:
        found = _hour(settings, f"few-{values}", start, "m1")
        exact = np.percentile(values, [50, 95, 99], method="inverted_cdf")
        scale = max(map(abs, values))
        percentiles = [found["p50"], found["p95"], found["p99"]]
        assert percentiles == pytest.approx(exact, abs=1e-9 * scale), values


async def test_a_series_is_divided_into_steps(
    settings: Settings, yesterday: Any, minutes_of: Any
) -> None:
    """Each step has its own numbers; a step without values has no row."""
    tenant, start = "stepped", yesterday() + 6 * HOUR_S
    shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
    shard = int(shards.maps[0].shard_of([tenant], ["m"], ["k"])[0])
    await shards.insert(shard, [minutes_of(tenant, start, np.arange(1.0, 31.0), 0, minutes=30)])
    await shards.close()
    query = series.SeriesQuery(
        tenant=tenant,
        model="m",
        metric="k",
        start_s=start,
        stop_s=start + HOUR_S,
        step_s=600,
    )
    rows = [
        dict(zip(series.COLUMNS, row, strict=True))
        for row in read(settings, SeriesReading(query, "m1")).rows
    ]
    assert [(row["count"], row["mean"], row["last"]) for row in rows] == [
        (10, 5.5, 10.0),
        (10, 15.5, 20.0),
        (10, 25.5, 30.0),
    ]


async def test_roll_ups_equal_the_sum_of_their_minutes(
    settings: Settings, servers: list[schema.Server], yesterday: Any, minutes_of: Any
) -> None:
    """Count, sums and sketch, through the views, for hours and for the day."""
    random = np.random.default_rng(3)
    start = yesterday() - 2 * DAY_S
    shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
    for shard in range(shards.count):
        chunks = [
            minutes_of(f"rolled-{shard}", start + hour * HOUR_S, random.normal(0, 5, 500), part)
            for hour in (0, 5, 23)
            for part in (0, 1)
        ]
        await shards.insert(shard, chunks)
        for hour in range(24):
            await shards.roll_up(shard, "h1", start + hour * HOUR_S)
        await shards.roll_up(shard, "d1", start)
    await shards.close()
    sql = (
        "SELECT tenant, toStartOfDay(w), sum(n), sum(s1), sum(s2), min(lo), max(hi), "
        "argMax(lv, (lt, inc)), sumMap(sk_k, sk_n) FROM {table} "
        "WHERE startsWith(tenant, 'rolled-') GROUP BY ALL ORDER BY ALL"
    )
    _, minutes = servers[0].replica.query(sql.format(table="m1"))
    assert [row[2] for row in minutes] == [3000, 3000]
    for table in ("h1", "d1"):
        _, rolled = servers[1].replica.query(sql.format(table=table))
        for exact, row in zip(minutes, rolled, strict=True):
            assert (row[0], row[2], row[5:]) == (exact[0], exact[2], exact[5:])
            assert row[3:5] == pytest.approx(exact[3:5], rel=1e-9, abs=1e-9)


async def test_a_view_reads_every_shard_once(
    settings: Settings, servers: list[schema.Server], yesterday: Any, minutes_of: Any
) -> None:
    """On any shard, exact without FINAL although each row was inserted three times."""
    tenant, start = "seen", yesterday()
    shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
    rows = minutes_of(tenant, start, np.arange(60.0), 0)
    for shard in range(shards.count):
        for _ in range(3):
            await shards.insert(shard, [rows])
    await shards.close()
    for server in servers:
        sql = "SELECT count(), sum(n) FROM m1 WHERE tenant = {tenant:String}"
        assert server.replica.query(sql, {"tenant": tenant})[1] == [(120, 120)]


async def test_readable_views_have_one_row_a_window_with_the_figures_of_series(
    settings: Settings, servers: list[schema.Server], yesterday: Any, minutes_of: Any
) -> None:
    """Two partitions fold one window each in part; people who write SQL see one row, with plain names, and
    none for a window that a rebuild emptied."""
    tenant, start = "read", yesterday()
    shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
    shard = int(shards.maps[0].shard_of([tenant], ["m"], ["k"])[0])
    values = np.random.default_rng(3).lognormal(2, 1, 400)
    for part, chunk in enumerate(np.array_split(values, 2)):
        await shards.insert(shard, [minutes_of(tenant, start, chunk, part, minutes=4)])
    # A rebuild leaves such a row of a window that had events it should not have had.
    fifth = minutes_of(tenant, start + 240, np.zeros(1), 0, minutes=1)
    nothing = {"n": np.zeros(1, np.uint64), "lo": np.array([np.inf]), "hi": np.array([-np.inf])}
    sketch = {"sk_off": np.zeros(2, np.int32), "sk_k": fifth.sk_k[:0], "sk_n": fifth.sk_n[:0]}
    await shards.insert(shard, [replace(fifth, **nothing, **sketch)])
    await shards.close()
    query = series.SeriesQuery(
        tenant=tenant, model="m", metric="k", start_s=start, stop_s=start + 300, step_s=60
    )
    expected = [row[1:] for row in read(settings, SeriesReading(query, "m1")).rows]
    columns = "events, mean, sd, min, max, last, p50, p95, p99"
    sql = f"SELECT {columns} FROM minutes WHERE tenant = {{tenant:String}} ORDER BY window_start"
    for server in servers:
        found = server.replica.query(sql, {"tenant": tenant})[1]
        assert len(found) == len(expected) == 4
        for row, wanted in zip(found, expected, strict=True):
            assert row == pytest.approx(tuple(wanted))
        told = "SELECT countIf(comment = '') FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
        for table in ("minutes", "hours", "days", "m1", "h1", "d1"):
            assert server.replica.query(told, {"table": table})[1] == [(0,)], table


async def test_shards_that_read_each_other_do_not_deadlock(
    servers: list[schema.Server],
) -> None:
    """All readers of one shard may wait for the other one: separate threads answer peer shards."""
    asked = [
        asyncio.to_thread(server.replica.query, "SELECT count() FROM m1")
        for _ in range(16)
        for server in servers
    ]
    answers = await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_S)
    assert len(answers) == 32


def test_views_and_tables_have_the_declared_columns(servers: list[schema.Server]) -> None:
    """The columns that a peer shard requests are declared twice: both must agree. Only the local tables
    of windows say which move brought a row."""
    sql = (
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() "
        "AND table = {table:String} ORDER BY position"
    )
    declared = {name: table.types for name, table in app.clickhouse_tables.items()}
    for name, columns in {**WINDOWS, **declared}.items():
        types = {column: str(kind) for column, kind in columns.items()}
        moved = {"moved": "UInt32"} if name in WINDOWS else {}
        for table, found in ((name, types), (f"{name}_local", {**types, **moved})):
            _, rows = servers[0].replica.query(sql, {"table": table})
            assert dict(rows) == found


def test_the_sql_function_decodes_like_python(servers: list[schema.Server]) -> None:
    """The sketch format has two implementations."""
    last = int(encode(1e150))
    _, rows = servers[0].replica.query(
        f"SELECT sketch_value(toInt16(number - {last})) FROM numbers({2 * last + 1})"
    )
    ours = decode(np.arange(-last, last + 1))
    np.testing.assert_allclose([row[0] for row in rows], ours, rtol=1e-11)
