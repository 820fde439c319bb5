"""A shard that loses its data folder with all acknowledged rows: a backup and the log give them back."""

from __future__ import annotations

import asyncio
import json
import shutil
import time

import pytest

from streams.connect.sinks.schema import servers
from streams.core.settings import load
from tests.faults.trial import RATE_PER_S, Trial
from tests.integration.clickhouse.conftest import Front

SHARDS = 2
BEFORE, AFTER, LATER = 20_000, 20_000, 2_000
WINDOWS = (
    "SELECT toString(tenant), toString(model), toString(metric), toUnixTimestamp(w), sum(n), sum(s1), "
    "sqrt(sum(n) * sum(s2)), min(lo), max(hi) FROM {table}_local FINAL WHERE n > 0 "
    "GROUP BY tenant, model, metric, w"
)
DAY_S = 86_400


@pytest.fixture
async def lost(own_stack, tmp_path, seed):
    """A trial on two servers of its own, which write backups into one folder."""
    backups = tmp_path / "backups"
    backups.mkdir()
    fronts = []
    for number in range(SHARDS):
        folder = tmp_path / f"shard-{number}"
        folder.mkdir()
        options = ("--password-file", str(own_stack.clickhouse_password_file))
        fronts.append(Front(folder, options=(*options, "--backups", str(backups))))
    trial = Trial(own_stack, tmp_path, seed)
    trial.shards = [f"http://127.0.0.1:{front.port}" for front in fronts]
    trial.environ |= {
        "DIA_CLICKHOUSE_SHARDS": ",".join(trial.shards),
        "DIA_BACKUP_TO": f"file://{backups}",
    }
    trial.settings, _ = load(trial.environ)
    await trial.open()
    yield trial, fronts
    await trial.close()
    for front in fronts:
        front.stop()


async def windows(trial):
    """By table: count, sum, a bound for the rounding of sums, and bounds, of each window."""
    found = {}
    for table in ("m1", "h1", "d1"):
        found[table] = {}
        for server in servers(trial.settings, {}):
            sql = WINDOWS.format(table=table)
            _, rows = await asyncio.to_thread(server.replica.query, sql)
            server.replica.close()
            found[table] |= {tuple(row[:4]): tuple(row[4:]) for row in rows}
    return found


def differing(was, now):
    """Windows that are not the same to the count, the bounds, and 1e-9 of sums."""
    return [
        (key, was.get(key), now.get(key))
        for key in was.keys() | now.keys()
        if key not in was
        or key not in now
        or (was[key][0], *was[key][3:]) != (now[key][0], *now[key][3:])
        or abs(was[key][1] - now[key][1]) > 1e-9 * was[key][2]
    ]


async def drilled(trial):
    """The same on a copy, which says beforehand that it will go well."""
    for server in servers(trial.settings, {}):
        # The drill leaves out windows that got a row in the last minutes.
        for table in ("m1", "h1", "d1"):
            older = f"INSERT INTO {table}_local SELECT * REPLACE (at - INTERVAL 1 HOUR AS at) "
            older += f"FROM {table}_local FINAL"
            await asyncio.to_thread(server.replica.command, older)
        server.replica.close()
    told = json.loads(await trial.command("drill", "shard", "--shard", "0", "--json"))
    assert told["done"]["drill"] == "shard-0"
    assert None not in (told["newest_ms"]["backup"], told["newest_ms"]["shard"])
    told = await trial.command("drill", "list", "--json")
    assert {json.loads(line)["drill"] for line in told.splitlines()} == {"backup", "shard-0"}


async def test_a_shard_whose_folder_is_deleted_has_the_same_rows_again(lost, report):
    """Restored from the backup, and rebuilt from the log behind it, while the worker goes on."""
    trial, fronts = lost
    worker = trial.worker(backup_to="")  # backups are made by the test, not by a leader
    await worker.ready()
    trial.feed(BEFORE, rate_per_s=RATE_PER_S, poison=0.0)
    await trial.fed()
    await trial.settled()
    await trial.command("backup", "create")
    told = json.loads(await trial.command("drill", "backup", "--json"))
    assert told["done"]["drill"] == "backup"
    trial.feed(AFTER, rate_per_s=RATE_PER_S)
    await trial.fed()
    await trial.settled()
    await drilled(trial)
    was = await windows(trial)

    fronts[0].stop()
    shutil.rmtree(trial.folder / "shard-0" / "data")
    fronts[0].start()
    began = time.monotonic()
    told = await trial.command("backup", "restore", "--shard", "0", "--yes")
    restored_s = time.monotonic() - began
    assert "model.metrics" in told
    now = await windows(trial)
    assert differing(was["m1"], now["m1"])
    day_s = int(time.time()) // DAY_S * DAY_S
    bounds = ("--from", str(day_s - DAY_S), "--to", str(day_s + 2 * DAY_S))
    await trial.command("rebuild", *bounds, "--facts", "--yes")
    took_s = time.monotonic() - began

    now = await windows(trial)
    for table, rows in was.items():
        assert not differing(rows, now[table]), table
    rows = sum(map(len, was.values()))
    trial.recovery_s = took_s
    trial.feed(LATER, rate_per_s=RATE_PER_S)
    note = f"both drills, then restore ({restored_s:.1f} s) and rebuild of one of two shards with {rows:,} "
    note += f"rows: {took_s:.1f} s with the starts of both commands, {1e6 * took_s / rows:,.0f} s per million rows"
    report(await trial.exact("a shard's data folder deleted", note))
