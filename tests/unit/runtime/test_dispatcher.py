"""What starts, what waits, what is tried again, and what is left alone."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from streams.clock import VirtualClock, settle
from streams.errors import (
    BreakerOpen,
    InvalidParameters,
    PolicyRejected,
    ProcessDied,
    RetriesExhausted,
    SimulationTimeout,
)
from streams.job_agent import Ask
from streams.queue_policy import QueuePolicy
from streams.runtime.dispatcher import HOLD_S, Dispatcher, Work
from streams.telemetry.metrics import Metrics


class Script:
    """A `Performer` that does what its script says of each event, and then waits to be let go."""

    def __init__(self, slots=2, **queues):
        self.slots = slots
        self.queues = queues
        self.script = {}
        self.started = []
        self.cancelled = []
        self.go = asyncio.Event()
        self.go.set()

    def queue(self, name):
        return self.queues.get(name, QueuePolicy())

    async def perform(self, event):
        self.started.append(event)
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


@pytest.fixture
def clock():
    return VirtualClock()


class Desk:
    """A dispatcher, its performer, and what it answered."""

    def __init__(self, clock, **options):
        self.clock = clock
        self.performer = Script(**options)
        self.dispatcher = Dispatcher(self.performer, clock, Metrics(), 0.25)
        self.outcomes = {}
        self.loop = asyncio.ensure_future(self.dispatcher.run())

    def submit(self, event, queue="q", tenant="t", priority=0, owner="o"):
        ask = Ask(tenant=tenant, key=event, payload=b"", priority=priority, queue=queue)
        done = lambda outcome: self.outcomes.setdefault(event, []).append(outcome)  # noqa: E731
        work = Work(owner, event, ask, done)
        self.dispatcher.submit(work)
        return work

    async def after(self, delay_s=0.0):
        await settle()
        await self.clock.advance(delay_s)
        return {event: [found.status for found in all_] for event, all_ in self.outcomes.items()}


@pytest.fixture
async def open_desk(clock):
    opened = []

    def open_(**options):
        opened.append(Desk(clock, **options))
        return opened[-1]

    yield open_
    for desk in opened:
        desk.loop.cancel()
        await desk.dispatcher.close()
        await settle()


async def test_an_outcome_says_what_came_of_the_work(open_desk):
    """Rejected is the sender's to mend, failed is ours: a client acts on the difference."""
    desk = open_desk(slots=9)
    errors = {
        "rejected": [InvalidParameters("x"), PolicyRejected("x")],
        "failed": [SimulationTimeout("x"), RetriesExhausted("x", 3), ZeroDivisionError()],
    }
    for status, found in errors.items():
        for number, error in enumerate(found):
            desk.performer.script[f"{status}{number}"] = [error]
            desk.submit(f"{status}{number}")
    desk.submit("completed0")
    answered = await desk.after()
    assert answered == {event: [event[:-1]] for event in answered}
    assert len(answered) == 6
    assert desk.outcomes["failed0"][0].code == "simulation_timeout"
    assert desk.outcomes["completed0"][0].summary == {"of": "completed0"}


async def test_what_may_pass_is_tried_again_with_growing_pauses(open_desk):
    """A process that died is no answer; three of them are."""
    desk = open_desk()
    desk.performer.script["once"] = [ProcessDied("x")]
    desk.performer.script["ever"] = [ProcessDied("x")] * 9
    desk.submit("once")
    desk.submit("ever")
    assert await desk.after(0.9) == {}
    assert await desk.after(0.3) == {"once": ["completed"]}
    assert desk.performer.started.count("ever") == 2
    assert await desk.after(2.2) == {"once": ["completed"], "ever": ["failed"]}
    assert desk.outcomes["ever"][0].code == "process_died"
    assert desk.performer.started.count("ever") == 3


async def test_while_what_work_needs_is_away_nothing_starts_and_no_attempt_is_spent(open_desk):
    """A breaker that is open for half a minute must not use up three attempts of everything."""
    desk = open_desk()
    desk.performer.script["a"] = [BreakerOpen("x")] * 10
    desk.submit("a")
    await settle()
    assert desk.dispatcher.held
    desk.submit("b")
    assert desk.performer.started == ["a"]
    assert await desk.after(30 * HOLD_S) == {"a": ["completed"], "b": ["completed"]}
    assert desk.performer.started.count("a") == 11
    assert not desk.dispatcher.held


async def test_high_priority_starts_first_and_a_queue_may_say_otherwise(open_desk):
    """The requests' own word counts, unless the scenario has a fixed priority."""
    desk = open_desk(slots=1, humble=QueuePolicy(priority=0))
    desk.performer.go.clear()
    for event, queue, priority in (
        ("busy", "q", 0), ("low", "q", 0), ("meek", "humble", 9), ("high", "q", 9),
    ):  # fmt: skip
        desk.submit(event, queue=queue, priority=priority)
    desk.performer.go.set()
    await desk.after()
    assert desk.performer.started == ["busy", "high", "low", "meek"]


async def test_a_queue_keeps_its_concurrency_and_its_rate(open_desk):
    """One scenario must not take all processes, nor hammer what it reads from."""
    desk = open_desk(slots=10, one=QueuePolicy(concurrency=1), slow=QueuePolicy(rate_per_s=2))
    desk.performer.go.clear()
    for number in range(4):
        desk.submit(f"one{number}", queue="one")
        desk.submit(f"slow{number}", queue="slow")
    await settle()
    assert [event for event in desk.performer.started if event.startswith("one")] == ["one0"]
    assert sum(event.startswith("slow") for event in desk.performer.started) == 2
    desk.performer.go.set()
    await desk.after(0.6)
    assert sum(event.startswith("one") for event in desk.performer.started) == 4
    assert sum(event.startswith("slow") for event in desk.performer.started) == 3


@pytest.mark.parametrize("where", ["waiting", "running", "pausing", "not yet begun"])
async def test_cancelled_work_ends_once_wherever_it_is_and_makes_room(open_desk, where):
    """Found by the simulation: a task that is cancelled before its first step never runs, and
    what it would have given back stays taken."""
    desk = open_desk(slots=1)
    if where == "waiting":
        desk.performer.go.clear()
        desk.submit("busy")
    if where == "pausing":
        desk.performer.script["work"] = [ProcessDied("x")]
    if where == "running":
        desk.performer.go.clear()
    work = desk.submit("work")
    if where != "not yet begun":
        await settle()
    desk.dispatcher.cancel(work)
    desk.performer.go.set()
    desk.submit("next")
    answered = await desk.after(5.0)
    assert answered["work"] == ["cancelled"]
    assert answered["next"] == ["completed"]


async def test_work_is_cancelled_without_what_its_task_did_before_or_does_next(open_desk):
    """One task of the loop does several jobs; who ends one of them means no other."""
    desk = open_desk(slots=1)
    desk.performer.script["before"] = [desk.performer.go.clear]
    _, work, _ = (desk.submit(name) for name in ("before", "work", "after"))
    await settle()
    assert desk.performer.started == ["before", "work"]
    desk.dispatcher.cancel(work)
    desk.performer.go.set()
    answered = await desk.after()
    assert answered == {"before": ["completed"], "work": ["cancelled"], "after": ["completed"]}
    assert desk.performer.cancelled == ["work"]


async def test_short_work_leaves_turns_of_the_loop_to_others(open_desk):
    """A burst that waits for nothing must not keep commits and heartbeats from theirs."""
    desk = open_desk(slots=1)
    for number in range(20):
        desk.submit(f"{number}")
    seen = []
    while len(desk.performer.started) < 20:
        await asyncio.sleep(0)
        seen.append(len(desk.performer.started))
    assert max(after - before for before, after in pairwise([0, *seen])) <= 8
    assert len(seen) >= 3


async def test_forgotten_work_is_stopped_and_answers_nobody(open_desk):
    """Its partition belongs to another process now, which does it itself."""
    desk = open_desk(slots=1)
    desk.performer.go.clear()
    desk.submit("running", owner="gone")
    desk.submit("waiting", owner="gone")
    desk.submit("kept", owner="here")
    await settle()
    desk.dispatcher.forget("gone")
    desk.performer.go.set()
    assert await desk.after(5.0) == {"kept": ["completed"]}
    assert desk.performer.cancelled == ["running"]
