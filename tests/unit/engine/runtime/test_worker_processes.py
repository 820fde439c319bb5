"""`--processes N`: children are restarted, die with their parent, and end by its signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import streams
from streams.cli.standby import command_of
from streams.core.errors import WorkerStopped
from streams.engine.app.loading import BUILT_IN
from streams.engine.runtime.processes import Slot, Spare, WorkerSlots

_PARENT = """
import sys
from streams.engine.runtime import processes
processes._SPARE_AFTER_S = 0.0 if sys.argv[2] == "spare" else 3600.0
slots = processes.WorkerSlots(
    2, lambda slot: ["goes_on", sys.argv[1], str(slot)], 20.0, spare=["streams.cli.standby", "agents.app:app"]
)
processes.run(slots)
"""
_GOES_ON = """
import os, signal, sys, time
path = sys.argv[1] + "/" + sys.argv[2]
def end(number, frame):
    open(path + ".term", "w").close()
    if not os.path.exists(sys.argv[1] + "/stubborn"):
        sys.exit(0)
signal.signal(signal.SIGTERM, end)
with open(path + ".draft", "w") as out:
    out.write(f"{os.getpid()} {'agents' in sys.modules} {sys.stdin.read()!r} {__name__}")
os.rename(path + ".draft", path + ".pid")
while True:
    time.sleep(0.05)
"""


@pytest.fixture(params=["alone", "spare"])
def parent(request, tmp_path, monkeypatch):
    """A parent of two children that write their pids into ``tmp_path``, with and without a standby
    process: the outside behaviour is the same.
    """
    (tmp_path / "goes_on.py").write_text(_GOES_ON)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(streams.__file__).parents[1]}")
    process = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path), request.param], stdout=subprocess.DEVNULL
    )
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def ends(tmp_path, monkeypatch):
    """A module that exits with the given code."""
    (tmp_path / "ends.py").write_text("import sys\nraise SystemExit(int(sys.argv[1]))\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(streams.__file__).parents[1]}")


def _children(pid):
    """Living child processes of this parent; the main thread is the one that starts them."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _pid(tmp_path, slot, unlike=None):
    """The pid that the child of this slot wrote, once it differs from ``unlike``."""

    def written():
        path = tmp_path / f"{slot}.pid"
        pid = int(path.read_text().split()[0]) if path.exists() else None
        return pid if pid != unlike else None

    return _until(written)


def _until(found, seconds=30):
    ends = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < ends, f"the condition is false after {seconds} s"
        time.sleep(0.02)
    return answer


def _gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # A child of a dead parent belongs to init, which may reap it late.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_child_that_dies_is_started_again_in_its_slot(parent, tmp_path):
    """The slot keeps its membership and its state; the other child is unaffected."""
    first, other = _pid(tmp_path, 0), _pid(tmp_path, 1)
    os.kill(first, signal.SIGKILL)
    _pid(tmp_path, 0, unlike=first)
    assert not _gone(other)


@pytest.mark.parametrize("parent", ["spare"], indirect=True)
def test_a_spare_becomes_the_worker_that_died(parent, tmp_path):
    """The standby process has imported all modules, which is most of the time of a restart."""
    first, _ = _pid(tmp_path, 0), _pid(tmp_path, 1)
    spare = _until(lambda: set(_children(parent.pid)) - {str(first), str(_pid(tmp_path, 1))})
    os.kill(first, signal.SIGKILL)
    assert str(_pid(tmp_path, 0, unlike=first)) in spare
    assert (tmp_path / "0.pid").read_text().split()[1:] == ["True", "''", "__main__"]


@pytest.mark.parametrize("parent", ["spare"], indirect=True)
def test_a_spare_ends_with_its_parent(parent, tmp_path):
    """No other process would end it."""
    pids = {_pid(tmp_path, slot) for slot in range(2)}
    spares = _until(lambda: {int(pid) for pid in _children(parent.pid)} - pids)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == 0
    assert all(_gone(pid) for pid in spares)


def test_sigterm_drains_the_children_and_exits_with_0(parent, tmp_path):
    """Each child drains on SIGTERM."""
    pids = [_pid(tmp_path, slot) for slot in range(2)]
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == 0
    assert all((tmp_path / f"{slot}.term").exists() for slot in range(2))
    assert all(_gone(pid) for pid in pids)


def test_a_second_signal_does_not_wait(parent, tmp_path):
    """The second signal kills the children at once."""
    (tmp_path / "stubborn").touch()
    pids = [_pid(tmp_path, slot) for slot in range(2)]
    parent.send_signal(signal.SIGTERM)
    _until(lambda: all((tmp_path / f"{slot}.term").exists() for slot in range(2)))
    parent.send_signal(signal.SIGINT)
    parent.wait(15)
    assert all(_gone(pid) for pid in pids)


def test_children_die_with_a_parent_that_was_killed(parent, tmp_path):
    """An orphan would hold its slot, its partitions and its port."""
    pids = [_pid(tmp_path, slot) for slot in range(2)]
    parent.kill()
    _until(lambda: all(_gone(pid) for pid in pids))


@pytest.mark.parametrize("code", [2, 4, 5])
def test_a_child_with_a_usage_error_is_not_restarted(code, ends):
    """Its error needs an operator first."""
    slot, none = Slot(0, ["ends", str(code)]), Spare(None)
    slot.step(0.0, none)
    with pytest.raises(WorkerStopped, match=f"exit code {code}"):
        _until(lambda: slot.step(0.1, none))


def test_a_child_that_dies_again_and_again_is_given_up(ends):
    """A loop of restarts would use a core and hide the cause."""
    slot, none = Slot(0, ["ends", "1"]), Spare(None)
    now_s = iter(range(10**6))
    with pytest.raises(WorkerStopped, match="keeps dying"):
        _until(lambda: slot.step(next(now_s) * 0.1, none), seconds=60)


def test_a_worker_starts_without_a_dead_spare(ends):
    """A worker can start without a standby process; one that fails to import is not retried without
    end.
    """
    spare, others = Spare(command_of(BUILT_IN)), set(_children(os.getpid()))
    spare.step(100.0, last_start_s=0.0)
    [pid] = set(_children(os.getpid())) - others
    os.kill(int(pid), signal.SIGKILL)
    slot = Slot(0, ["ends", "2"])
    now_s = iter(range(10**6))
    with pytest.raises(WorkerStopped, match="exit code 2"):
        _until(lambda: slot.step(next(now_s) * 0.1, spare))
    spare.step(200.0, last_start_s=0.0)
    spare.end()


@pytest.fixture
def slots(tmp_path, monkeypatch):
    """One child that writes its pid into ``tmp_path``, with room for others."""
    (tmp_path / "goes_on.py").write_text(_GOES_ON)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(streams.__file__).parents[1]}")
    found = WorkerSlots(1, lambda slot: ["goes_on", str(tmp_path), str(slot)], 20.0)
    yield found
    found.kill()
    found.end()


def test_a_smaller_number_drains_the_last_slot_and_does_not_start_it_again(slots, tmp_path):
    """The others go on, and the slot is free for a later process."""
    slots.step(0.0)
    slots.resize(2, 0.0)
    slots.step(0.0)
    first, second = _pid(tmp_path, 0), _pid(tmp_path, 1)
    assert slots.pids == [first, second]
    slots.resize(1, 1.0)
    assert slots.leaving
    _until(lambda: (slots.step(1.0), not slots.leaving)[1])
    assert (tmp_path / "1.term").exists()
    assert _gone(second)
    assert (slots.pids, _gone(first)) == ([first], False)
    slots.resize(2, 2.0)
    slots.step(2.0)
    assert slots.pids == [first, _pid(tmp_path, 1, unlike=second)]


def test_a_process_that_does_not_drain_is_killed_at_its_deadline(slots, tmp_path):
    """It would hold its slot, and its partitions, for ever."""
    (tmp_path / "stubborn").touch()
    slots.resize(2, 0.0)
    slots.step(0.0)
    second = _pid(tmp_path, 1)
    slots.resize(1, 1.0)
    _until((tmp_path / "1.term").exists)
    slots.step(25.0)
    assert slots.leaving
    _until(lambda: (slots.step(26.0), not slots.leaving)[1])
    assert _gone(second)
