"""The worker the demo runs: `dia worker` as a child process, with its log in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.errors import CommandError
from streams.local import tether
from streams.local.live_workers import Worker, live_workers

DIA_WORKER = (sys.executable, "-m", "streams", "worker")
STOP_WAIT_S = 40.0
"""Above the drain deadline of a worker and the slack its parent gives it."""


class WorkerProcess:
    """`dia worker --processes N`, which dies with this process however it dies.

    ``command`` may be another one that takes the same options.
    """

    def __init__(
        self,
        agents: str,
        processes: int,
        *,
        environ: Mapping[str, str],
        state: Path,
        log: Path,
        command: Sequence[str] = DIA_WORKER,
    ) -> None:
        self.processes = processes
        self.log = log
        self._state = state
        options = ["--agents", agents, "--processes", str(processes)]
        guard = [sys.executable, "-I", "-S", str(Path(tether.__file__).resolve())]
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [*guard, str(os.getpid()), *command, *options],
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the demo, which then stops this child in its own order.
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises `CommandError` when the worker has ended by itself."""
        code = self._child.poll()
        if code is not None:
            raise CommandError(f"the worker ended with exit code {code}. Its log is {self.log}.")

    def alive(self) -> list[Worker]:
        """The worker processes that live, each as it last told of itself."""
        return live_workers(self._state)

    @property
    def ready(self) -> bool:
        """Whether every process runs and has its partitions."""
        found = self.alive()
        return len(found) == self.processes and all(worker.ready for worker in found)

    @property
    def settled(self) -> bool:
        """Whether every process runs and has nothing left to do."""
        found = self.alive()
        return len(found) == self.processes and all(worker.settled for worker in found)

    def stop(self) -> None:
        """Drain and end; kill what does not end in time."""
        if self._child.poll() is not None:
            return
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
