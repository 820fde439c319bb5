"""A lock between processes: one holder, a bounded wait, and release when its holder dies."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from streams.core.process import file_lock
from streams.core.process.file_lock import exclusive, is_held


def _ignore() -> None:
    """Ignores the message."""


def test_a_second_holder_waits_no_longer_than_allowed(tmp_path):
    """The wait has a deadline, and is reported once."""
    path, told = tmp_path / "lock", []
    with exclusive(path, 0, _ignore):
        assert is_held(path)
        with pytest.raises(TimeoutError), exclusive(path, 0.2, lambda: told.append(1)):
            pytest.fail("two holders")
    assert told == [1]
    assert not is_held(path)


def test_the_lock_of_a_killed_holder_is_released(tmp_path):
    """kill -9 must not lock a stack permanently."""
    path = tmp_path / "lock"
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from streams.core.process.file_lock import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 0, lambda: None):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    root = file_lock.__file__.rpartition("/streams/")[0]
    argv = [sys.executable, "-c", program, str(path), root]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        assert is_held(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert not is_held(path)
