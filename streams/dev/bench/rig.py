"""The stack of one case, and its handles for measurements."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from streams.connect.broker.kafka.broker import KafkaBroker
from streams.core.clock import Clock
from streams.core.errors import CommandError
from streams.core.settings import PREFIX, Settings
from streams.dev.bench import worker
from streams.dev.bench.cases.case import Case
from streams.dev.bench.processes import WatchedProcesses
from streams.dev.bench.worker_log import PartitionReady, opened
from streams.dev.bench.worker_metrics import WorkerMetrics, scrape
from streams.dev.demo.reading import TopicReading
from streams.dev.demo.run import Talk
from streams.dev.demo.worker_process import DIA_WORKER, WorkerProcess
from streams.dev.local.stack import status

AGENTS = "aggregate_metrics"
READY_WAIT_S = 120.0
STALLED_S = 120.0
VISIBLE_WAIT_S = 120.0
POLL_S = 0.1
LOG_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    case: Case
    home: Path
    settings: Settings
    environ: Mapping[str, str]
    broker: KafkaBroker
    reading: TopicReading
    clock: Clock
    talk: Talk
    profile: Path | None = None

    @property
    def broker_pid(self) -> int:
        pids = [service.pid for service in status(self.home).services if service.name == "kafka"]
        assert pids[0] is not None, "the stack is up"
        return pids[0]

    def start(self, name: str) -> WorkerProcess:
        """Their log is ``name``.log."""
        plain = self.case.sink == "clickhouse" and self.profile is None
        return WorkerProcess(
            AGENTS,
            self.case.processes,
            environ=self.environ,
            state=self.settings.state_path(),
            log=self.home / f"{name}.log",
            command=DIA_WORKER if plain else worker.command(self.case.sink, self.profile),
        )

    def start_another(self, name: str) -> WorkerProcess:
        """With its own state folder and identity, as on another host."""
        state = self.home / f"{name}-state"
        return WorkerProcess(
            AGENTS,
            1,
            environ={**self.environ, PREFIX + "STATE_DIR": str(state)},
            state=state,
            log=self.home / f"{name}.log",
        )

    async def first_opened(self, process: WorkerProcess) -> PartitionReady:
        return (await self._opened(process, 1))[0]

    async def all_opened(self, process: WorkerProcess, partitions: int) -> list[PartitionReady]:
        return await self._opened(process, partitions)

    async def _opened(self, process: WorkerProcess, count: int) -> list[PartitionReady]:
        deadline = self.clock.monotonic() + READY_WAIT_S
        while len(found := opened(process.log)) < count:
            process.check()
            if self.clock.monotonic() >= deadline:
                raise CommandError(
                    f"only {len(found)} of {count} partitions took records within "
                    f"{READY_WAIT_S:g} s. The worker's log is {process.log}."
                )
            await self.clock.sleep(LOG_POLL_S)
        return list(found)

    def watched(self, process: WorkerProcess) -> WatchedProcesses:
        services = {
            service.name: service.pid
            for service in status(self.home).services
            if service.pid is not None and service.name != "redis"
        }
        workers = {f"worker-{found.slot}": found.pid for found in process.alive()}
        return WatchedProcesses({**workers, **services, "bench": os.getpid()})

    async def until_committed(self, process: WorkerProcess, events: int) -> float:
        """Wall clock when the group has committed everything. Raises `CommandError` on a stall."""
        best, moved_at = events + 1, self.clock.monotonic()
        with self.talk.progress("committed", events, "events") as progress:
            while (unread := await self.reading.unread()) > 0:
                self._refuse_stopped(process)
                if unread < best:
                    best, moved_at = unread, self.clock.monotonic()
                elif self.clock.monotonic() - moved_at > STALLED_S:
                    raise CommandError(
                        f"{unread:,} events are left and nothing moves. The worker's log is "
                        f"{process.log}."
                    )
                progress.update(completed=events - unread)
                await self.clock.sleep(POLL_S)
            progress.update(completed=events)
        return time.time()

    async def until_acknowledged(
        self, process: WorkerProcess, shown: int | None = None
    ) -> tuple[WorkerMetrics, float]:
        """Wait until no row is in flight for the time of a commit and, if ``shown`` is given, until
        queries count that many events: a starved worker has empty queues too.

        Returns the workers' metrics and the time at which the queues were first empty. Raises
        `CommandError` on a timeout."""
        quiet_s = self.settings.commit_interval_s + POLL_S
        deadline = self.clock.monotonic() + STALLED_S
        empty_since: float | None = None
        while True:
            self._refuse_stopped(process)
            metrics = await asyncio.to_thread(scrape, process.alive())
            now_s = time.time()
            if metrics.total("sink_queue_rows"):
                empty_since = None
            elif empty_since is None:
                empty_since = now_s
            elif now_s - empty_since >= quiet_s:
                if shown is None or await self.reading.visible_events() == shown:
                    return metrics, empty_since
                empty_since = None
            if self.clock.monotonic() >= deadline:
                raise CommandError(
                    f"not every row reached its shard within {STALLED_S:g} s. The worker's log is "
                    f"{process.log}."
                )
            await self.clock.sleep(POLL_S)

    async def until_visible(self, process: WorkerProcess, events: int) -> bool:
        """Whether queries counted that many events in time."""
        self.talk.say("waiting until every event is counted by queries")
        deadline = self.clock.monotonic() + VISIBLE_WAIT_S
        while await self.reading.visible_events() != events:
            self._refuse_stopped(process)
            if self.clock.monotonic() >= deadline:
                return False
            await self.clock.sleep(POLL_S)
        return True

    def _refuse_stopped(self, process: WorkerProcess) -> None:
        """Raises `CommandError` when the worker has ended or stopped a partition."""
        process.check()
        for found in process.alive():
            for held in found.partitions:
                if held["stopped_by"]:
                    raise CommandError(
                        f"{held['topic']}/{held['partition']} stopped: {held['stopped_by']}. The "
                        f"worker's log is {process.log}."
                    )

    async def until_settled(self, process: WorkerProcess) -> bool:
        """Whether every window closed and every row was acknowledged in time."""
        self.talk.say("waiting until every window is closed and every row acknowledged")
        # older metrics may precede the last event
        await self.clock.sleep(1.0)
        deadline = self.clock.monotonic() + STALLED_S
        while not process.settled:
            process.check()
            if self.clock.monotonic() >= deadline:
                return False
            await self.clock.sleep(POLL_S)
        return True

    async def stop(self, process: WorkerProcess) -> None:
        await asyncio.to_thread(process.stop)
