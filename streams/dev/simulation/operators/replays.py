"""Replays of dead letters under faults. A run is a process, which may die; the next run resumes its
plan."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, NoReturn

from agents.app import MODEL_METRICS, app
from streams.core.errors import (
    PartitionRestart,
    RefusedBySafety,
    TopicRecreated,
    TransientError,
    UsageError,
)
from streams.dev.simulation.world import Killed, World, current_process
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.dlq.filters import Filters, OffsetRange
from streams.operate.dlq.scan import bounds, scan
from streams.operate.replay.journal.control import (
    Word,
    dispose,
    find_plan,
    plan_in,
    say_shown,
    tell,
)
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.journal.owner import owned
from streams.operate.replay.plan.plan import ReplayPlan, Terms
from streams.operate.replay.plan.planner import PlanRequest, make_plan
from streams.operate.replay.plan.transforms import transform_of
from streams.operate.replay.run.disposition_publisher import DispositionPublisher
from streams.operate.replay.run.partition_run import RunContext
from streams.operate.replay.run.run import run_plan

_EXPECTED = (TransientError, PartitionRestart, RefusedBySafety, UsageError, TopicRecreated)
"""errors of a command under faults, after which a user retries"""
_WORDS: tuple[Word, ...] = ("pause", "resume", "cancel")


class Runner:
    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self.alive = True
        token = current_process.set(self)
        self._task = asyncio.create_task(work)
        current_process.reset(token)
        self._death: asyncio.Task[None] | None = None

    async def kill(self) -> None:
        self.alive = False
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def die(self) -> NoReturn:
        """kill -9 from inside."""
        if self.alive:
            self.alive = False
            self._death = asyncio.get_running_loop().create_task(self.kill())
        raise Killed

    async def ended(self) -> None:
        """Raises unexpected errors."""
        with suppress(asyncio.CancelledError, Killed, *_EXPECTED):
            await self._task

    @property
    def done(self) -> bool:
        return self._task.done()


class Replays:
    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._runners: list[Runner] = []
        self._plans: list[str] = []
        self._number = 0

    async def strike(self) -> None:
        draw = self._rng.random()
        if draw < 0.45:
            self._start(self._plan_and_run())
        elif draw < 0.6:
            self._start(self._go_on())
        elif draw < 0.72:
            self._start(self._say(self._rng.choice(_WORDS)))
        elif draw < 0.82:
            self._start(
                self._decide(
                    self._rng.choice((ReplayDisposition.PARKED, ReplayDisposition.DISCARDED))
                )
            )
        else:
            await self._kill_one()

    async def finish(self) -> None:
        """At the quiet end: complete every plan, replay the rest with another, and publish pending
        decisions."""
        for runner in self._runners:
            if self._rng.random() < 0.5:
                await runner.kill()
            await runner.ended()
        for plan in self._plans:
            with suppress(UsageError):
                await self._end(plan)
        await self._run(await self._plan(Filters(), self._terms(mended=True)))
        for partition in range(self._world.partitions):
            await self._show(partition)

    async def _end(self, plan: str) -> None:
        world = self._world
        source, found = await find_plan(world.broker, plan, app.topology.topics)
        try:
            await run_plan(self._means(), plan_in(found), resume=True)
        except RefusedBySafety:
            with suppress(RefusedBySafety):
                await tell(world.broker, world.clock, app.topology, source, found, "cancel", "cat")

    async def _show(self, partition: int) -> None:
        world = self._world
        async with owned(
            world.broker, world.clock, app.topology, MODEL_METRICS, partition
        ) as owner:
            showing = DispositionPublisher(world.shards, owner, world.clock)
            await showing.catch_up()
            await say_shown(owner, showing, world.clock, "ann")

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        self._runners.append(Runner(work))

    async def _kill_one(self) -> None:
        if alive := [runner for runner in self._runners if runner.alive and not runner.done]:
            await self._rng.choice(alive).kill()

    async def _plan_and_run(self) -> None:
        filters = Filters()
        if self._rng.random() < 0.5:
            first = self._rng.randint(0, 20)
            filters = Filters(offsets=(OffsetRange(first, first + self._rng.randint(0, 20)),))
        terms = self._terms(mended=self._rng.random() < 0.7)
        await self._run(await self._plan(filters, terms))

    def _terms(self, *, mended: bool) -> Terms:
        return Terms(
            transform=transform_of("tenant-as-key") if mended else None,
            on_failure=self._rng.choice(("skip", "park", "stop")),
            hops_max=self._rng.randint(1, 3),
        )

    async def _plan(self, filters: Filters, terms: Terms) -> ReplayPlan:
        self._number += 1
        world = self._world
        request = PlanRequest(
            source=MODEL_METRICS,
            filters=filters,
            terms=terms,
            id=f"plan-{self._number}",
            actor="ann",
            asked={},
        )
        draft = await make_plan(
            world.broker, world.clock, world.settings, app.topology, request, lambda at, end: None
        )
        return draft.plan

    async def letters_to_plan(self) -> int:
        """Letters in a plan for all that are open. Raises as `make_plan`."""
        return (await self._plan(Filters(), self._terms(mended=True))).letters

    async def _run(self, plan: ReplayPlan) -> None:
        self._plans.append(plan.id)
        await run_plan(self._means(), plan, resume=False)

    async def _go_on(self) -> None:
        if self._plans:
            _, found = await find_plan(
                self._world.broker, self._rng.choice(self._plans), app.topology.topics
            )
            await run_plan(self._means(), plan_in(found), resume=self._rng.random() < 0.7)

    async def _say(self, word: Word) -> None:
        if self._plans:
            world = self._world
            source, found = await find_plan(
                world.broker, self._rng.choice(self._plans), app.topology.topics
            )
            await tell(world.broker, world.clock, app.topology, source, found, word, "cat")

    async def _decide(self, disposition: ReplayDisposition) -> None:
        world = self._world
        pages = self._some_letters()
        await dispose(
            *(world.broker, world.shards, world.clock, app.topology, MODEL_METRICS),
            *(pages, disposition, "dan"),
        )

    async def _some_letters(self) -> AsyncIterator[list[DeadLetterRecord]]:
        reader = await self._world.broker.reader()
        for span in await bounds(reader, MODEL_METRICS.dlq, self._world.partitions):
            async for page in scan(reader, [span], app.topology):
                yield [letter for letter in page if self._rng.random() < 0.2]

    def _means(self) -> RunContext:
        self._number += 1
        world = self._world
        return RunContext(
            broker=world.broker,
            shards=world.shards,
            clock=world.clock,
            settings=world.settings,
            topology=app.topology,
            actor="bob",
            run=f"run-{self._number}",
            rate=self._rng.choice((None, None, 5.0)),
        )
