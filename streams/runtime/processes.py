"""`dia worker --processes N`: one parent that starts, watches and ends N worker processes.

A worker that dies is started again in its slot, where its static membership and its state wait
for it. The children are tethered: they die with the parent, however it dies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import structlog

from streams.errors import WorkerStopped
from streams.local import tether
from streams.local.restart import RestartPolicy

_POLL_S = 0.1
_KILL_SLACK_S = 5.0
_USAGE_EXITS = (2, 4, 5)
"""A worker that exits so will do it again: what it said must be mended first."""

log = structlog.get_logger(__name__)


class Slot:
    """One worker process and its restarts. Times are monotonic seconds."""

    def __init__(self, number: int, argv: Sequence[str]) -> None:
        self.number = number
        self._argv = list(argv)
        self._policy = RestartPolicy()
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at: float | None = 0.0

    def step(self, now_s: float) -> None:
        """Start what is due; see who died. Raises `WorkerStopped` when restarting is pointless."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self._process = None
            self._died(code, now_s)
        if self._process is None and self._start_at is not None and now_s >= self._start_at:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(Path(tether.__file__).resolve()),
                    str(os.getpid()),
                    *self._argv,
                ],
                stdin=subprocess.DEVNULL,
            )

    def _died(self, code: int, now_s: float) -> None:
        if code in _USAGE_EXITS:
            raise WorkerStopped(f"worker process {self.number} cannot run (exit code {code}).")
        delay_s = self._policy.died(now_s)
        log.warning("worker_died", slot=self.number, code=code, restart_in_s=delay_s)
        if delay_s is None:
            raise WorkerStopped(
                f"worker process {self.number} died again and again, last with exit code {code}. "
                f"Its log says why."
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


def run(processes: int, argv_of: Callable[[int], Sequence[str]], drain_timeout_s: float) -> None:
    """Run ``processes`` workers until SIGTERM or SIGINT; a second signal kills them.

    Raises `WorkerStopped` when one cannot be kept running; the others are drained first.
    """
    slots = [Slot(number, argv_of(number)) for number in range(processes)]
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
                slot.step(time.monotonic())
            time.sleep(_POLL_S)
    finally:
        _end(slots, drain_timeout_s)


def _end(slots: Sequence[Slot], drain_timeout_s: float) -> None:
    """SIGTERM to all, then one deadline for all."""
    for slot in slots:
        slot.signal(signal.SIGTERM)
    deadline = time.monotonic() + drain_timeout_s + _KILL_SLACK_S
    for slot in slots:
        slot.wait(max(0.0, deadline - time.monotonic()))
