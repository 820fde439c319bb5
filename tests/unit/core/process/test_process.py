"""Identity of a process: pids are reused, and dia must never signal a foreign process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from streams.core.process import tether
from streams.core.process.process import ProcessIdentity

DEADLINE_S = 200


@pytest.fixture
def sleeper():
    """A process that sleeps for a minute."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_living_process_is_recognised(sleeper):
    """The base case, with a second reading of the process."""
    identity = ProcessIdentity.of(sleeper.pid)
    assert identity == ProcessIdentity.of(sleeper.pid)
    assert identity.alive()


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot_id": "another boot"}])
def test_a_foreign_process_with_the_same_pid_is_not_signalled(sleeper, change):
    """A stale pid file after a reboot, or after the pids wrapped around."""
    stale = replace(ProcessIdentity.of(sleeper.pid), **change)
    assert not stale.alive()
    assert not stale.send(signal.SIGKILL)
    assert sleeper.poll() is None


def test_a_zombie_is_dead(sleeper):
    """Only its parent can reap a zombie, so a wait for its end would never return."""
    identity = ProcessIdentity.of(sleeper.pid)
    assert identity.send(signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.alive()
    assert identity.wait_gone(0)
    assert ProcessIdentity.of(sleeper.pid) is None


def test_a_dead_process_is_not_signalled(sleeper):
    """`dia down` after a crash must not fail."""
    identity = ProcessIdentity.of(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert not identity.send(signal.SIGTERM)
    assert identity.wait_gone(0)


def test_waiting_for_a_living_process_ends_at_the_deadline(sleeper):
    """Every wait has a deadline."""
    assert not ProcessIdentity.of(sleeper.pid).wait_gone(0.05)


def _start_parent(command: list[str]) -> subprocess.Popen[str]:
    """A process that starts ``command`` with die-with-parent, prints its pid, and hangs."""
    program = (
        "import os, subprocess, sys, time\n"
        "argv = [sys.executable, '-I', '-S', sys.argv[1], str(os.getpid()), *sys.argv[2:]]\n"
        "print(subprocess.Popen(argv).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    argv = [sys.executable, "-c", program, str(Path(tether.__file__)), *command]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_a_tethered_child_dies_with_a_killed_parent():
    """kill -9 of the supervisor runs none of its code, and must still leave no orphan."""
    with _start_parent(["/bin/sh", "-c", "echo tethered; exec sleep 60"]) as parent:
        child = ProcessIdentity.of(int(parent.stdout.readline()))
        assert parent.stdout.readline() == "tethered\n"
        parent.kill()
        assert child.wait_gone(DEADLINE_S)


def test_a_child_whose_parent_is_gone_already_does_not_start():
    """The parent may die before the child sets die-with-parent."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", tether.__file__, "1", "/bin/echo", "started"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert done.stdout == ""


def test_a_tethered_child_reacts_to_sigterm():
    """The supervisor blocks signals to wait for them; a child that inherits the mask could not be
    stopped.
    """
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        argv = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), "/bin/sleep", "60"]
        with subprocess.Popen(argv) as child:
            child.terminate()
            assert child.wait(DEADLINE_S) == -signal.SIGTERM
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
