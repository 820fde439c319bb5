"""One region on this machine: its stack, a worker, an edge and a mirror, which are lost together."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from streams.connect.access.tokens import Role, TokenFile
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.core.clock import Clock, SystemClock
from streams.core.errors import CommandError
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.settings import PREFIX, load
from streams.dev.demo.command_process import DIA, CommandProcess, address_of
from streams.dev.demo.run import AGENTS
from streams.dev.demo.worker_process import WorkerProcess
from streams.dev.local.ports import free_ports
from streams.dev.local.stack import StackStatus, up

READY_WAIT_S = 200.0
COMMAND_WAIT_S = 1000.0
"""above the waits of `dia region failover` for the mirror and for the fold"""
POLL_S = 0.25


class LocalRegion:
    """``folder`` is its DIA_HOME and gets its logs. ``settings``: of
    its processes, by field of `Settings`; they take none of this process's. Every process ends with this one."""

    def __init__(
        self,
        name: str,
        stack: StackStatus,
        folder: Path,
        regions_file: Path,
        settings: Mapping[str, str],
    ) -> None:
        self.name = name
        self._stack = stack
        self._folder = folder
        self._clock: Clock = SystemClock()
        (port,) = free_ports(1)
        self.edge_url = f"http://127.0.0.1:{port}"
        self._port = port
        inherited = {one: value for one, value in os.environ.items() if not one.startswith(PREFIX)}
        own = {
            **stack.settings(),
            "home": str(folder),
            "region": name,
            "regions_file": str(regions_file),
            # One client posts everything.
            "edge_requests": "1000000",
            **settings,
        }
        self.environ = {**inherited, **{PREFIX + one.upper(): own[one] for one in own}}
        self.settings, _ = load(self.environ)
        self.broker = KafkaBroker.from_settings(self.settings)
        folder.mkdir(parents=True, exist_ok=True)
        _, self.token = TokenFile.of(folder).create(
            tenant=None, role=Role.ADMIN, now_ms=self._clock.now_ms()
        )
        self._edge: CommandProcess | None = None
        self._mirror: CommandProcess | None = None
        self._worker: WorkerProcess | None = None
        self._starts = 0

    async def start(self) -> None:
        """Return once the edge listens and the worker has its partitions. Raises `CommandError` when
        a process ends, or is not ready within `READY_WAIT_S`."""
        self._starts += 1
        self._edge = self._process("edge", "edge", "serve", "--port", str(self._port))
        self.restart_mirror()
        self._worker = WorkerProcess(
            AGENTS,
            1,
            environ=self.environ,
            state=self.settings.state_path(),
            log=self._folder / "worker.log",
        )
        await asyncio.to_thread(address_of, self._edge, wait_s=READY_WAIT_S)
        await self._until(f"the worker of {self.name} is ready", lambda: self._workers.ready)

    def restart_mirror(self) -> None:
        """A connector that failed while its source was away stays failed."""
        if self._mirror is not None:
            self._mirror.kill()
        self._mirror = self._process("mirror", "region", "mirror")

    async def stop_mirror(self) -> None:
        """With SIGTERM: a killed one leaves a transaction open, and readers wait for its end."""
        mirror, self._mirror = self._mirror, None
        if mirror is not None:
            await asyncio.to_thread(mirror.stop)

    def lose(self) -> None:
        """kill -9 of every process; the services die with their supervisor."""
        if self._stack.supervisor_pid is not None:
            os.kill(self._stack.supervisor_pid, signal.SIGKILL)
        self.end()

    async def restart_services(self) -> None:
        """Of a lost region, on their ports and disks."""
        self._stack = await asyncio.to_thread(up, self._stack.home, owner_pid=os.getpid())

    def end(self) -> None:
        """Kill what was started here, but the services."""
        for child in (self._edge, self._mirror, self._worker):
            if child is not None:
                child.kill()
        self._edge = self._mirror = self._worker = None

    def check(self) -> None:
        """Raises `CommandError` when a process of a region that is not lost ended by itself."""
        for child in (self._edge, self._mirror, self._worker):
            if child is not None:
                child.check()

    async def settled(self) -> None:
        """Wait until every window is closed and every row acknowledged. Raises as `start`."""
        await self._until(f"the worker of {self.name} settles", lambda: self._workers.settled)

    async def _until(self, what: str, holds: Callable[[], bool]) -> None:
        """Raises `CommandError` after `READY_WAIT_S`, and when a process ends by itself."""
        deadline = Deadline(self._clock, READY_WAIT_S)
        while not holds():
            self.check()
            if deadline.left_s <= 0:
                raise CommandError(f"not within {READY_WAIT_S:g} s: {what}. Logs: {self._folder}.")
            await self._clock.sleep(POLL_S)

    async def command(self, *words: str) -> str:
        """Standard output of a `dia` command in this region. Raises `CommandError` when it fails."""
        child = await asyncio.create_subprocess_exec(
            *DIA,
            *words,
            env=self.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said = f"`dia {' '.join(words)}` in {self.name}"
        try:
            out, err = await Deadline(self._clock, COMMAND_WAIT_S).wait(child.communicate())
        except DeadlinePassed as error:
            raise CommandError(f"{said} took more than {COMMAND_WAIT_S:g} s.") from error
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode:
            raise CommandError(f"{said} failed: {err.decode(errors='replace').strip()[-800:]}")
        return out.decode()

    @property
    def _workers(self) -> WorkerProcess:
        if self._worker is None:
            raise CommandError(f"no worker of {self.name} was started.")
        return self._worker

    def _process(self, name: str, *words: str) -> CommandProcess:
        """With a log for each start: `address_of` must not find the address of an earlier one."""
        log = self._folder / f"{name}-{self._starts}.log"
        return CommandProcess(
            f"{name} of {self.name}", [*DIA, *words], environ=self.environ, log=log
        )
