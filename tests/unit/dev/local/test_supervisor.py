"""The supervisor of the local stack, without children, on a full disk."""

from __future__ import annotations

import errno
import io
import signal
import sys
import threading

import pytest

from streams.dev.local import supervisor
from streams.dev.local.folder import StackFolder
from streams.dev.local.supervisor import Supervisor


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a stack whose roster cannot be written, and a SIGTERM for its supervisor."""
    made = StackFolder.of(tmp_path)
    made.supervisor_lock.parent.mkdir(parents=True, exist_ok=True)
    made.supervisor_lock.touch()
    monkeypatch.setattr(supervisor, "write_roster", lambda folder, roster: FullDisk().write(""))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    yield made
    signal.sigtimedwait({signal.SIGTERM}, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_log_on_a_full_disk_does_not_end_the_stack(folder, monkeypatch):
    """The services died with their supervisor, and stayed down after the disk had room again."""
    monkeypatch.setattr(sys, "stderr", FullDisk())
    Supervisor(folder, [], None).run()


def test_a_roster_that_cannot_be_written_is_named_once(folder, capsys):
    """A line for each step, twenty a second, would fill the disk again."""
    Supervisor(folder, [], None).run()
    assert capsys.readouterr().err.count("No space left on device") == 1
