"""The demo: start everything, feed it, wait until it settles, compare, stop everything."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from agents.app import AGGREGATE_METRICS, MODEL_METRICS, app
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.core.clock import Clock, SystemClock
from streams.core.errors import CommandError
from streams.core.settings import Settings, load
from streams.core.types import Broker
from streams.dev.demo import chaos
from streams.dev.demo.home import empty
from streams.dev.demo.reading import TopicReading
from streams.dev.demo.reconcile import DemoVerdict, reconcile
from streams.dev.demo.worker_process import WorkerProcess
from streams.dev.local.preparation import environment, prepare
from streams.dev.local.stack import down, up
from streams.dev.workload.generator import BLOCK_EVENTS, Generator
from streams.dev.workload.oracle import Oracle
from streams.dev.workload.shape import STEP_MS, Workload
from streams.operate.produce.feed import RecordFeed

AGENTS = ",".join(name for name, one in app.agents.items() if one.group == AGGREGATE_METRICS.group)
"""Those of the events that are compared."""
READY_WAIT_S = 120.0
STALLED_S = 120.0
"""without progress; the comparison follows anyway"""
POLL_S = 0.25
PAST_MS = 180_000
"""Of the last event, so that every window closes when the topic is idle."""


Counting: TypeAlias = Callable[[], Awaitable[int]]


class DemoProgress(Protocol):
    def advance(self, amount: float = 1) -> None: ...

    def update(self, *, completed: float | None = None, description: str | None = None) -> None: ...


class Talk(Protocol):
    def say(self, text: str) -> None: ...

    def progress(
        self, description: str, total: float | None = None, unit: str = ""
    ) -> AbstractContextManager[DemoProgress]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """``home`` is emptied at the start. ``agents``: names, with commas, of those that the workers run."""

    home: Path
    events: int = 500_000
    processes: int = 2
    shards: int = 2
    seed: int = 1
    chaos: bool = False
    agents: str = AGENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOutcome:
    """In seconds from the first event produced; ``visible_s`` and ``settled_s`` are None on a
    timeout."""

    verdict: DemoVerdict
    oracle: Oracle
    produced_s: float
    committed_s: float | None
    visible_s: float | None
    settled_s: float | None
    kills: int


Begun: TypeAlias = Callable[[Mapping[str, str]], Callable[[], None]]
Then: TypeAlias = Callable[[DemoOutcome, Mapping[str, str], WorkerProcess], None]


def run(
    options: DemoOptions, talk: Talk, begun: Begun | None = None, then: Then | None = None
) -> DemoOutcome:
    """Only the demo's files stay. ``begun`` is called when topics and tables are there; what it returns is
    called when the workers have been started beside it, before the first event. ``then`` is called while they
    still run. ``begun`` and ``then`` get the environment for `dia` commands.

    Raises `RefusedBySafety` when the home is in use or not a demo's, `DependencyUnreachable` when
    the stack cannot start, `CommandError` when the worker ends by itself."""
    empty(options.home)
    try:
        running = up(options.home, options.shards, talk.say, owner_pid=os.getpid())
        environ = environment(options.home, running.settings())
        settings, _ = load(environ)
        demo = _Demo(options, talk, settings)
        asyncio.run(demo.prepare())
        # In this thread: a process ends with the thread that started it (tether.py).
        opened = begun(environ) if begun is not None else None
        with _workers(options, talk, settings, environ) as worker:
            if opened is not None:
                opened()
            outcome = asyncio.run(demo.run(worker))
            if then is not None:
                then(outcome, environ, worker)
        return outcome
    finally:
        down(options.home, talk.say)


@contextmanager
def _workers(
    options: DemoOptions, talk: Talk, settings: Settings, environ: Mapping[str, str]
) -> Iterator[WorkerProcess]:
    log = options.home / "worker.log"
    talk.say(f"starting {options.processes} worker processes (log: {log})")
    worker = WorkerProcess(
        *(options.agents, options.processes),
        environ=environ,
        state=settings.state_path(),
        log=log,
    )
    try:
        yield worker
    finally:
        talk.say("stopping the worker")
        worker.stop()


class _Demo:
    def __init__(self, options: DemoOptions, talk: Talk, settings: Settings) -> None:
        self._options = options
        self._talk = talk
        self._settings = settings
        self._clock: Clock = SystemClock()
        self._broker: Broker = KafkaBroker.from_settings(settings)
        self._started_at = 0.0

    async def prepare(self) -> None:
        await prepare(self._settings, app.topology, self._broker, self._talk.say)

    async def run(self, worker: WorkerProcess) -> DemoOutcome:
        reading = await TopicReading.open(self._settings, self._broker, MODEL_METRICS)
        try:
            await self._until_ready(worker)
            return await self._feed_and_compare(worker, reading)
        finally:
            await reading.close()

    async def _until_ready(self, worker: WorkerProcess) -> None:
        deadline = self._clock.monotonic() + READY_WAIT_S
        while not worker.ready:
            worker.check()
            if self._clock.monotonic() >= deadline:
                raise CommandError(
                    f"the workers were not ready within {READY_WAIT_S:g} s. "
                    f"Their log is {worker.log}."
                )
            await self._clock.sleep(POLL_S)

    async def _feed_and_compare(self, worker: WorkerProcess, reading: TopicReading) -> DemoOutcome:
        options = self._options
        span_ms = round(options.events * STEP_MS)
        start_ms = self._clock.now_ms() - span_ms - PAST_MS
        generator = Generator(Workload(start_ms=start_ms, seed=options.seed))
        self._started_at = self._clock.monotonic()
        faults = chaos.Chaos(worker, options.home, options.shards, self._clock, self._talk.say)
        injection = asyncio.ensure_future(
            faults.run(chaos.plan(options.seed) if options.chaos else [])
        )
        try:
            await self._produce(generator)
            await injection
        finally:
            injection.cancel()
        produced_s = self._elapsed_s()
        events, applied = options.events, generator.oracle.applied

        async def committed() -> int:
            return events - await reading.unread()

        committed_s = await self._until("committed", committed, events, worker)
        visible_s = await self._until("queryable", reading.visible_events, applied, worker)
        settled_s = await self._until_settled(worker)
        self._talk.say("comparing every window with what was sent")
        return DemoOutcome(
            verdict=reconcile(generator.oracle, await reading.everything()),
            oracle=generator.oracle,
            produced_s=produced_s,
            committed_s=committed_s,
            visible_s=visible_s,
            settled_s=settled_s,
            kills=faults.kills,
        )

    async def _produce(self, generator: Generator) -> None:
        options = self._options
        rate = options.events / chaos.DURATION_S if options.chaos else None
        block_events = BLOCK_EVENTS if rate is None else max(1, min(BLOCK_EVENTS, round(rate / 10)))
        producer = self._broker.plain_producer()
        await producer.start()
        try:
            with self._talk.progress("produced", options.events, "events") as progress:
                feed = RecordFeed(
                    producer,
                    MODEL_METRICS.name,
                    self._clock,
                    rate_per_s=rate,
                    on_progress=progress.advance,
                )
                for block in generator.blocks(options.events, block_events):
                    await feed.send(*block)
                await feed.drain()
        finally:
            await producer.close()

    async def _until(
        self, what: str, count: Counting, wanted: int, worker: WorkerProcess
    ) -> float | None:
        best, moved_at = -1, self._clock.monotonic()
        with self._talk.progress(what, wanted, "events") as progress:
            while (now := await count()) < wanted:
                worker.check()
                if now > best:
                    best, moved_at = now, self._clock.monotonic()
                elif self._clock.monotonic() - moved_at > STALLED_S:
                    self._talk.say(f"{what}: {now:,} of {wanted:,}, and no progress any more")
                    return None
                progress.update(completed=now)
                await self._clock.sleep(POLL_S)
            progress.update(completed=wanted)
        return self._elapsed_s()

    async def _until_settled(self, worker: WorkerProcess) -> float | None:
        self._talk.say("waiting until every window is closed and every row acknowledged")
        # older status files may precede the last event
        await self._clock.sleep(4 * POLL_S)
        deadline = self._clock.monotonic() + STALLED_S
        while not worker.settled:
            worker.check()
            if self._clock.monotonic() >= deadline:
                self._talk.say(f"not settled within {STALLED_S:g} s; the worker's log may say why")
                return None
            await self._clock.sleep(POLL_S)
        return self._elapsed_s()

    def _elapsed_s(self) -> float:
        return self._clock.monotonic() - self._started_at
