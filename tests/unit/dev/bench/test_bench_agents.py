"""Agents on dia and on Faust: contents of a run's report."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streams.core.errors import UsageError
from streams.dev.bench.peers.agents import WORK, AgentReport, agent_table, chosen_engines, judged
from streams.dev.bench.peers.process import Course, PeerMark, PeerRun
from streams.dev.bench.processes import CpuReading
from streams.dev.bench.report.machine import this_machine

BENCH = next(up for up in Path(__file__).parents if up.name == "tests") / "bench"
PROGRAM = BENCH / "agents" / "agent.py"


def _run(*marks, ended=""):
    course = Course()
    for read, at_s in marks:
        course.marks.append(PeerMark(read, at_s, CpuReading({"peer": at_s / 2, "kafka": 0.0}, 0.0)))
    return PeerRun(course, 200, ended)


def test_a_rate_is_that_between_the_first_event_and_the_last():
    """Starting, joining the group and compiling are not costs of an event."""
    found = judged("dia", "no_work", _run((0, 10.0), (500, 11.0), (1000, 12.0)))
    assert (found.events_per_s, found.read, found.cpu_s_per_million) == (500, 1000, 1000.0)


@pytest.mark.parametrize("run", [_run(), _run((0, 1.0)), _run((0, 1.0), (9, 2.0), ended="died")])
def test_a_failed_run_has_no_rate(run):
    """It has a reason instead."""
    found = judged("faust", "one_update", run)
    assert found.events_per_s is None
    assert found.problem


def test_the_table_shows_how_many_times_as_fast_dia_is():
    """For each kind of work, relative to Faust's rate."""
    outcomes = [
        judged("dia", "no_work", _run((0, 0.0), (1000, 1.0))),
        judged("faust", "no_work", _run((0, 0.0), (100, 1.0))),
        judged("faust", "one_update", _run(ended="ended by itself")),
    ]
    report = AgentReport(
        started_at="2026-11-29T12:00:00", machine=this_machine(), versions={}, events=1000,
        limit_s=10.0, outcomes=outcomes,
    )  # fmt: skip
    rows = agent_table(report)[2:]
    assert rows[0].startswith("| nothing | dia | 1,000 | - |")
    assert rows[1].startswith("| nothing | faust | 100 | 10.0x |")
    assert rows[2] == "| one table update | faust | ended by itself | - | - | - | - |"


def test_an_unknown_engine_is_refused():
    """The error lists the valid names."""
    with pytest.raises(UsageError, match="no engine flink"):
        chosen_engines("dia,flink")
    assert chosen_engines("faust, dia") == ("dia", "faust")


def test_only_an_import_differs():
    """Otherwise the ratio would compare programs instead of engines."""
    tree = ast.parse(PROGRAM.read_text())
    tests = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    (choice,) = [node for node in tests if "BENCH_ENGINE" in ast.unparse(node.test)]
    faust, dia = map(ast.unparse, (choice.body[0], choice.orelse[0]))
    assert (faust, dia) == ("from faust import App, Record", "from streams import App, Record")


@pytest.mark.parametrize("engine", ["dia", "faust"])
def test_the_program_is_an_app_of_both(engine, tmp_path):
    """It uses only operations that both have."""
    environ = {
        **os.environ, "BENCH_ENGINE": engine, "BENCH_WORK": [*WORK][-1], "BENCH_BOOTSTRAP": "127.0.0.1:9",
        "BENCH_TOPIC": "t", "BENCH_GROUP": "g", "BENCH_STATE": str(tmp_path), "BENCH_EVENTS": "9",
        "PYTHONPATH": os.pathsep.join([str(BENCH / "peers"), str(PROGRAM.parent), str(BENCH.parents[1])]),
    }  # fmt: skip
    said = subprocess.run(
        [sys.executable, "-c", "import agent; print('loaded')"],
        env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert said.stdout.strip() == "loaded", said.stderr
