"""Arithmetic and refusals of the bench: it must not print a figure that cannot be trusted."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from types import SimpleNamespace

import msgspec
import numpy as np
import pyarrow as pa
import pytest

import streams.dev.bench.run as bench_run
from agents.app import app
from streams.cli import main
from streams.core.clock import VirtualClock
from streams.core.errors import RefusedBySafety, UsageError
from streams.core.rows.built_in_tables import FactRows
from streams.core.settings import load
from streams.dev.bench import exactness
from streams.dev.bench.cases.case import Case, Suite, paced, single
from streams.dev.bench.cases.floor import Floor
from streams.dev.bench.cases.freshness import quantile
from streams.dev.bench.load.probes import MODEL, Probes
from streams.dev.bench.null_sink import NullShards
from streams.dev.bench.processes import (
    CpuReading,
    Moment,
    ProcessCost,
    WatchedProcesses,
    cpu_s,
    others_cores,
)
from streams.dev.bench.report import results
from streams.dev.bench.report.comparison import OF_FLOOR, compare, compare_pairs
from streams.dev.bench.report.machine import Machine, commit_of, this_machine, versions
from streams.dev.bench.report.results import BenchReport, CaseOutcome, Freshness, Throughput
from streams.dev.bench.worker import SINKS
from streams.dev.bench.worker_log import opened
from streams.dev.bench.worker_metrics import WorkerMetrics
from streams.dev.demo.reconcile import Found
from streams.dev.workload.generator import Generator
from streams.dev.workload.shape import Workload


def _outcome(
    rate: int = 100_000, *, exact: bool = True, floor: int | None = 400_000, workload: str = "wide"
) -> CaseOutcome:
    found = Throughput(
        events=1_000_000, filled_per_s=90_000, committed_s=9.0, acknowledged_s=10.0,
        events_per_s=rate, rows=600_000, rows_per_s=60_000,
    )  # fmt: skip
    return CaseOutcome(
        case=Case(workload=workload),
        exact=exact,
        differences=[] if exact else ["windows: sent 10, found 9"],
        load_before=0.5,
        others_cores=0.1,
        processes=[ProcessCost(name="kafka", cpu_s=2.0, cpu_s_per_million=2.0, peak_rss_mib=300)],
        throughput=found if exact else exactness.without_speed(found),
        floor=floor and Floor(events=9, seconds=1.0, events_per_s=floor, cpu_s_per_million=1.0),
    )


def _report(*outcomes: CaseOutcome, machine: str = "one") -> BenchReport:
    return BenchReport(
        started_at="2026-11-21T09:00:00.000000+00:00",
        machine=Machine(id=machine, cpu="a cpu", cores=2, memory_gib=24, kernel="6", python="3.11"),
        versions={"dia-streams": "0.1.0"},
        settings={"commit_interval_s": 1.0},
        outcomes=list(outcomes),
    )


def test_ratios_are_second_to_first_and_tell_improvements():
    """A cost that halves and a rate that doubles are both improvements."""
    first, second = _outcome(100_000), _outcome(200_000)
    cheaper = msgspec.structs.replace(second.processes[0], cpu_s_per_million=1.0)
    second = msgspec.structs.replace(second, processes=[cheaper])
    rows = {row.figure: row for row in compare(_report(first), _report(second))}
    assert (rows["events/s"].ratio, rows["events/s"].better) == (2.0, True)
    assert (rows["CPU s/M of kafka"].ratio, rows["CPU s/M of kafka"].better) == (0.5, True)
    assert (rows["committed s"].ratio, rows["committed s"].better) == (1.0, None)
    assert rows[OF_FLOOR].ratio == 2.0


def test_other_machines_are_compared_by_shares_of_their_floors_only():
    """Events a second of a laptop say nothing about a server."""
    rows = compare(_report(_outcome()), _report(_outcome(50_000), machine="two"))
    assert [row.figure for row in rows] == [OF_FLOOR]


def test_absolutes_of_different_machines_are_refused():
    """Without a floor there is no comparable figure, so the bench refuses."""
    with pytest.raises(RefusedBySafety, match="different machines"):
        compare(_report(_outcome(floor=None)), _report(_outcome(floor=None), machine="two"))


def test_only_equal_cases_are_compared():
    """Another workload is not comparable."""
    with pytest.raises(UsageError, match="no case in common"):
        compare(_report(_outcome()), _report(_outcome(workload="narrow")))


def test_a_run_that_is_not_exact_has_no_rate():
    """A fast wrong result must not enter a table or a comparison."""
    wrong = _outcome(exact=False)
    assert wrong.throughput is not None
    assert wrong.throughput.events_per_s is None
    assert wrong.of_floor is None
    assert compare(_report(_outcome()), _report(wrong)) == []
    shown = results.markdown(_report(wrong))
    assert "| NO | - |" in shown
    assert "windows: sent 10, found 9" in shown


def test_runs_are_compared_in_pairs():
    """Other load on the machine changes every run, so only a result of all pairs counts."""
    first = [_report(_outcome(rate)) for rate in (100_000, 50_000, 80_000)]
    second = [_report(_outcome(rate)) for rate in (150_000, 60_000, 88_000)]
    rows = {row.figure: row for row in compare_pairs(first, second)}
    rate = rows["events/s"]
    assert (rate.first, rate.second, rate.pairs) == (80_000, 88_000, 3)
    assert (rate.ratio, rate.least, rate.greatest) == pytest.approx((1.2, 1.1, 1.5))
    assert rate.better is True
    assert rows["committed s"].better is None
    mixed = compare_pairs(first[:2], [second[0], _report(_outcome(40_000))])
    assert {row.better for row in mixed} == {None}


def test_unequal_numbers_of_runs_make_no_pairs():
    """The remaining run would be compared with one of another hour."""
    with pytest.raises(UsageError, match="1 and 2 results"):
        compare_pairs([_report(_outcome())], [_report(_outcome())] * 2)


def test_the_runs_of_a_folder_are_compared_in_the_order_of_their_time(
    tmp_path, monkeypatch, capsys
):
    """One run of each, alternating, in the order of their times. The commits are shown beside them."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    for side, commit in (("a", "1" * 40), ("b", "2" * 40 + "+")):
        for hour, rate in ((11, 50_000), (9, 100_000)):
            made = _report(_outcome(rate if side == "a" else 2 * rate))
            at = f"2026-11-21T{hour:02}:00:00.000000+00:00"
            results.write(
                msgspec.structs.replace(made, started_at=at, commit=commit), tmp_path / side
            )
    assert [run.started_at[11:13] for run in results.read_runs(tmp_path / "a")] == ["09", "11"]
    assert main(["bench", "compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == 0
    out, err = capsys.readouterr()
    rows = {row["figure"]: row for row in map(json.loads, out.splitlines())}
    assert (rows["events/s"]["ratio"], rows["events/s"]["verdict"]) == (2.0, "better")
    assert "commit 111111111111; others used 0.1 to 0.1 cores" in err
    assert "commit 222222222222+" in err
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="has no results"):
        results.read_runs(tmp_path / "empty")


def test_a_record_names_the_commit_of_its_source(tmp_path):
    """Without the commit a figure cannot be measured again. A folder outside of a checkout has
    none.
    """

    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ("git", "-C", str(tmp_path), *identity, *arguments)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert commit_of(tmp_path) == ""
    git("init", "-q")
    assert commit_of(tmp_path) == "", "a folder outside of a checkout has no commit"
    (tmp_path / "module.py").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "HEAD")
    assert commit_of(tmp_path) == head
    (tmp_path / "module.py").write_text("2")
    assert commit_of(tmp_path) == f"{head}+"


def test_results_come_back_from_their_file(tmp_path):
    """Stored results must equal the measured ones."""
    report = _report(_outcome())
    as_json, as_text = results.write(report, tmp_path / "new")
    assert results.read(as_json) == report
    assert "100,000" in as_text.read_text()


@pytest.mark.parametrize("content", ["{", '{"machine": 1}', "[]"])
def test_an_invalid_result_file_is_refused(tmp_path, content):
    """This includes JSON of another form."""
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="no result of `dia bench`"):
        results.read(path)


def test_a_result_of_another_format_is_refused(tmp_path):
    """Fields with another meaning must not be compared by name."""
    report = msgspec.structs.replace(_report(_outcome()), format=99)
    as_json, _ = results.write(report, tmp_path)
    with pytest.raises(UsageError, match="format 99"):
        results.read(as_json)


def test_differences_in_counters_are_named():
    """With the null sink only the counters can be checked."""
    generator = Generator(Workload(start_ms=1_700_000_000_000))
    generator.block(5000)
    oracle = generator.oracle
    told = {
        "records_read_total": 5000.0,
        "records_applied_total": float(oracle.applied),
        "duplicates_total": float(oracle.duplicates),
    }
    assert exactness.of_counters(oracle, WorkerMetrics(told, 0)) == (True, [])
    told["duplicates_total"] += 1
    found = exactness.of_counters(oracle, WorkerMetrics(told, 0))
    assert not found.exact
    assert found.differences[0].startswith("duplicates: sent ")


def test_quantiles_are_values_that_were_measured():
    """No interpolation: the 99th percentile of a hundred delays is one of them."""
    delays = np.arange(1, 101, dtype=np.float64)
    assert [quantile(delays, share) for share in (0.5, 0.99, 0.999, 1.0)] == [50, 99, 100, 100]
    assert quantile(np.empty(0), 0.5) is None


def test_probes_are_timed_from_when_they_were_due():
    """A late send is part of the delay; a probe that never arrived has none."""
    probes = Probes()
    keys = [probes.make(1000.0 + 10 * number)[0] for number in range(10)]
    assert len(set(keys)) == 8
    delays = probes.delays_s({"probe-000000": 1500, "probe-000009": 1100})
    assert delays.tolist() == [0.5, 0.01]


def test_probes_are_taken_out_before_the_rest_is_compared():
    """Probes are not in the oracle, so they are subtracted."""
    probes = Probes()
    probes.make(1000.0)
    found = Found(
        windows=pa.table({"model": ["model-1", MODEL], "n": [5, 1]}),
        topic_records=8,
        ledger=Counter(read=8, applied=6, duplicates=2),
        dead_in_ledger={},
        dead_in_dlq={},
        dead_in_rows={},
    )
    rest = probes.without(found)
    assert rest.windows["n"].to_pylist() == [5]
    assert (rest.topic_records, rest.ledger["read"], rest.ledger["applied"]) == (7, 7, 5)
    assert rest.ledger["duplicates"] == 2


def test_ready_partitions_are_read_from_a_mixed_log(tmp_path):
    """A worker's log also contains other events, messages of libraries and incomplete lines."""
    log = tmp_path / "worker.log"
    assert opened(log) == []
    ready = {"event": "partition_ready", "timestamp": "2026-11-21T09:00:10.500000Z", "seconds": 2}
    log.write_text(
        "Traceback (most recent call last):\n"
        f"{json.dumps({'event': 'assigned', 'timestamp': '2026-11-21T09:00:00Z'})}\n"
        f"{json.dumps(ready)}\n"
        f"{json.dumps(ready)[:40]}"
    )
    [found] = opened(log)
    assert found.at_s - found.began_s == 2
    assert found.at_s % 60 == 10.5


def test_costs_are_differences_per_million_events():
    """Start-up is not part of a run."""
    watched = WatchedProcesses({"me": os.getpid()})
    [cost] = watched.costs(CpuReading({"me": 1.0}, 0.0), CpuReading({"me": 3.0}, 0.0), 500_000)
    assert (cost.cpu_s, cost.cpu_s_per_million) == (2.0, 4.0)
    assert cost.peak_rss_mib > 0


def test_a_process_that_began_after_the_start_counts_too():
    """The second worker is known only after the first one takes records: its cost was left out."""
    start = Moment.now()
    assert start.by_pid[os.getpid()] > 0
    watched = WatchedProcesses({"me": os.getpid(), "later": 2**22 + 1})
    before = watched.at(Moment({os.getpid(): 1.5}, 7.0))
    assert before == CpuReading({"me": 1.5, "later": 0.0}, 7.0)


def test_an_ended_process_adds_no_cost():
    """A worker may end between two readings."""
    assert cpu_s(2**22 + 1) == 0.0


def test_other_load_is_the_machines_minus_the_benchs():
    """The reader of a result must see when the machine was not idle."""
    before, after = CpuReading({"a": 1.0}, 10.0), CpuReading({"a": 2.0}, 14.0)
    assert others_cores(before, after, 2.0) == 1.5


def test_the_name_of_the_machine_is_stable():
    """Two results of one machine must be recognised as such."""
    assert this_machine() == this_machine()
    assert this_machine().cores >= 1
    assert versions()["msgspec"] == msgspec.__version__


def test_the_null_sink_acknowledges_and_spreads_like_the_real_one():
    """A worker must do all its own work, including sharding."""
    environ = {"DIA_CLICKHOUSE_SHARDS": "http://a:1,http://b:1", "DIA_HOME": "/nowhere"}
    settings, _ = load(environ)
    shards = NullShards.from_settings(settings, VirtualClock(), app.clickhouse_tables)
    names = [f"t{number}" for number in range(100)]
    assert set(shards.maps[0].shard_of(names, names, names).tolist()) == {0, 1}
    assert shards.shard_of_key("x") in {0, 1}


def test_no_setting_leads_to_the_null_sink():
    """No single variable may make a production worker discard rows."""
    assert set(SINKS) == {"clickhouse", "null"}
    with pytest.raises(UsageError, match="unknown setting"):
        load({"DIA_SINK": "null", "DIA_HOME": "/nowhere"})
    assert main(["worker", "--sink", "null"]) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Case(workload="huge"),
        lambda: single("wide", 1000, 1, 2, "printer", 1),
        lambda: paced(Case(workload="wide"), 1000, None),
        lambda: paced(Case(workload="wide", sink="null"), 1000, 10),
        lambda: paced(Case(workload="wide"), 1_000_000, 3600),
        lambda: Case(workload="wide", sink="null", restore=True),
    ],
)
def test_an_impossible_measurement_is_refused(wrong):
    """Before a stack is started for it."""
    with pytest.raises(UsageError):
        wrong()


def test_the_standard_set_measures_everything_once():
    """`make bench` must not need options."""
    cases = Suite().cases()
    assert {case.sink for case in cases} == {"clickhouse", "null"}
    assert sum(case.restore for case in cases) == 1
    assert sum(case.rate_per_s is not None for case in cases) == 1
    assert len({case.name for case in cases}) == len(cases)


@pytest.mark.parametrize(("exact", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_is_the_verdict(monkeypatch, tmp_path, capsys, exact, code):
    """CI may run the bench: a result that is not exact fails, and the results are written anyway."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    asked = SimpleNamespace()

    def run(cases, home, talk, profile):
        asked.cases, asked.home = cases, home
        return _report(_outcome(exact=exact))

    monkeypatch.setattr(bench_run, "run", run)
    folder = tmp_path / "out"
    argv = ["bench", "run", "--workload", "hot", "--events", "5000", "--output", str(folder)]
    assert main([*argv, "--json"]) == code
    out, err = capsys.readouterr()
    assert json.loads(out)["outcomes"][0]["exact"] is exact
    assert [case.workload for case in asked.cases] == ["hot"]
    assert asked.home == tmp_path / "bench"
    [written] = folder.glob("*.json")
    assert str(written) in err
    assert main(["bench", "compare", str(written), str(written)]) == 0


def test_the_table_contains_freshness():
    """With the load of the machine beside it."""
    found = Freshness(
        rate_per_s=20_000, seconds=20, probes=1000, p50_s=0.9, p99_s=1.6, p999_s=1.9, max_s=2.0,
        insert_mean_s=0.05, sender_late_s=0.01, lag_max=30_000, lag_at_end=0,
    )  # fmt: skip
    outcome = msgspec.structs.replace(_outcome(), throughput=None, floor=None, freshness=found)
    assert "| 1,000 | 0.9 | 1.6 | 1.9 | 2.0 | 0.05 | 0.01 | 0 | 0.1 |" in results.markdown(
        _report(outcome)
    )


async def test_the_null_sink_keeps_nothing():
    """An insert returns at once, and a roll-up sends no request."""
    settings, _ = load({"DIA_CLICKHOUSE_SHARDS": "http://a:1", "DIA_HOME": "/nowhere"})
    shards = NullShards.from_settings(settings, VirtualClock(), app.clickhouse_tables)
    await shards.insert(0, [FactRows(app.clickhouse_tables["ledger"], 0, {"grp": ["g"]})])
    await shards.roll_up(0, "h1", 0)
    await shards.close()
    assert shards.count == 1


def test_processes_of_one_kind_are_grouped():
    """CPU of two shards is added, memory is the larger of both."""
    costs = [
        ProcessCost(name=name, cpu_s=1.0, cpu_s_per_million=cpu, peak_rss_mib=mib)
        for name, cpu, mib in (("clickhouse-0", 1.25, 300), ("clickhouse-1", 1.5, 400))
    ]
    outcome = msgspec.structs.replace(_outcome(floor=None), processes=costs)
    [row] = [line for line in results.tables([outcome]) if "| 2.75 |" in line]
    assert row.endswith("| - | - | 2.75 | - | - | - | - | 400 | - |")
