"""One pipeline under test: fresh topics, empty tables, workers to kill, and an exact comparison at
the end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.app import DIA_GROUP, MODEL_METRICS, app
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.broker.log_range import read_range
from streams.connect.broker.opened import opened
from streams.connect.sinks.schema import servers
from streams.core.clock import SystemClock
from streams.core.degradation.level import Level, worst
from streams.core.records import headers
from streams.core.settings import load
from streams.core.types import TopicPartition
from streams.dev.demo.balance import balance
from streams.dev.demo.reading import TopicReading
from streams.dev.demo.reconcile import DemoVerdict, Found, reconcile
from streams.dev.local.preparation import environment
from streams.dev.local.stack import StackStatus
from streams.dev.workload.generator import Generator
from streams.dev.workload.shape import Workload
from streams.engine.health.live_workers import LiveWorker, live_workers, pipeline_settled
from streams.operate.produce.feed import RecordFeed
from streams.operate.topics.topics import apply, plan, wanted_topics
from tests.empty_topics import empty_topics
from tests.faults.pace import SETTINGS
from tests.faults.report import Finding
from tests.faults.worker import AGENTS, DOOMED, NEWER, FaultWorker

RATE_PER_S = 6000
PAST_MS = 180_000
"""The last event is old enough that every window is over once the topic falls silent."""
SPAN_MS = 180_000
"""Event time of a trial: 150,000 events at the default step."""
PATIENCE_S = 200.0
QUERY_TIMEOUT_S = 60
"""Seconds for one query of a command, which has no worker's session to keep."""
POLL_S = 0.1
CALM_S = 4.0
"""Event time in seconds without a late event: longer than a process takes to start."""
BLOCKS_PER_S = 20
TABLES = (
    "m1_local",
    "h1_local",
    "d1_local",
    "dead_letters_local",
    "ledger_local",
    "shed_ranges_local",
    "load_history_local",
    "usage_history_local",
)


class Trial:
    """See the module docstring. ``oracle`` computes the expected result of all fed events."""

    def __init__(self, stack: StackStatus, folder: Path, seed: int) -> None:
        self.stack = stack
        self.folder = folder
        self.rng = random.Random(seed)
        self.environ = environment(stack.home, stack.settings())
        self.settings, _ = load(self.environ)
        # A producer that outlives any outage of a test.
        self.broker = KafkaBroker(stack.kafka_bootstrap, request_timeout_s=90.0)
        self.workers: list[FaultWorker] = []
        self.shards = list(stack.shards)
        """Addresses for workers that are started afterwards."""
        self.recovery_s: float | None = None
        self.rate_per_s = RATE_PER_S
        self._seed = seed
        self._generator: Generator | None = None
        self._feeding: asyncio.Task[None] | None = None

    # --- life cycle --------------------------------------------------------------------------

    async def open(self) -> None:
        """Create empty topics and tables."""
        await empty_topics(self.broker)
        for server in servers(self.settings, app.clickhouse_tables):
            await asyncio.to_thread(server.migrator.apply)
            for table in TABLES:
                await asyncio.to_thread(server.replica.command, f"TRUNCATE TABLE {table}")
            server.replica.close()
        self.reading = await TopicReading.open(self.settings, self.broker, MODEL_METRICS)

    async def close(self) -> None:
        """End every process of the trial."""
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)
        for worker in self.workers:
            worker.end()
        await self.reading.close()

    async def recreate_topics(self, names: Sequence[str]) -> None:
        """Delete those of ``names`` that exist, then create every topic of the topology."""
        async with opened(self.broker.admin()) as admin:
            await admin.delete_topics(names)
            await apply(
                admin,
                plan(app.topology, wanted_topics(app.topology), await admin.describe_topics()),
            )

    async def with_admin(self, work: Callable[[Any], Any]) -> Any:
        async with opened(self.broker.admin()) as admin:
            return await work(admin)

    @property
    def moment(self) -> Path:
        """The note of a doomed worker that got its signal."""
        return self.folder / "moment"

    # --- workers -----------------------------------------------------------------------------

    def worker(
        self,
        slot: int = 0,
        *,
        state: str = "state",
        doom: Sequence[str] = (),
        newer: bool = False,
        processes: int = 1,
        processes_min: int | None = None,
        agents: str = AGENTS,
        **settings: Any,
    ) -> FaultWorker:
        """Start a worker. ``doom`` is (signal, moment, call, nth) of `doomed_worker`, which writes
        its note into `moment`; a ``newer`` one writes the next format of the state."""
        command = ["-m", "streams", "worker", "--agents", agents, "--slot", str(slot)]
        if processes > 1:
            command += ["--processes", str(processes)]
        if processes_min is not None:
            command += ["--processes-min", str(processes_min)]
        if doom:
            command = [str(DOOMED), str(slot), *doom, str(self.moment)]
        if newer:
            command = [str(NEWER), str(slot)]
        folder = self.folder / state
        self._name(folder)
        started = FaultWorker(
            command,
            slot=slot,
            state=folder,
            environ=self._environ(folder, settings),
            log=self.folder / f"worker-{folder.name}-{slot}.log",
        )
        self.workers.append(started)
        return started

    def _environ(self, folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
        chosen = {
            **SETTINGS,
            "state_dir": folder,
            "clickhouse_shards": ",".join(self.shards),
            **settings,
        }
        own = {f"DIA_{name.upper()}": str(value) for name, value in chosen.items()}
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        return {**self.environ, **own, "PYTHONPATH": path}

    def _name(self, folder: Path) -> None:
        """One host name for all trials: a new worker then takes over the membership of one that an
        earlier trial killed, instead of waiting for its session to expire."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "id").write_text("faults")

    # --- events ------------------------------------------------------------------------------

    @property
    def oracle(self):
        assert self._generator is not None, "nothing was fed yet"
        return self._generator.oracle

    def feed(self, events: int, *, rate_per_s: int | None = RATE_PER_S, **shape: Any) -> None:
        """Start producing in the background; `fed` waits for the end.

        Feed once the workers are ready if a fault must meet events: on a busy machine, a worker may
        take longer to start than the feed lasts.
        """
        if self._generator is None:
            workload = Workload(
                start_ms=SystemClock().now_ms() - PAST_MS - SPAN_MS,
                seed=self._seed,
                **{"tenants": 200, "models": 10, "metrics": 5, "poison": 0.002, **shape},
            )
            self._generator = Generator(workload)
        self.rate_per_s = rate_per_s or self.rate_per_s
        self._feeding = asyncio.create_task(self._produce(self._generator, events, rate_per_s))

    async def fed(self) -> None:
        assert self._feeding is not None, "nothing was fed yet"
        await self._feeding

    async def _produce(self, generator: Generator, events: int, rate_per_s: int | None) -> None:
        producer = self.broker.plain_producer()
        await producer.start()
        try:
            feed = RecordFeed(producer, MODEL_METRICS.name, SystemClock(), rate_per_s=rate_per_s)
            size = max(1, (rate_per_s or RATE_PER_S) // BLOCKS_PER_S)
            for block in generator.blocks(events, size):
                await feed.send(*block)
            await feed.drain()
        finally:
            await producer.close()

    async def send(self, records: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        """Send extra records; the caller adds their expected results to the oracle."""
        producer = self.broker.plain_producer()
        await producer.start()
        try:
            for key, value in records:
                await (await producer.send(MODEL_METRICS.name, key, value))
        finally:
            await producer.close()

    async def until_read(self, events: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the group has committed at least this many records."""
        deadline = time.monotonic() + timeout_s
        while await self.read() < events:
            assert time.monotonic() < deadline, f"nothing is read: {self._tails()}"
            await asyncio.sleep(POLL_S)

    async def read(self) -> int:
        """Number of records that the group has committed."""
        partitions = [
            TopicPartition(MODEL_METRICS.name, number) for number in range(MODEL_METRICS.partitions)
        ]
        committed = await self.with_admin(lambda a: a.committed(DIA_GROUP, partitions))
        return sum(done.offset for done in committed.values())

    async def until(self, holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        """Wait until ``holds()`` is true."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {self._tails()}"
            await asyncio.sleep(POLL_S)

    # --- the end -----------------------------------------------------------------------------

    async def recovered(self, timeout_s: float = PATIENCE_S) -> float:
        """Seconds until less than a second of events is unread, and stays so; kept for the report.

        The lag reacts to a fault with a delay, so the last time that it was too long counts.
        """
        began = last_late = time.monotonic()
        while (now := time.monotonic()) - last_late < CALM_S:
            if await self.reading.unread() > self.rate_per_s:
                last_late = now
            assert now - began < timeout_s, f"no recovery: {self._tails()}"
            await asyncio.sleep(POLL_S)
        took_s = last_late - began
        self.recovery_s = max(took_s, self.recovery_s or 0.0)
        return took_s

    async def settled(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until everything is committed, every window closed, every row acknowledged, and no
        worker counts the broker or a shard as unavailable: after an outage, that takes some seconds
        of answers."""
        deadline = time.monotonic() + timeout_s
        while await self.reading.unread():
            assert time.monotonic() < deadline, f"records stay unread: {self._tails()}"
            await asyncio.sleep(POLL_S)
        # Metrics written before this moment may be older than the last event.
        await asyncio.sleep(1.0)
        states = {worker.state for worker in self.workers}
        while not _settled([told for state in states for told in live_workers(state)]):
            assert time.monotonic() < deadline, f"not settled: {self._tails()}"
            await asyncio.sleep(POLL_S)

    async def exact(self, fault: str, note: str = "") -> Finding:
        """Wait for the end of the feed and for the workers to settle, then compare everything.

        Raises `AssertionError` naming what differs.
        """
        await self.fed()
        await self.settled()
        finding = self.judge(fault, await self.reading.everything(), note)
        await self.audited()
        return finding

    async def windows_exact(self, fault: str, note: str = "") -> Finding:
        """Like `exact`, but compares windows only: a reset that opened a new epoch restarted the
        counters."""
        await self.fed()
        await self.settled()
        found = await self.reading.everything()
        lost, doubled = balance(self.oracle.truth(), found.windows)
        finding = Finding(fault, self.oracle.produced, lost, doubled, self.recovery_s, note)
        assert (lost, doubled) == (0, 0), f"{finding}{self._tails()}"
        await self.audited(deep=False)
        return finding

    async def audited(self, *, deep: bool = True) -> None:
        """Check that `dia audit` finds no difference, as in production without an oracle."""
        told = json.loads(await self.command("audit", "--json", *["--deep"] * deep))
        assert told["clean"], told["findings"]
        assert not deep or told["windows_judged"] > 0

    async def command(self, *words: str, state: str = "state") -> str:
        """Standard output of a `dia` command; AssertionError if it fails."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "streams", *words),
            env=self._environ(self.folder / state, {"sink_timeout_s": QUERY_TIMEOUT_S}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    async def reset(self, partition: int, *options: str) -> None:
        """The documented reset of a stopped partition."""
        await self.command(
            *("tables", "reset", "--yes", "--group", DIA_GROUP, "--topic", MODEL_METRICS.name),
            *("--partition", str(partition), *options),
        )

    def judge(self, fault: str, found: Found, note: str = "") -> Finding:
        verdict = reconcile(self.oracle, found)
        lost, doubled = balance(self.oracle.truth(), found.windows)
        finding = Finding(fault, self.oracle.produced, lost, doubled, self.recovery_s, note)
        assert verdict.ok, f"{finding}\n{_differences(verdict)}{self._tails()}"
        return finding

    async def dead_letters(self) -> list[tuple[dict[str, str], bytes | None]]:
        """Every record of the dead-letter topic: its ``dia.dlq.`` headers and its value."""
        reader = await self.broker.reader()
        letters = []
        for number in range(MODEL_METRICS.partitions):
            tp = TopicPartition(MODEL_METRICS.dlq, number)
            begin, end = await reader.beginning_offset(tp), await reader.last_stable_offset(tp)
            async for batch in read_range(reader, tp, begin, end):
                for pairs, value in zip(batch.headers, batch.values, strict=True):
                    named = {
                        name.removeprefix(headers.DLQ_PREFIX): text.decode(errors="replace")
                        for name, text in pairs
                        if name.startswith(headers.DLQ_PREFIX)
                    }
                    letters.append((named, value))
        await reader.close()
        return letters

    def _tails(self) -> str:
        return "".join(f"\n[{worker.log.name}]{worker.tail()}" for worker in self.workers[-3:])


def _settled(workers: Sequence[LiveWorker]) -> bool:
    away = worst(worker.degradation for worker in workers).level >= Level.MINIMAL
    return not away and pipeline_settled(workers)


def _differences(verdict: DemoVerdict) -> str:
    wrong = [
        f"{c.name}: {c.expected} expected, {c.found} found" for c in verdict.checks if not c.ok
    ]
    return "\n".join([*wrong, *map(str, verdict.differences)])
