"""`dia worker --processes N`: one parent that starts, watches and ends N worker processes, or as many up
to N as they need.

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

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return None if self._process is None else self._process.pid

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

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


class WorkerSlots:
    """The slots of a host, numbered from 0; the last ones come and go. Times are monotonic seconds."""

    def __init__(
        self,
        count: int,
        command_of: Callable[[int], Sequence[str]],
        drain_timeout_s: float,
        spare: Sequence[str] | None = None,
    ) -> None:
        """``command_of`` gives the arguments of ``python -m`` for a slot; ``spare`` those of the spare
        process, None: no spare."""
        self.command_of = command_of
        self._drain_s = drain_timeout_s + _KILL_SLACK_S
        self._slots = [Slot(number, command_of(number)) for number in range(count)]
        self._leaving: list[tuple[Slot, float]] = []
        """each with the time at which it is killed"""
        self._spare = Spare(spare)

    @property
    def pids(self) -> list[int | None]:
        """Of the slots that stay, in their order; None: does not run."""
        return [slot.pid for slot in self._slots]

    @property
    def leaving(self) -> bool:
        """Whether a process of a smaller number still drains."""
        return bool(self._leaving)

    def step(self, now_s: float) -> None:
        """Start what is due, end what drains for too long. Raises `WorkerStopped` if a restart is
        pointless."""
        for slot in self._slots:
            slot.step(now_s, self._spare)
        self._spare.step(now_s, max(slot.started_s for slot in self._slots))
        for slot, kill_s in self._leaving:
            if now_s >= kill_s:
                slot.signal(signal.SIGKILL)
        self._leaving = [(slot, kill_s) for slot, kill_s in self._leaving if not slot.ended]

    def resize(self, count: int, now_s: float) -> None:
        """The last slots drain, or others begin behind them, in the next `step`. Call it only while none
        is `leaving`: a slot has one process."""
        assert count >= 1
        assert not self._leaving
        while len(self._slots) > count:
            slot = self._slots.pop()
            slot.signal(signal.SIGTERM)
            self._leaving.append((slot, now_s + self._drain_s))
        for number in range(len(self._slots), count):
            self._slots.append(Slot(number, self.command_of(number)))

    def kill(self) -> None:
        for slot in self._every():
            slot.signal(signal.SIGKILL)

    def end(self) -> None:
        """Drain all."""
        self._spare.end()
        for slot in self._slots:
            slot.signal(signal.SIGTERM)
        deadline = time.monotonic() + self._drain_s
        for slot in self._every():
            slot.wait(max(0.0, deadline - time.monotonic()))

    def _every(self) -> list[Slot]:
        return [*self._slots, *(slot for slot, _ in self._leaving)]


def run(processes: WorkerSlots, scale: Callable[[float], None] = lambda now_s: None) -> None:
    """Run workers until SIGTERM or SIGINT; a second signal kills them. ``scale`` may resize them, at any
    time.

    Raises `WorkerStopped` if a worker keeps dying; the others are drained first.
    """
    signals: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        if len(signals) > 1:
            processes.kill()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    try:
        while not signals:
            processes.step(time.monotonic())
            scale(time.monotonic())
            time.sleep(_POLL_S)
    finally:
        processes.end()


def _spawn(command: Sequence[str], stdin: int) -> subprocess.Popen[bytes]:
    guard = [sys.executable, "-I", "-S", str(Path(tether.__file__).resolve()), str(os.getpid())]
    return subprocess.Popen([*guard, sys.executable, "-m", *command], stdin=stdin)
