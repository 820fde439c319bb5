"""Candidates for leadership of the schedule, on either broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from agents.app import app
from streams.connect.broker.opened import opened
from streams.core.clock import SystemClock
from streams.core.telemetry.metrics import Metrics
from streams.engine.schedule.job import Findings, ScheduledJob
from streams.engine.schedule.journal import Entry, entries, schedule_of
from streams.engine.schedule.leader import Candidate
from streams.operate.topics.topics import wanted_topics

PATIENCE_S = 200.0


class Electorate:
    """Candidates in one process; it stops those that it started."""

    def __init__(self, world, interval_s=0.2) -> None:
        self.broker = world.broker
        self.began: list[tuple[str, int]] = []
        self.interval_s = interval_s
        self.metrics: dict[str, Metrics] = {}
        self.job = world.name("job")
        self._world = world
        self._running: dict[str, asyncio.Task[None]] = {}
        self.beside: set[str] = set()
        """Candidates that currently run what only a leader runs."""

    async def open(self) -> None:
        """Create the schedule topic."""
        admin = await self.broker.admin()
        await admin.create_topics(
            [t for t in wanted_topics(app.topology) if t.name == app.topology.schedule_topic]
        )
        await admin.close()

    def add_candidate(self, name: str, work=None, *, leaves: bool = False) -> None:
        async def nothing(run: int) -> Findings:
            self.began.append((name, run))
            return Findings(0, {})

        job = ScheduledJob(
            name=self.job,
            interval_s=self.interval_s,
            timeout_s=30.0,
            work=work or nothing,
        )
        self.metrics[name] = Metrics()
        candidate = Candidate(
            self._world.name(name),
            [job],
            app.topology,
            broker=self.broker,
            clock=SystemClock(),
            metrics=self.metrics[name],
            beside=partial(self._beside, name),
            leaves=leaves,
        )
        self._running[name] = asyncio.create_task(candidate.run())

    async def _beside(self, name: str) -> None:
        self.beside.add(name)
        try:
            await asyncio.Event().wait()
        finally:
            self.beside.discard(name)

    def leads(self, name: str) -> bool:
        return self.metrics[name].registry.get_sample_value("dia_schedule_leader") == 1

    async def leader(self) -> str:
        """Wait for a leader; return its name."""
        async with asyncio.timeout(PATIENCE_S):
            while not (leading := [name for name in self._running if self.leads(name)]):  # noqa: ASYNC110 - a gauge notifies no waiter
                await asyncio.sleep(0.05)
        (only,) = leading
        return only

    async def leave(self, name: str) -> None:
        task = self._running.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def until(self, holds) -> list[Entry]:
        """The journal of this test, once ``holds(journal)`` is true."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds(said := await self.journal()):  # noqa: ASYNC110 - a log notifies no waiter
                await asyncio.sleep(0.2)  # each look opens a reader
        return said

    async def journal(self) -> list[Entry]:
        return [entry for entry in await self._all() if entry.job == self.job]

    async def _all(self) -> list[Entry]:
        async with opened(self.broker.reader()) as reader:
            return await entries(reader, schedule_of(app.topology))

    async def close(self) -> None:
        for name in list(self._running):
            await self.leave(name)


@pytest.fixture
async def electorate(world) -> AsyncIterator[Electorate]:
    made = Electorate(world)
    await made.open()
    yield made
    await made.close()
