"""The life cycle of one supervised process, with real processes and fake services."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from streams.core.process.process import ProcessIdentity
from streams.core.process.restart import DEATHS_MAX
from streams.dev.local.child import Child
from streams.dev.local.roster import ChildState
from streams.dev.local.service import Service

DEADLINE_S = 200


class ManualTime:
    """Monotonic seconds that the test advances."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def make(tmp_path):
    """Make a child of a shell command; all are stopped at the end of the test."""
    made: list[Child] = []

    def _make(command: str, *, serves=lambda: True, stop_timeout_s: float = DEADLINE_S) -> Child:
        service = Service(
            name="it",
            address="nowhere",
            argv=("/bin/sh", "-c", command),
            log=Path(tmp_path / "it.log"),
            serves=serves,
            stop_rank=0,
            ready_timeout_s=30,
            stop_timeout_s=stop_timeout_s,
        )
        made.append(Child(service, now=ManualTime()))
        return made[-1]

    yield _make
    for child in made:
        child.ask_to_stop()
        child.finish()


def _step_until(child: Child, state: ChildState) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while child.state is not state:
        child.step()
        assert time.monotonic() < deadline, f"still {child.state}, not {state}"
        time.sleep(0.005)


def test_it_is_ready_when_it_serves(make):
    """A running process does not answer requests at once."""
    answers = [False, True]
    child = make("exec sleep 60", serves=lambda: answers.pop(0))
    child.start()
    child.step()
    assert child.state is ChildState.STARTING
    child.step()
    assert child.state is ChildState.READY
    assert child.entry().process.alive()


def test_a_killed_one_is_started_again_after_its_delay(make):
    """The delay gives the cause of its death time to pass."""
    child = make("exec sleep 60")
    child.start()
    _step_until(child, ChildState.READY)
    first = child.entry().process
    first.send(signal.SIGKILL)
    _step_until(child, ChildState.WAITING)
    assert child.reason == "was ended by SIGKILL"
    child.step()
    assert child.state is ChildState.WAITING
    child.now.now_s += 1
    _step_until(child, ChildState.READY)
    assert child.starts == 2
    assert child.entry().process != first


def test_one_that_dies_at_once_is_given_up_until_the_next_request(make):
    """The reason must be in the status, not only in a growing log."""
    child = make("exit 7", serves=lambda: False)
    child.start()
    deadline = time.monotonic() + DEADLINE_S
    while child.state is not ChildState.FAILED:
        child.step()
        if child.state is ChildState.WAITING:
            # Only from here on: a loaded machine may take long to end a process.
            child.now.now_s += 0.5
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert child.starts == DEATHS_MAX + 1
    assert child.reason == "exited with code 7"
    assert not child.unsettled
    child.retry()
    assert child.state is ChildState.STARTING


def test_one_that_never_serves_is_killed_and_counts_as_dead(make):
    """A hanging start counts as a death."""
    child = make("exec sleep 60", serves=lambda: False)
    child.start()
    child.step()
    process = child.entry().process
    child.now.now_s += 31
    child.step()
    assert child.state is ChildState.WAITING
    assert child.reason == "did not serve within 30 s"
    assert not process.alive()


def test_one_that_cannot_be_started_counts_as_dead(make):
    """A missing log folder or a full process table must not end the supervisor."""
    child = make("exec sleep 60")
    child.service.log.parent.rmdir()
    child.start()
    assert child.state is ChildState.WAITING
    assert "cannot be started" in child.reason
    child.service.log.parent.mkdir()


def test_one_that_ignores_sigterm_is_killed(make):
    """`dia down` always ends."""
    child = make("trap '' TERM; echo deaf; exec sleep 60", stop_timeout_s=0.2)
    child.start()
    deadline = time.monotonic() + DEADLINE_S
    while "deaf" not in child.service.log.with_suffix(".out").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process = child.entry().process
    child.ask_to_stop()
    child.finish()
    assert child.state is ChildState.STOPPED
    assert "killed" in child.reason
    assert not process.alive()


def test_its_last_output_is_kept(make):
    """A JVM that cannot start prints the reason on stderr only."""
    child = make("echo no heap >&2; exit 1", serves=lambda: False)
    child.start()
    _step_until(child, ChildState.WAITING)
    assert child.service.log.with_suffix(".out").read_text() == "no heap\n"


def test_it_is_tethered_to_this_process(make):
    """The kernel ends the child with the supervisor process itself."""
    child = make("exec sleep 60")
    child.start()
    pid = child.entry().process.pid
    assert ProcessIdentity.of(pid) is not None
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    assert int(parent) == os.getpid()
