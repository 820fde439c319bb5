"""One supervised child process: start, ready, death, restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from streams.core.process import tether
from streams.core.process.process import ProcessIdentity
from streams.core.process.restart import RestartPolicy
from streams.dev.local import java
from streams.dev.local.roster import ChildState, RosterEntry
from streams.dev.local.service import Service

OUTPUT_MAX_BYTES = 4 << 20
_TETHER = str(Path(tether.__file__).resolve())


@dataclass(slots=True)
class Child:
    """Driven by `step`; all times are monotonic seconds."""

    service: Service
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    now: Callable[[], float] = time.monotonic
    state: ChildState = ChildState.STOPPED
    starts: int = 0
    reason: str = ""
    _process: subprocess.Popen[bytes] | None = None
    _identity: ProcessIdentity | None = None
    _next_at: float = 0.0

    @property
    def unsettled(self) -> bool:
        """Whether it changes with time alone."""
        return self.state in (ChildState.STARTING, ChildState.WAITING)

    def entry(self) -> RosterEntry:
        return RosterEntry(
            name=self.service.name,
            address=self.service.address,
            state=self.state,
            process=self._identity,
            starts=self.starts,
            reason=self.reason,
            log=str(self.service.log),
        )

    def start(self) -> None:
        """Tethered to this process. A failed start counts as a death."""
        self.starts += 1
        try:
            self._process = self._spawn()
        except OSError as error:
            self._died(f"cannot be started: {error.strerror}")
            return
        self._identity = ProcessIdentity.of(self._process.pid)
        self._next_at = self.now() + self.service.ready_timeout_s
        self.state = ChildState.STARTING

    def step(self) -> None:
        if self.state is ChildState.WAITING and self.now() >= self._next_at:
            self.start()
        elif self._process is not None and self._process.poll() is not None:
            self._died(_describe(self._process.returncode))
        elif self.state is ChildState.STARTING:
            if self.service.serves():
                self.state = ChildState.READY
            elif self.now() >= self._next_at:
                self._kill()
                self._died(f"did not serve within {self.service.ready_timeout_s:.0f} s")

    def retry(self) -> None:
        if self.state is ChildState.FAILED:
            self.policy.forgive()
            self.start()

    def ask_to_stop(self) -> None:
        """First half of a stop: SIGTERM, without waiting."""
        if self._process is not None:
            self._process.terminate()

    def finish(self) -> None:
        """Second half of a stop: wait for the service's deadline, then kill."""
        if self._process is not None:
            try:
                self._process.wait(self.service.stop_timeout_s)
            except subprocess.TimeoutExpired:
                self.reason = f"did not stop within {self.service.stop_timeout_s:.0f} s, killed"
                self._kill()
        self._process = self._identity = None
        self.state = ChildState.STOPPED

    def _spawn(self) -> subprocess.Popen[bytes]:
        # services have logs of their own
        output = self.service.log.with_suffix(".out")
        grown = output.exists() and output.stat().st_size > OUTPUT_MAX_BYTES
        with output.open("wb" if grown else "ab") as sink:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", _TETHER, str(os.getpid()), *self.service.argv],
                stdin=subprocess.DEVNULL,
                env=java.environment(),
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=output.parent,
            )

    def _kill(self) -> None:
        assert self._process is not None, "only a started child is killed"
        self._process.kill()
        self._process.wait()

    def _died(self, reason: str) -> None:
        self._process = self._identity = None
        self.reason = reason
        delay_s = self.policy.died(self.now())
        if delay_s is None:
            self.state = ChildState.FAILED
        else:
            self.state = ChildState.WAITING
            self._next_at = self.now() + delay_s


def _describe(returncode: int) -> str:
    if returncode >= 0:
        return f"exited with code {returncode}"
    return f"was ended by {signal.Signals(-returncode).name}"
