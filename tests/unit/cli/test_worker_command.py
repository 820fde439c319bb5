"""`dia worker` with several processes: their number, and which of them return after their end."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from streams import cli
from streams.engine.runtime import processes

RUNNER = CliRunner()


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What would run: the slots, and whether their number follows the load."""
    found = []
    monkeypatch.setattr(
        processes, "run", lambda slots, scale=None: found.append((slots, scale is not None))
    )
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    return found


def _run(*words):
    return RUNNER.invoke(cli.build(), ["worker", *words])


def test_slots_above_the_fewest_leave_their_groups_when_they_end(started):
    """Their partitions would wait a session timeout for a process that does not return."""
    assert _run("--processes", "3", "--processes-min", "1", "--slot", "5").exit_code == 0
    [(slots, scales)] = started
    assert (slots.pids, scales) == ([None], True)
    first, second = slots.command_of(0), slots.command_of(1)
    assert (first[-1], second[-3:]) == ("5", ["--slot", "6", "--leave"])


def test_a_fixed_number_of_processes_stays_and_returns(started):
    """A restart of a static member moves no partition."""
    assert _run("--processes", "2").exit_code == 0
    [(slots, scales)] = started
    assert (slots.pids, scales) == ([None, None], False)
    assert "--leave" not in slots.command_of(1)


def test_fewest_above_the_most_are_refused(started):
    """One of the two is a mistake."""
    answer = _run("--processes", "2", "--processes-min", "3")
    assert "--processes-min 3 is above --processes 2" in str(answer.exception)
    assert started == []
