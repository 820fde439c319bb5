"""A real stack grows from two shards to three while events arrive and a worker is killed."""

from __future__ import annotations

import asyncio
import json
import time

import msgspec
import pytest

from agents.app import MODEL_METRICS, app
from streams.connect.sinks.schema import servers
from streams.core.clock import SystemClock
from streams.core.settings import load
from streams.dev.demo.reading import TopicReading
from streams.dev.workload.generator import Generator
from streams.dev.workload.shape import Workload
from streams.operate.shards import growth
from tests.faults.trial import PATIENCE_S, POLL_S, Trial
from tests.integration.clickhouse.conftest import Front

DATABASE = "added_shard"
DAY_MS = 86_400_000
BEFORE, MEANWHILE, AFTER = 1500, 1500, 6000
STEP_MS = 1.2
RATE_PER_S = 150
PLACES = "SELECT tenant, model, metric, toUnixTimestamp(w), part, inc, n FROM m1_local FINAL"


@pytest.fixture
async def trial(stack, tmp_path):
    """A database of its own: the shard map of this test must not apply to others."""
    opened = Trial(stack, tmp_path, seed=7)
    opened.environ |= {"DIA_CLICKHOUSE_DATABASE": DATABASE}
    opened.settings, _ = load(opened.environ)
    await opened.open()
    yield opened
    await opened.close()
    for server in servers(opened.settings, app.clickhouse_tables)[:2]:
        server.replica.command(f"DROP DATABASE {DATABASE}")
        server.replica.close()


@pytest.fixture
def third(stack, tmp_path):
    """One more ClickHouse server, empty."""
    folder = tmp_path / "third"
    folder.mkdir()
    front = Front(folder, options=("--password-file", str(stack.clickhouse_password_file)))
    yield f"http://127.0.0.1:{front.port}"
    front.stop()


def workload_over_midnight():
    """Events whose times pass the last midnight soon after the workers take the map."""
    midnight_ms = SystemClock().now_ms() // DAY_MS * DAY_MS
    start_ms = midnight_ms - round((BEFORE + MEANWHILE + AFTER // 4) * STEP_MS)
    shape = {"tenants": 40, "models": 3, "metrics": 2, "late": 0.1, "poison": 0.002}
    return midnight_ms, Workload(start_ms=start_ms, seed=7, **shape)


async def placed(trial):
    """The rows of each server: count by key."""
    found = []
    for server in servers(trial.settings, app.clickhouse_tables):
        _, rows = await asyncio.to_thread(server.replica.query, PLACES)
        server.replica.close()
        found.append({tuple(row[:-1]): int(row[-1]) for row in rows})
    return found


async def seen(trial):
    """Events in the view of each server."""
    found = []
    for server in servers(trial.settings, app.clickhouse_tables):
        _, rows = await asyncio.to_thread(server.replica.query, "SELECT sum(n) FROM m1")
        server.replica.close()
        found.append(int(rows[0][0]))
    return found


async def until(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(POLL_S)


async def reopened(trial):
    await trial.reading.close()
    trial.reading = await TopicReading.open(trial.settings, trial.broker, MODEL_METRICS)


@pytest.mark.long
async def test_a_third_shard_takes_the_windows_from_its_day_and_no_row_moves(trial, third):
    """Results are exact before, during and after the spread of the map; the settings name two
    shards throughout."""
    midnight_ms, workload = workload_over_midnight()
    trial._generator = Generator(workload)
    trial.feed(BEFORE, rate_per_s=None)
    worker = trial.worker()
    await trial.fed()
    await trial.settled()
    trial.judge("before", await trial.reading.everything())
    old = await placed(trial)
    assert len(set(await seen(trial))) == 1

    plan = trial.folder / "plan.json"
    told = await trial.command("shards", "plan", "add", third, "--out", str(plan))
    assert third in told
    # A day that the command would refuse: the test does not wait for tomorrow.
    made = growth.read_plan(plan)
    record = msgspec.structs.replace(made.record, first_day=midnight_ms // DAY_MS)
    growth.write_plan(plan, msgspec.structs.replace(made, record=record))
    trial.feed(MEANWHILE, rate_per_s=RATE_PER_S)
    await trial.command("shards", "apply", str(plan), "--yes")
    maps = (await trial.command("shards", "list", "--json")).splitlines()
    assert [json.loads(row)["state"] for row in maps] == ["in force"] * 2
    await until(lambda: worker.said("shard_map_new"))
    await reopened(trial)
    await trial.fed()
    await trial.settled()
    trial.judge("meanwhile", await trial.reading.everything())

    worker.kill()
    trial.worker(doom=("SIGKILL", "after", "producer.commit", "3"))
    trial.feed(AFTER, rate_per_s=None)
    await until(trial.moment.exists)
    trial.worker()
    await trial.exact("after")

    now = await placed(trial)
    assert all(key in rows for before, rows in zip(old, now, strict=False) for key in before)
    assert now[2]
    assert all(key[3] * 1000 >= midnight_ms for key in now[2])
    keys = [key for rows in now for key in rows]
    assert len(keys) == len(set(keys))
    assert set(await seen(trial)) == {sum(sum(rows.values()) for rows in now)}
    await series_exact(trial, now)


async def series_exact(trial, now):
    """`dia query series` of a series with windows on an old and on the new shard."""
    names = {key[:3] for key in now[2]} & {key[:3] for rows in now[:2] for key in rows}
    assert names
    tenant, model, metric = min(names)
    told = await trial.command(
        *("query", "series", "--tenant", tenant, "--model", model, "--metric", metric),
        *("--from", "-2d", "--step", "1h", "--json"),
    )
    counted = sum(json.loads(line)["count"] for line in told.splitlines())
    assert counted == sum(
        n for rows in now for key, n in rows.items() if key[:3] == (tenant, model, metric)
    )
