"""Old records are shed on the real stack while the worker is killed; later they are returned."""

from __future__ import annotations

import asyncio
import json
import signal
import time

import pytest

from agents.app import app
from streams.connect.sinks.schema import servers
from tests.faults.trial import Trial

OLD, NEW = 3000, 1000
SHAPE = {"duplicates": 0.05, "late": 0.0}
ORDER = ("--reason", "a dead client's backlog", "--actor", "ann", "--yes")
SHED_RANGES = "SELECT actor, reason, shed FROM shed_ranges_local FINAL"


@pytest.fixture
async def trial(stack, tmp_path):
    opened = Trial(stack, tmp_path, seed=11)
    await opened.open()
    yield opened
    await opened.close()


async def feed(trial, events):
    trial.feed(events, rate_per_s=None, **SHAPE)
    await trial.fed()


async def next_second():
    """A time in whole seconds between what was sent before and what is sent later."""
    cutoff_s = int(time.time()) + 1
    await asyncio.sleep(max(0.0, cutoff_s - time.time()))
    return cutoff_s


async def rows(trial, *words):
    return [json.loads(line) for line in (await trial.command(*words, "--json")).splitlines()]


def named(trial):
    """Every skipped range in ClickHouse: actor, reason, number of records."""
    found = []
    for server in servers(trial.settings, app.clickhouse_tables):
        found += [tuple(row) for row in server.replica.query(SHED_RANGES)[1]]
        server.replica.close()
    return found


@pytest.mark.long
async def test_shed_records_are_skipped_once_recorded_and_returned(trial):
    """Planned, ordered, skipped by a worker that is killed in that commit and by its successor,
    sent again: the ledger counts each offset once, and the audit has no difference and names the
    actor."""
    await feed(trial, OLD)
    before = str(await next_second())
    await feed(trial, NEW)

    chosen = ("--topic", "model.metrics", "--before", before)
    planned = await rows(trial, "shed", "plan", *chosen)
    assert sum(row["shed"] for row in planned) == OLD
    assert sum(row["left"] for row in planned) == NEW
    ordered = await rows(trial, "shed", "run", *chosen, *ORDER)
    assert [row["shed"] for row in ordered] == [row["shed"] for row in planned if row["shed"]]

    doomed = trial.worker(doom=("SIGKILL", "before", "producer.commit", "1"))
    assert await doomed.ended() == -signal.SIGKILL, doomed.tail()
    trial.worker()
    await trial.settled()
    assert {row["state"] for row in await rows(trial, "shed", "list")} == {"done"}
    returned = await rows(trial, "shed", "return", "--order", ordered[0]["order"], "--yes")
    assert sum(row["copied"] for row in returned) == OLD
    await trial.settled()

    [report] = await rows(trial, "audit", "--deep")
    assert report["clean"], report["findings"]
    ledger = [row for row in report["partitions"] if row["topic"] == "model.metrics"]
    assert sum(row["shed"] for row in ledger) == OLD
    assert sum(row["read"] for row in ledger) == 2 * OLD + NEW
    assert any("of ann" in note and "a dead client's backlog" in note for note in report["notes"])
    found = named(trial)
    assert {row[:2] for row in found} == {("ann", "a dead client's backlog")}
    assert sum(int(row[2]) for row in found) == OLD
