"""A dispatcher with a scripted performer, and its answers."""

from __future__ import annotations

import asyncio
from types import MappingProxyType

from streams.core.clock import settle
from streams.core.errors import BreakerOpen
from streams.core.telemetry.metrics import Metrics
from streams.engine.agents.job_agent import Ask
from streams.engine.agents.queue_policy import QueuePolicy
from streams.engine.runtime.jobs.dispatcher import Dispatcher
from streams.engine.runtime.jobs.work import Work


class Script:
    """A `Performer` that follows a script for each event, and waits for the test before it ends."""

    def __init__(self, slots=2, **queues):
        self.slots = slots
        self.queues = queues
        self.script = {}
        self.needed = {}
        self.prepared = []
        self.limits = {}
        self.started = []
        self.cancelled = []
        self.go = asyncio.Event()
        self.go.set()

    def told_waiting(self, jobs):
        """Its slots are fixed."""

    def queue(self, name):
        return self.queues.get(name, QueuePolicy())

    def needs(self, event):
        raise AssertionError("a partition asks for the needs of what it submits")

    async def prepare(self, event):
        self.prepared.append(event)
        step = self.needed[event].pop(0) if self.needed.get(event) else None
        if isinstance(step, Exception):
            raise step
        return await step() if step is not None else None

    async def perform(self, event, prepared, timeout_s):
        self.started.append(event)
        self.limits[event] = timeout_s
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(event)
            raise
        step = self.script[event].pop(0) if self.script.get(event) else {"of": event}
        if isinstance(step, Exception):
            raise step
        return step() if callable(step) else step

    def finished(self, event, outcome):
        raise AssertionError("only a partition tells of what is committed")

    async def close(self):
        """Nothing to close."""


class Desk:
    """A dispatcher, its performer and its answers."""

    def __init__(self, clock, retries=MappingProxyType({}), **options):
        self.clock = clock
        self.performer = Script(**options)
        self.metrics = Metrics()
        self.dispatcher = Dispatcher(self.performer, clock, self.metrics, 0.25, retries)
        self.outcomes = {}
        self.given_up = {}
        self.loop = asyncio.ensure_future(self.dispatcher.run())

    def submit(self, event, queue="q", tenant="t", priority=0, owner=None, needs=()):
        ask = Ask(tenant=tenant, key=event, payload=b"", priority=priority, queue=queue)
        work = Work(owner or self, event, ask, needs)
        self.dispatcher.submit(work)
        return work

    def done(self, work, outcome, given_up):
        self.outcomes.setdefault(work.ask.key, []).append(outcome)
        self.given_up[work.ask.key] = given_up

    async def after(self, delay_s=0.0):
        await settle()
        await self.clock.advance(delay_s)
        return {event: [found.status for found in all_] for event, all_ in self.outcomes.items()}


def away(need):
    error = BreakerOpen("x")
    error.need = need
    return error
