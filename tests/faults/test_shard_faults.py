"""ClickHouse shards that are unavailable, slow, cut off, refusing, or refusing one row."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest

from agents.app import app
from streams.connect.sinks.schema import servers
from streams.core.records.bad_records import RowRefused
from tests.faults.services import absent
from tests.faults.shard_proxy import Weather

HELD_S = 6.0
LONGER_S = 45.0
"""The settings with an insert deadline that a slow shard meets."""


async def rows_on(trial, shard):
    """Number of minute rows on one shard."""
    found = servers(trial.settings, app.clickhouse_tables)
    try:
        replica = found[shard].replica
        _, rows = await asyncio.to_thread(replica.query, "SELECT count() FROM m1_local")
        return int(rows[0][0])
    finally:
        for server in found:
            server.replica.close()


async def rows_again(trial, shard):
    """Wait until the shard holds more rows than at the call; return the seconds it took."""
    before, began = await rows_on(trial, shard), time.monotonic()
    while await rows_on(trial, shard) <= before:
        assert time.monotonic() - began < 90, "no row came after the fault"
        await asyncio.sleep(0.1)
    trial.recovery_s = time.monotonic() - began


@pytest.mark.parametrize(
    ("fault", "weather", "answer"),
    [
        ("shard never answers", Weather.HUNG, None),
        ("body of an insert cut in the middle", Weather.CUT_BODY, None),
        ("answer to an insert lost", Weather.CUT_ANSWER, None),
        ("shard answers 401", Weather.REFUSED, (401, 516)),
        ("shard answers code 252", Weather.REFUSED, (500, 252)),
    ],
)
async def test_a_shard_in_bad_weather_holds_back_only_itself(
    trial, proxies, report, fault, weather, answer
):
    """Its rows wait in the state and the other shard's do not; afterwards no row is missing or
    doubled."""
    worker = trial.worker()
    await worker.ready()
    trial.feed(100_000)
    await asyncio.sleep(1.5)
    ill, well = proxies
    if answer is not None:
        ill.refuse(*answer)
    ill.weather = weather
    sister_before = await rows_on(trial, 1)
    await asyncio.sleep(HELD_S)
    assert ill.hurt > 0
    assert well.hurt == 0
    assert await rows_on(trial, 1) > sister_before
    ill.weather = Weather.FAIR
    await rows_again(trial, 0)
    report(await trial.exact(fault))


async def test_a_shard_that_takes_thirty_seconds_still_gets_every_row(trial, proxies, report):
    """The worker waits for the slow insert and does not repeat it."""
    worker = trial.worker(sink_timeout_s=LONGER_S)
    await worker.ready()
    trial.feed(60_000)
    await asyncio.sleep(1.0)
    proxies[0].delay_s, proxies[0].weather = 30.0, Weather.SLOW
    await asyncio.sleep(HELD_S)
    assert proxies[0].hurt > 0
    proxies[0].weather = Weather.FAIR
    await rows_again(trial, 0)
    report(await trial.exact("shard answers after 30 s"))


async def test_a_shard_killed_under_load_costs_nothing(trial, report):
    """It comes back with the rows that it acknowledged, and gets the others again."""
    worker = trial.worker()
    await worker.ready()
    trial.feed(100_000)
    away = absent(trial.stack.home, "clickhouse-0")
    await asyncio.to_thread(away.__enter__)
    try:
        await asyncio.sleep(HELD_S)
    finally:
        await asyncio.to_thread(away.__exit__, None, None, None)
    await rows_again(trial, 0)
    report(await trial.exact("shard kill -9, away for some seconds"))


async def test_a_worker_stops_in_time_while_a_shard_hangs(trial, proxies, report):
    """Its threads wait on a silent connection; the process must still end."""
    worker = trial.worker(sink_timeout_s=300, drain_timeout_s=5)
    await worker.ready()
    trial.feed(60_000)
    proxies[0].weather = Weather.HUNG
    await worker.until(lambda _: proxies[0].hurt > 0)
    worker.send(signal.SIGTERM)
    assert await worker.ended(30) == 0, worker.tail()
    proxies[0].weather = Weather.FAIR
    trial.worker()
    await trial.recovered()
    report(await trial.exact("SIGTERM while a shard hangs"))


async def test_one_refused_row_in_a_large_batch_becomes_one_dead_letter(trial, report):
    """All other rows of its insert are stored; with the dead letters added back, the sums are
    complete."""
    series = ("tenant-0000", "model-000", "metric-00")
    rule = "tenant != '{}' OR model != '{}' OR metric != '{}'".format(*series)
    found = servers(trial.settings, app.clickhouse_tables)
    for server in found:
        await asyncio.to_thread(
            server.replica.command, f"ALTER TABLE m1_local ADD CONSTRAINT unwanted CHECK {rule}"
        )
    try:
        trial.feed(150_000, rate_per_s=None, tenants=1000, models=50, metrics=20)
        await trial.fed()
        trial.worker()
        await trial.settled()
        report(await buried_and_exact(trial, series))
        await trial.audited()
    finally:
        for server in found:
            await asyncio.to_thread(
                server.replica.command, "ALTER TABLE m1_local DROP CONSTRAINT unwanted"
            )
            server.replica.close()


async def buried_and_exact(trial, series):
    """Compare as if the refused rows had been stored and were not dead letters."""
    found = await trial.reading.everything()
    letters = [
        json.loads(value)
        for named, value in await trial.dead_letters()
        if named["error_code"] == RowRefused.code and named["stage"] == "sink"
    ]
    assert letters
    assert {(row["tenant"], row["model"], row["metric"]) for row in letters} == {series}
    assert len({(row["w"], row["part"], row["inc"]) for row in letters}) == len(letters)
    put_back = pa.table(
        {
            name: pa.array([row[name] for row in letters]).cast(
                found.windows.schema.field(name).type
            )
            for name in found.windows.column_names
        },
        schema=found.windows.schema,
    )
    refused = Counter({RowRefused.code: len(letters)})
    return trial.judge(
        "one row of a batch refused",
        replace(
            found,
            windows=pa.concat_tables([found.windows, put_back]),
            dead_in_dlq=Counter(found.dead_in_dlq) - refused,
            dead_in_rows=Counter(found.dead_in_rows) - refused,
        ),
        note=f"{len(letters)} dead letters of stage sink, put back for the comparison",
    )
