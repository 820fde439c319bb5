"""`dia worker --processes N`: one parent that starts, watches and ends N worker processes.

A worker that dies is restarted in its slot, with its static membership and its state; a spare
process (streams/cli/standby.py) takes its place at once. All die with the parent.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import structlog

from streams.core.errors import WorkerStopped
from streams.core.process import tether
from streams.core.process.restart import RestartPolicy

_POLL_S = 0.1
_KILL_SLACK_S = 5.0
_USAGE_EXITS = (2, 4, 5)
"""exit codes that a restart does not change"""
_SPARE_AFTER_S = 10.0
"""no spare is started for this time after a worker's start: importing would compete with it"""

log = structlog.get_logger(__name__)


class Spare:
    """At most one spare process. Times are monotonic seconds."""

    def __init__(self, command: Sequence[str] | None) -> None:
        """``command``: arguments of ``python -m``; None: no spare."""
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def step(self, now_s: float, last_start_s: float) -> None:
        """Start a spare if there is none and the workers have started."""
        if self._process is not None and (code := self._process.poll()) is not None:
            log.warning("standby_died", code=code)
            self.end()
            self._command = None
        due = now_s >= last_start_s + _SPARE_AFTER_S
        if self._command is not None and self._process is None and due:
            self._process = _spawn(self._command, subprocess.PIPE)

    def become(self, command: Sequence[str]) -> subprocess.Popen[bytes] | None:
        """Make the spare the worker of ``command``; None if there is no spare."""
        process, self._process = self._process, None
        if process is None:
            return None
        assert process.stdin is not None
        try:
            with process.stdin as told:
                told.write(json.dumps(list(command)).encode() + b"\n")
        except BrokenPipeError:
            process.wait()
            return None
        return process

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


class Slot:
    """One worker process and its restarts. Times are monotonic seconds."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        """``command``: arguments of ``python -m``."""
        self.number = number
        self.started_s = 0.0
        self._command = list(command)
        self._policy = RestartPolicy()
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at: float | None = 0.0

    def step(self, now_s: float, spare: Spare) -> None:
        """Start the process if due. Raises `WorkerStopped` if a restart is pointless."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self._process = None
            self._died(code, now_s)
        if self._process is None and self._start_at is not None and now_s >= self._start_at:
            self.started_s = now_s
            self._process = spare.become(self._command) or _spawn(self._command, subprocess.DEVNULL)

    def _died(self, code: int, now_s: float) -> None:
        if code in _USAGE_EXITS:
            raise WorkerStopped(f"worker process {self.number} cannot run (exit code {code}).")
        delay_s = self._policy.died(now_s)
        log.warning("worker_died", slot=self.number, code=code, restart_in_s=delay_s)
        if delay_s is None:
            raise WorkerStopped(
                f"worker process {self.number} keeps dying, last with exit code {code}. See its "
                "log."
            )
        self._start_at = now_s + delay_s

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> None:
        """Wait for the end; kill at the timeout."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run(
    processes: int,
    command_of: Callable[[int], Sequence[str]],
    drain_timeout_s: float,
    *,
    spare: Sequence[str] | None = None,
) -> None:
    """Run ``processes`` workers until SIGTERM or SIGINT; a second signal kills them.

    ``command_of`` gives the arguments of ``python -m`` for a slot; ``spare`` those of the spare
    process, None: no spare. Raises `WorkerStopped` if a worker keeps dying; the others are drained
    first.
    """
    slots = [Slot(number, command_of(number)) for number in range(processes)]
    waiting = Spare(spare)
    signals: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        if len(signals) > 1:
            for slot in slots:
                slot.signal(signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    try:
        while not signals:
            for slot in slots:
                slot.step(time.monotonic(), waiting)
            waiting.step(time.monotonic(), max(slot.started_s for slot in slots))
            time.sleep(_POLL_S)
    finally:
        waiting.end()
        _end(slots, drain_timeout_s)


def _spawn(command: Sequence[str], stdin: int) -> subprocess.Popen[bytes]:
    guard = [sys.executable, "-I", "-S", str(Path(tether.__file__).resolve()), str(os.getpid())]
    return subprocess.Popen([*guard, sys.executable, "-m", *command], stdin=stdin)


def _end(slots: Sequence[Slot], drain_timeout_s: float) -> None:
    for slot in slots:
        slot.signal(signal.SIGTERM)
    deadline = time.monotonic() + drain_timeout_s + _KILL_SLACK_S
    for slot in slots:
        slot.wait(max(0.0, deadline - time.monotonic()))
