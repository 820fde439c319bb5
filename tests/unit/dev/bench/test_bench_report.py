"""The report: it resumes after an interruption, judges targets by figures only, and updates the
README.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from streams.core.errors import CommandError, UsageError
from streams.dev.bench.cases.capacity import Capacity, Try
from streams.dev.bench.cases.case import Case
from streams.dev.bench.cases.floor import Floor
from streams.dev.bench.curves.curves import AXES, Curve, Curves
from streams.dev.bench.curves.load import Load
from streams.dev.bench.curves.point import Point
from streams.dev.bench.peers.results import OUR_FLOOR, OURS, PeerOutcome, PeerReport
from streams.dev.bench.processes import ProcessCost
from streams.dev.bench.report import files as records
from streams.dev.bench.report import parts as report_parts
from streams.dev.bench.report import results
from streams.dev.bench.report import text as report_text
from streams.dev.bench.report.machine import this_machine
from streams.dev.bench.report.parts import PARTS, Bench, Part, measure_parts, source_hash, wanted
from streams.dev.bench.report.records import AGENTS, PEERS, MadeWith, Notes, Records, read_all
from streams.dev.bench.report.results import (
    BenchReport,
    CaseOutcome,
    Freshness,
    Rebalance,
    Restart,
    Throughput,
)
from streams.dev.bench.report.targets import TARGETS, column_floor, machine_share
from streams.dev.bench.report.text import compose, headline, with_headline

ROOT = Path(__file__).parents[4]
MACHINE = this_machine()


def _outcome(case: Case, *, exact: bool = True, **parts: object) -> CaseOutcome:
    processes = [
        ProcessCost(name=name, cpu_s=1.0, cpu_s_per_million=cost, peak_rss_mib=800)
        for name, cost in (("worker-0", 2.0), ("kafka", 1.0), ("bench", 9.0))
    ]
    return CaseOutcome(
        case=case, exact=exact, differences=[], load_before=0.0, others_cores=0.0,
        processes=processes, **parts,
    )  # fmt: skip


def _throughput(rate: int | None) -> Throughput:
    return Throughput(
        events=9, filled_per_s=1, committed_s=1.0, acknowledged_s=1.0, events_per_s=rate, rows=1,
        rows_per_s=1,
    )  # fmt: skip


def _run(*outcomes: CaseOutcome) -> BenchReport:
    return BenchReport(
        started_at="2026", machine=MACHINE, versions={}, settings={}, outcomes=list(outcomes)
    )


def _peers(**rates: int) -> PeerReport:
    outcomes = [
        PeerOutcome(
            title=title.replace("_", " "), version="1", job="windows", guarantee="-",
            events_per_s=rate, read=9,
        )
        for title, rate in rates.items()
    ]  # fmt: skip
    return PeerReport(
        started_at="2026", machine=MACHINE, versions={}, workload="wide", events=1_000_000,
        limit_s=60.0, outcomes=outcomes,
    )  # fmt: skip


def _everything() -> Records:
    restart = Restart(
        warm_start_s=1.0, warm_open_s=0.5, cold_start_s=2.0, first_commit_s=2.0, restore_s=1.0,
        changelog_records=1, changelog_bytes=1, ids=1, window_rows=1, entries_per_s=600_000,
        bytes_per_s=1,
    )  # fmt: skip
    fresh = Freshness(
        rate_per_s=1, seconds=1, probes=1, p50_s=0.9, p99_s=1.1, p999_s=2.0, max_s=2.0,
        insert_mean_s=0.1, sender_late_s=0.0, lag_max=1, lag_at_end=0,
    )  # fmt: skip
    paced = Case(workload="narrow", rate_per_s=10, seconds=1)
    moved = Rebalance(joined_at_s=5.0, taken=2, ready_s=1.0, gap_s=0.7)
    points = [
        Point(load=Load(windows=n), cpu_us_per_event=3.0, state_mib=m, preload_s=1.0)
        for n, m in ((10_000, 10), (1_010_000, 310), (5_000_000, 999))
    ]
    return Records(
        runs={
            "wide": _run(_outcome(Case(workload="wide"), throughput=_throughput(99), restart=restart)),
            "wide-null": _run(_outcome(Case(workload="wide", sink="null"))),
            "fresh-half": _run(_outcome(paced, freshness=fresh, rebalance=moved)),
        },
        peers=_peers(**{OURS: 180_000, "Faust": 2_500}),
        curves=Curves(
            started_at="2026", machine=MACHINE, versions={},
            curves=[Curve(axis=AXES[0].name, points=points, left_out=[])],
        ),
        capacity=Capacity(
            started_at="2026", machine=MACHINE, versions={}, case="narrow", safe_per_s=120_000,
            exact=True, differences=[],
            tries=[
                Try(rate_per_s=9, seconds=6, behind_s=0.5, sender_late_s=0.0, lag_max=3, held=True)
            ],
        ),
    )  # fmt: skip


def test_a_target_is_judged_by_its_figure_alone():
    """Met, missed, or unknown without a measurement; without a floor there is no proportion."""
    rows = {target.name: target.row(_everything()) for target in TARGETS}
    assert len(rows) == len(TARGETS)
    assert rows["whole pipeline, wide, one worker, events/s"][2:] == ("-", "99", "NO")
    assert rows["whole pipeline, narrow, one worker, events/s"][2:] == ("-", "not measured", "-")
    assert rows["restore, entries/s"][2:] == ("-", "600,000", "NO")
    assert rows["times Faust"][2:] == ("-", "72.0", "NO")
    assert rows["freshness at half rate, p99 s"][2:] == ("-", "1.10", "yes")
    assert rows["cost of an event, 5 M windows to 10 k"][2:] == ("-", "1.00", "yes")
    assert rows["CPU of everything, wide, µs an event"][2:] == ("-", "3.00", "yes")
    assert rows["worker, wide, null sink, MiB"][2:] == ("-", "800", "yes")


def _with_floor(rate: int) -> Records:
    found = _everything()
    floor = Floor(events=9, seconds=1.0, events_per_s=rate, cpu_s_per_million=1.0)
    outcomes = found.runs["wide-null"].outcomes
    outcomes[0] = msgspec.structs.replace(outcomes[0], floor=floor)
    return found


@pytest.mark.parametrize(
    ("floor", "rate", "cost"),
    [
        (600_000, ("≥ 500,000", "600,000", "in proportion"), ("≤ 9.60", "3.00", "yes")),
        (2_400_000, ("≥ 1,000,000", "600,000", "NO"), ("≤ 4.80", "3.00", "yes")),
    ],
)
def test_rates_and_costs_follow_the_machines_floor(floor, rate, cost):
    """A machine of half the speed must do half; a faster one has no harder targets, and a ratio is
    the same everywhere."""
    rows = {target.name: target.row(_with_floor(floor)) for target in TARGETS}
    assert rows["restore, entries/s"][2:] == rate
    assert rows["CPU of everything, wide, µs an event"][2:] == cost
    assert rows["times Faust"][2] == "-"
    assert f"Here they reach {floor:,}" in compose(_with_floor(floor))


def test_the_best_floor_of_all_records_counts():
    """A disturbed floor must make no target easier."""
    found = _with_floor(600_000)
    assert found.peers is not None
    found.peers.outcomes.append(
        PeerOutcome(
            title=OUR_FLOOR, version="1", job="floor", guarantee="-", events_per_s=900_000, read=9
        )
    )
    assert column_floor(found) == 900_000
    assert machine_share(found) == pytest.approx(0.75)


def test_a_run_that_was_not_exact_meets_no_target():
    """Whatever its speed."""
    fast = _outcome(Case(workload="wide"), exact=False, throughput=_throughput(10**6))
    rows = {t.name: t.row(Records(runs={"wide": _run(fast)})) for t in TARGETS}
    assert rows["whole pipeline, wide, one worker, events/s"][3] == "not measured"


def test_the_report_contains_every_part():
    """Every measured part is in the report."""
    text = compose(_everything())
    for expected in (
        "72x",
        "| 1,010,000 | 3.00",
        "**120,000 events/s**",
        "0.7 |",
        "600,000",
        "cores",
    ):
        assert expected in text
    assert compose(Records()).startswith("# ")


def test_every_target_reads_a_part_that_is_measured():
    """Under a misspelt name a target would never be measured."""
    names = {part.name for part in PARTS}
    reads = {
        "wide",
        "narrow",
        "wide-null",
        "narrow-null",
        "fresh-half",
        "fresh-often",
        PEERS,
        AGENTS,
    }
    assert reads <= names
    assert len(names) == len(PARTS)
    assert sum(part.minutes for part in PARTS) < 30


class _Silent:
    def say(self, text: str) -> None:
        pass


def _bench(tmp_path: Path) -> Bench:
    clone = tmp_path / "tests" / "bench"
    (tmp_path / "streams").mkdir(parents=True, exist_ok=True)
    (tmp_path / "streams" / "engine.py").touch()
    return Bench(home=tmp_path, clone=clone, folder=clone / "results", talk=_Silent())


def _counted(name: str, calls: list[str]) -> Part:
    def measure(bench: Bench) -> msgspec.Struct:
        calls.append(name)
        return _run(_outcome(Case(workload="wide"), throughput=_throughput(99)))

    return Part(name, 0.1, measure)


def test_a_measured_part_is_not_measured_again(tmp_path):
    """A part is measured again after a change of the engine, not of the bench or a command."""
    calls: list[str] = []
    bench, parts = _bench(tmp_path), [_counted("a", calls), _counted("b", calls)]
    assert measure_parts(parts, bench, again=False) == []
    assert measure_parts(parts, bench, again=False) == []
    assert calls == ["a", "b"]
    (tmp_path / "streams" / "dev" / "bench").mkdir(parents=True)
    (tmp_path / "streams" / "dev" / "bench" / "new.py").write_text("x = 1")
    measure_parts(parts, bench, again=False)
    assert calls == ["a", "b"]
    (tmp_path / "streams" / "engine.py").write_text("faster = True")
    measure_parts(parts[:1], bench, again=False)
    assert calls == ["a", "b", "a"]
    measure_parts(parts[:1], bench, again=True)
    assert calls == ["a", "b", "a", "a"]
    assert set(read_all(bench.folder).runs) == {"a", "b"}


def test_a_failed_part_does_not_affect_the_others(tmp_path):
    """A report takes 15 min: earlier parts are kept, and the failure is reported."""

    def measure(bench: Bench) -> msgspec.Struct:
        raise CommandError("the worker ended")

    calls: list[str] = []
    bench = _bench(tmp_path)
    parts = [Part("a", 0.1, measure), _counted("b", calls)]
    assert measure_parts(parts, bench, again=False) == ["a"]
    assert list(read_all(bench.folder).runs) == ["b"]
    with pytest.raises(CommandError, match="not measured: a"):
        report_parts.refuse_failures(["a"])
    report_parts.refuse_failures([])


def test_a_part_that_would_end_too_late_is_not_begun(tmp_path):
    """The report is bounded; shorter parts behind it still fit, and the next run continues."""
    calls: list[str] = []
    times = iter([0.0, 0.0, 30.0, 30.0])
    bench = replace(_bench(tmp_path), limit_s=100.0, now_s=lambda: next(times))
    parts = [
        _counted(name, calls)._replace(minutes=m) for name, m in (("a", 1), ("b", 2), ("c", 1))
    ]
    assert measure_parts(parts, bench, again=False) == ["b"]
    assert calls == ["a", "c"]


def test_a_part_without_the_rate_it_depends_on_is_not_measured(tmp_path):
    """The rate of one part depends on another's record."""
    part = next(part for part in PARTS if part.name == "fresh-half")
    bench = _bench(tmp_path)
    bench.folder.mkdir(parents=True)
    with pytest.raises(UsageError, match="measure it first"):
        part.measure(bench)


def test_half_of_the_rate_uses_the_same_workload(tmp_path, monkeypatch):
    """Rounded down to thousands."""
    bench = _bench(tmp_path)
    narrow = _run(_outcome(Case(workload="narrow"), throughput=_throughput(201_999)))
    measure_parts([Part("narrow", 1, lambda _: narrow)], bench, again=False)
    asked = SimpleNamespace()
    monkeypatch.setattr(report_parts, "run", lambda cases, home, talk: setattr(asked, "c", cases))
    next(part for part in PARTS if part.name == "fresh-half").measure(bench)
    [case] = asked.c
    assert (case.workload, case.rate_per_s) == ("narrow", 100_000)


def test_a_broken_file_of_notes_is_refused(tmp_path):
    """A broken file of notes must not count as a first run."""
    (tmp_path / "made_with.json").write_text("{")
    with pytest.raises(UsageError, match="Remove it"):
        Notes(tmp_path)


def test_an_unknown_part_is_refused():
    """The refusal comes before any process starts."""
    assert [part.name for part in wanted("wide, peers")] == ["wide", "peers"]
    with pytest.raises(UsageError, match="no part narow"):
        wanted("narow")


def _headline(**rates: int) -> list[str]:
    return headline(Records(peers=_peers(**rates)))


def test_ratios_replace_the_last_ones_in_the_readme():
    """The first time they are inserted before the last section."""
    readme = "# dia\n\ntext\n\n## More\n\nlinks\n"
    first = with_headline(readme, _headline(**{OURS: 100, "Faust": 10}))
    assert first.index("| Faust 1 |") < first.index("## More")
    assert first.endswith("## More\n\nlinks\n")
    again = with_headline(first, _headline(**{OURS: 100, "Faust": 20}))
    assert again.count("| Faust 1 |") == 1
    assert "| 5.0x |" in again
    assert with_headline(first, _headline(**{OURS: 100, "Faust": 10})) == first
    with pytest.raises(UsageError, match="no section"):
        with_headline("# other\n", [])


def test_the_readme_names_missed_targets_beside_met_ones():
    """A reader of the ratios alone would think that everything is met."""
    lines = headline(_everything())
    assert any(line.endswith("| NO |") for line in lines)
    assert any(line.endswith("| yes |") for line in lines)
    assert headline(Records()) == []


def test_the_readme_shows_the_records_it_names():
    """The figures in the README are compared with the files they come from."""
    block = headline(read_all(ROOT / "tests" / "bench" / "results" / "report"))
    readme = (ROOT / "README.md").read_text()
    assert (report_text.MARKER in readme) == bool(block)
    assert "\n".join(block) in readme


def test_the_source_hash_follows_the_engine_only(tmp_path):
    """Names count too: a module that moves may change the order of imports."""
    (tmp_path / "tables").mkdir()
    module = tmp_path / "tables" / "x.py"
    module.write_text("a = 1")
    first = source_hash(tmp_path)
    (tmp_path / "README.md").write_text("more")
    assert source_hash(tmp_path) == first
    module.rename(tmp_path / "tables" / "y.py")
    assert source_hash(tmp_path) != first


def test_a_record_counts_only_with_its_file_and_the_same_sources(tmp_path):
    """A note without its result file does not count."""
    made = MadeWith("s", "m")
    notes = Notes(tmp_path)
    notes.note("wide", made)
    assert not Notes(tmp_path).holds("wide", made)
    results_path = records.save(_run(), tmp_path, "wide")
    assert Notes(tmp_path).holds("wide", made)
    assert not Notes(tmp_path).holds("wide", MadeWith("s2", "m"))
    assert results.read(results_path).outcomes == []
    assert json.loads((tmp_path / "made_with.json").read_text()) == {
        "wide": {"source": "s", "machine": "m"}
    }
