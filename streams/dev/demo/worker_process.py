"""`dia worker` as a child process, with its log in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.dev.demo.command_process import DIA, CommandProcess
from streams.engine.health.live_workers import LiveWorker, live_workers

DIA_WORKER = (*DIA, "worker")


class WorkerProcess(CommandProcess):
    """``command`` may be another with the same options."""

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
        self._state = state
        options = ["--agents", agents, "--processes", str(processes)]
        super().__init__("worker", [*command, *options], environ=environ, log=log)

    def alive(self) -> list[LiveWorker]:
        """The live worker processes, from their last status file."""
        return live_workers(self._state)

    @property
    def ready(self) -> bool:
        found = self.alive()
        return len(found) == self.processes and all(worker.ready for worker in found)

    @property
    def settled(self) -> bool:
        found = self.alive()
        return len(found) == self.processes and all(worker.settled for worker in found)
