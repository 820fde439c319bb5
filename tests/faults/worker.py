"""One worker process of a trial: started, signalled and observed by its pid."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.core.process import tether
from streams.engine.health.live_workers import LiveWorker as Told
from streams.engine.health.live_workers import live_workers

AGENTS = "aggregate_metrics"
POLL_S = 0.05
PATIENCE_S = 200.0
DOOMED = Path(__file__).with_name("doomed_worker.py")
NEWER = Path(__file__).with_name("newer_worker.py")


class FaultWorker:
    """A process of ``dia worker``; it ends with the test's process, however that ends."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        slot: int,
        state: Path,
        environ: Mapping[str, str],
        log: Path,
    ) -> None:
        self.slot = slot
        self.state = state
        self.log = log
        guard = [sys.executable, "-I", "-S", str(Path(tether.__file__).resolve())]
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [*guard, str(os.getpid()), sys.executable, *command],
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._child.poll()

    def send(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._child.kill()
        self._child.wait(PATIENCE_S)

    def end(self) -> None:
        """Kill it if it still runs, also if suspended."""
        if self.exit_code is None:
            self.kill()

    async def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code, once it ended."""
        return await asyncio.to_thread(self._child.wait, timeout_s)

    def told(self) -> Told | None:
        """The last status that it wrote; None before the first one and after its death."""
        return next((t for t in live_workers(self.state) if t.pid == self.pid), None)

    async def ready(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until all its assigned partitions accept records."""
        await self.until(lambda told: told.ready and bool(told.partitions), timeout_s)

    async def stopped_by(self, code: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until a partition is stopped with this code."""
        await self.until(
            lambda told: any(held.get("stopped_by") == code for held in told.partitions), timeout_s
        )

    async def until(self, holds, timeout_s: float = PATIENCE_S) -> None:
        """Wait until its status satisfies ``holds``."""
        deadline = time.monotonic() + timeout_s
        while (told := self.told()) is None or not holds(told):
            if self.exit_code is not None:
                raise AssertionError(
                    f"worker {self.slot} ended with {self.exit_code}: {self.tail()}"
                )
            assert time.monotonic() < deadline, f"worker {self.slot} tells {told}: {self.tail()}"
            await asyncio.sleep(POLL_S)

    def rss_bytes(self) -> int:
        """Resident memory in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n" + "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def said(self, word: str) -> int:
        """Number of occurrences of ``word`` in its log."""
        return self.log.read_text(errors="replace").count(word)
