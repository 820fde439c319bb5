"""The page of capacity: what is used, what is coming, what runs out, and the last load test."""

from __future__ import annotations

import json
import os

import pytest

from streams.core.errors import ShardUnavailable
from streams.core.process.process import ProcessIdentity
from streams.engine.health.host_scaling import HostScaling, ProcessChange
from streams.engine.health.live_workers import LiveWorker
from streams.http.console.capacity.forecast_runs import AGAIN_S, KEPT_S, ForecastRuns
from streams.http.console.capacity.process_counts import process_counts
from streams.http.console.pipeline.workers import Sample, WorkerSamples
from streams.operate.loadtest.record import folder_of, keep
from tests.unit.operate.loadtest.test_verdict import made_record

SLOT_S = 300
RUN = "20261130T120000-small"
HOUR = {"hour": "2026-11-30T12:00:00+00:00", "events_per_s": 10.0, "low": 5.0, "high": 20.0}


def _rows(now_s):
    """Of the statements of the page, by a part of each: an hour of 100 events a second."""
    first = now_s // SLOT_S * SLOT_S - 3600
    slots = [first + SLOT_S * number for number in range(12)]
    usage = [("w-0", 1, at, float(at - first) / 2, 1 << 28, 1.5, 0.25) for at in slots]
    return {
        "AS hour, sum(events)": [(first, 180_000), (first, 180_000)],
        "GROUP BY topic, at": [("model.metrics", at, 30_000, 3_000_000) for at in slots],
        "AS slot, sum(events)": [(at, 30_000) for at in slots],
        "max(memory_bytes), max(behind_s)": usage,
        "toUnixTimestamp(min(w)), toUnixTimestamp(max(w)) FROM": [("w-0", 1, first, first + 9000)],
        "min(cpu_s), max(cpu_s)": [
            (f"w-{number}", 1, 0.0, 900.0, first, slots[-1] + SLOT_S, 1 << 28)
            for number in range(3)
        ],
        "bytes_on_disk": [(360_000, 360_000, 1e12), (360_000, 360_000, 1e12)],
    }


@pytest.fixture
def shards(process, monkeypatch):
    """What the shards answer; a test may take statements away, or the shards."""
    answers = _rows(process.console.clock.now_ms() // 1000)

    async def of_all(self, sql, parameters):
        if "away" in answers:
            raise ShardUnavailable("shard 1 does not answer")
        text = " ".join(sql.split())
        return next((rows for part, rows in answers.items() if part in text), [])

    monkeypatch.setattr(type(process._shards), "of_all", of_all)
    return answers


async def _shown(http, bearer, growth="30%"):
    answer = await http.get("/api/capacity", params={"growth": growth}, headers=bearer("admin"))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_utilisation_and_days_left_are_of_the_history(http, bearer, shards):
    """2,700 s of processor time paid 360,000 events: 100 a second need 2 of 3 processes, and the 4
    partitions hold until the growth makes 4 processes of it."""
    found = await _shown(http, bearer)
    assert (found["degraded"], found["plan_unknown"]) == (False, "")
    assert found["load"]["events_per_s"] == [100]
    assert found["all_hosts"] == {"processes": 1, "changes": []}
    [process] = found["processes"]
    assert (process["cpu"], process["fill"]) == (pytest.approx(0.5), 0.25)
    needs = {one["resource"]: one for one in found["needs"]}
    assert needs["worker processes"]["now"] == 2
    partitions = needs["partitions of model.metrics"]
    assert (partitions["have"], partitions["days_left"] > 0) == (4, True)
    assert [one["tone"] for one in found["advice"]] == ["good", "warn"]
    assert found["advice"][1]["text"] == "At the horizon 4 worker processes are needed; 3 run."


def test_changes_of_the_number_of_worker_processes_are_of_all_hosts():
    """What an autoscaler did to pods is seen without its log; five minutes that still run are no change."""
    at = [SLOT_S * number for number in range(100, 112)]
    lifetimes = [
        ("w-0", 1, at[0], at[10]),
        ("w-1", 1, at[2], at[4]),
        ("w-1", 1, at[4], at[7]),  # > its other samples are on another shard
        ("w-2", 1, at[2], at[11]),
        ("w-3", 1, at[11], at[11]),
    ]
    behind = [(slot, 2.5 if slot == at[1] else 0.5) for slot in at]
    found = process_counts(lifetimes, behind, at[11] + 60)
    assert found is not None
    assert found["processes"] == 2
    assert found["changes"] == [
        {"at_ms": 1000 * at[8], "before": 3, "after": 2, "why": "up to 0.5 s behind"},
        {"at_ms": 1000 * at[2], "before": 1, "after": 3, "why": "up to 2.5 s behind"},
    ]


async def test_pools_of_known_workers_are_shown(http, bearer, shards, process, monkeypatch):
    """Whether a pool follows its queue is seen without a log."""
    found = {
        "jobs_processes": [Sample("0", {}, 3.0), Sample("1", {}, 0.0)],
        "jobs_waiting": [Sample("0", {"lane": "high"}, 4.0), Sample("0", {"lane": "normal"}, 5.0)],
    }

    async def survey(self):
        changes = tuple(
            ProcessChange(at_ms=after, before=after - 1, after=after, why="1,001 jobs wait")
            for after in (2, 3)
        )
        return WorkerSamples([LiveWorker(pid=1, slot=0, pool_changes=changes)], found)

    monkeypatch.setattr(type(process._workers), "survey", survey)
    [pool] = (await _shown(http, bearer))["pools"]
    changes = [(one["after"], one["why"]) for one in pool.pop("changes")]
    assert changes == [(3, "1,001 jobs wait"), (2, "1,001 jobs wait")]
    assert pool == {"slot": "0", "processes": 3, "waiting": 9}


async def test_changes_of_the_number_of_processes_are_shown_with_their_reason(
    http, bearer, shards, console_settings
):
    """Else an operator sees processes come and go, and not why."""
    assert (await _shown(http, bearer, "10%"))["scaling"] is None
    parent = ProcessIdentity.of(os.getpid())
    told = HostScaling(parent=parent, processes=1, least=1, most=3)
    for at_ms, after in ((5, 2), (9, 3)):
        why = "9.0 s behind"
        told = told.changed(ProcessChange(at_ms=at_ms, before=after - 1, after=after, why=why))
    told.write(console_settings.state_path())
    found = (await _shown(http, bearer, "20%"))["scaling"]
    assert (found["processes"], found["least"], found["most"]) == (3, 1, 3)
    assert [(one["at_ms"], one["before"], one["after"]) for one in found["changes"]] == [
        (9, 2, 3),
        (5, 1, 2),
    ]


async def test_a_short_history_is_said(http, bearer, shards):
    """Zeros would pass for a pipeline that needs nothing."""
    shards.clear()
    found = await _shown(http, bearer)
    assert "the history has 0 s of processor time" in found["plan_unknown"]
    assert (found["needs"], found["processes"], found["degraded"]) == ([], [], False)
    assert found["all_hosts"] is None


async def test_with_a_shard_away_figures_are_unknown_and_the_last_test_is_shown(
    http, bearer, shards, tmp_path
):
    """Half of the load is no load to plan by; the record of a test is a file of this host."""
    keep(folder_of(tmp_path), made_record(RUN), "<p>")
    shards["away"] = []
    found = await _shown(http, bearer)
    assert (found["degraded"], found["needs"], found["load"]) == (True, None, None)
    tested = found["last_test"]
    assert (tested["run"], tested["held"]) == (RUN, False)
    assert [one["held"] for one in tested["thresholds"]] == [False, True]


@pytest.mark.parametrize("growth", ["fast", "-1%", "9999999999x", "0x"])
async def test_an_unfit_growth_is_a_bad_request(http, bearer, shards, growth):
    """And no error of the console."""
    answer = await http.get("/api/capacity", params={"growth": growth}, headers=bearer("admin"))
    assert (answer.status_code, answer.json()["code"]) == (400, "unreadable")


class _Clock:
    now_s = 0.0

    def monotonic(self):
        return self.now_s

    def now_ms(self):
        return round(1000 * self.now_s)


def _runs(*answers):
    """Runs of `dia capacity predict` that give these answers, the clock, and the number so far."""
    left, clock, count = list(answers), _Clock(), []

    async def predict():
        count.append(1)
        return left.pop(0)

    return ForecastRuns(predict, clock), clock, count


async def test_a_forecast_is_made_once_an_hour():
    """It takes two seconds of a processor."""
    lines = b"".join(json.dumps(HOUR).encode() + b"\n" for _ in range(2))
    runs, clock, count = _runs((0, lines, b""), (0, lines, b""))
    assert (await runs.newest())["hours"] == [HOUR, HOUR]
    clock.now_s = KEPT_S - 1
    await runs.newest()
    assert len(count) == 1
    clock.now_s = KEPT_S
    await runs.newest()
    assert len(count) == 2


async def test_a_forecast_that_cannot_be_made_says_why_without_an_address():
    """What is missing is named; an unreachable server's address is not for each reader."""
    needs = b"log\nerror: forecasts need the extra `capacity`. [usage]\n"
    away = b"error: http://secret-host:8123 does not answer [dependency_unreachable]\n"
    runs, clock, _ = _runs((2, b"", needs), (4, b"", away), (0, b"no json", b""))
    assert (await runs.newest())["unknown"] == "forecasts need the extra `capacity`. [usage]"
    for _ in range(2):
        clock.now_s += AGAIN_S
        found = await runs.newest()
        assert found["hours"] == []
        assert "Run it to see why" in found["unknown"]
        assert "secret-host" not in found["unknown"]
