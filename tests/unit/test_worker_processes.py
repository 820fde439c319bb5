"""`--processes N`: children are restarted, tethered to their parent, and ended by its signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.errors import WorkerStopped
from streams.runtime.processes import Slot

_PARENT = """
import sys
from streams.runtime.processes import run
run(2, lambda slot: [sys.executable, "-c", sys.argv[1], sys.argv[2], str(slot)], 20.0)
"""
_CHILD_GOES_ON = """
import os, signal, sys, time
path = sys.argv[1] + "/" + sys.argv[2]
def end(number, frame):
    open(path + ".term", "w").close()
    if not os.path.exists(sys.argv[1] + "/stubborn"):
        sys.exit(0)
signal.signal(signal.SIGTERM, end)
with open(path + ".draft", "w") as out:
    out.write(str(os.getpid()))
os.rename(path + ".draft", path + ".pid")
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def parent(tmp_path):
    """A parent of two children that write their pids into ``tmp_path``."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PARENT, _CHILD_GOES_ON, str(tmp_path)], stdout=subprocess.DEVNULL
    )
    yield process
    process.kill()
    process.wait()


def _pid(tmp_path, slot, unlike=None):
    """The pid that the child of this slot wrote, once it is another than ``unlike``."""

    def written():
        path = tmp_path / f"{slot}.pid"
        pid = int(path.read_text()) if path.exists() else None
        return pid if pid != unlike else None

    return _until(written)


def _until(found, seconds=30):
    ends = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.02)
    return answer


def _gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # A child of a dead parent belongs to init, which may be slow to bury it.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_child_that_dies_is_started_again_in_its_slot(parent, tmp_path):
    """Its membership and its state wait for it there; the other child notices nothing."""
    first, other = _pid(tmp_path, 0), _pid(tmp_path, 1)
    os.kill(first, signal.SIGKILL)
    _pid(tmp_path, 0, unlike=first)
    assert not _gone(other)


def test_sigterm_drains_the_children_and_ends_well(parent, tmp_path):
    """A graceful stop is theirs to make."""
    pids = [_pid(tmp_path, slot) for slot in range(2)]
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == 0
    assert all((tmp_path / f"{slot}.term").exists() for slot in range(2))
    assert all(_gone(pid) for pid in pids)


def test_a_second_signal_does_not_wait(parent, tmp_path):
    """Whoever asks twice means it."""
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
def test_a_child_that_cannot_run_is_not_tried_again(code):
    """What it said must be mended first."""
    slot = Slot(0, [sys.executable, "-c", f"raise SystemExit({code})"])
    slot.step(0.0)
    with pytest.raises(WorkerStopped, match=f"exit code {code}"):
        _until(lambda: slot.step(0.1))


def test_a_child_that_dies_again_and_again_is_given_up():
    """A loop of restarts would burn a core and bury the cause."""
    slot = Slot(0, [sys.executable, "-c", "raise SystemExit(1)"])
    now_s = iter(range(10**6))
    with pytest.raises(WorkerStopped, match="again and again"):
        _until(lambda: slot.step(next(now_s) * 0.1), seconds=60)
