"""Two leaders never both act, with fenced processes, deaths, failing sends and slow work.

The law is read from `dia.schedule`: the runs of a job are numbered without a gap, each begins once
and ends at most once, and none ends after a later one began.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.app import app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.errors import BrokerUnavailable
from streams.core.telemetry.metrics import Metrics
from streams.dev.simulation.loop import LoopClock, VirtualLoop, run
from streams.engine.schedule import term
from streams.engine.schedule.job import Findings, ScheduledJob
from streams.engine.schedule.journal import entries, schedule_of
from streams.engine.schedule.leader import SESSION_S, Candidate
from streams.operate.topics.topics import wanted_topics
from tests.depth import cases

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["mute", "unmute", "die", "start", "doubt", "fail", "delay"]),
        st.integers(0, 2),
        st.sampled_from([0.3, 5.0, 30.0]),
    ),
    max_size=14,
)


class World:
    """Three candidates over one broker."""

    def __init__(self, loop, seed):
        self.clock = LoopClock(loop)
        self.broker = MemoryBroker(self.clock, session_timeout_s=SESSION_S)
        self.rng = random.Random(seed)
        self.tasks = {}

    async def create(self):
        admin = await self.broker.admin()
        await admin.create_topics(
            [t for t in wanted_topics(app.topology) if t.name == app.topology.schedule_topic]
        )

    def start(self, n):
        if n in self.tasks:
            return
        job = ScheduledJob(name="audit", interval_s=2.0, timeout_s=60.0, work=self._work)
        candidate = Candidate(
            f"c{n}", [job], app.topology, broker=self.broker, clock=self.clock, metrics=Metrics()
        )
        self.tasks[n] = asyncio.create_task(candidate.run())

    async def _work(self, number):
        await self.clock.sleep(self.rng.choice([0.0, 1.0, 25.0]))
        return Findings(0, {})

    async def die(self, n):
        task = self.tasks.pop(n, None)
        if task is not None:
            member = self.broker.members.get(f"c{n}")
            if member is not None:
                member.mute()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def step(self, what, n):
        member = self.broker.members.get(f"c{n}") if n in self.tasks else None
        if what == "mute" and member is not None:
            member.mute()
        elif what == "unmute" and member is not None:
            member.unmute()
        elif what == "die":
            await self.die(n)
        elif what == "start":
            self.start(n)
        elif what == "doubt":
            self.broker.faults.doubt_commit(applied=self.rng.random() < 0.5, nth=1)
        elif what == "fail":
            self.broker.faults.fail("send", BrokerUnavailable("scripted"), nth=1)
        elif what == "delay":
            self.broker.faults.delay("commit", 25.0, nth=1)

    async def journal(self):
        return await entries(await self.broker.reader(), schedule_of(app.topology))


def history(steps, seed):
    """The journal after ``steps`` and a final minute without faults."""
    loop = VirtualLoop()
    world = World(loop, seed)

    async def tell():
        await world.create()
        for n in range(3):
            world.start(n)
        await asyncio.sleep(10)
        for what, n, pause_s in steps:
            await world.step(what, n)
            await asyncio.sleep(pause_s)
        before = len(await world.journal())
        for n in range(3):
            await world.step("unmute", n)
            world.start(n)
        await asyncio.sleep(240)
        said = await world.journal()
        for n in range(3):
            await world.die(n)
        return before, said

    return run(loop, tell())


def broken_law(journal):
    """The first entry that violates the law; None if there is none."""
    begun = ended = 0
    for entry in journal:
        if entry.kind == "began":
            if entry.run != begun + 1:
                return entry
            begun = entry.run
        elif entry.kind == "ended":
            if entry.run != begun or entry.run <= ended:
                return entry
            ended = entry.run
    return None


@settings(max_examples=cases(30), deadline=None)
@given(STEPS, st.integers(0, 1000))
def test_two_leaders_never_both_act_and_runs_always_resume(steps, seed):
    """Whatever was paused, died or was answered late: one sequence of runs, and it continues."""
    before, journal = history(steps, seed)
    assert broken_law(journal) is None
    assert len(journal) > before, "no job ran after the faults ended"


def test_leaders_without_a_fence_are_caught():
    """With a producer of its own per candidate, a stale leader's entries are accepted."""
    steps = [(what, n, 30.0) for n in range(3) for what in ("mute", "unmute")] * 2
    names = (f"dia-leader-{n}" for n in itertools.count())

    def unfenced(self, *args):
        with patch.object(term, "leader_id", lambda topology: next(names)):
            made(self, *args)

    made = term.Term.__init__
    with patch.object(term.Term, "__init__", unfenced):
        caught = [broken_law(history(steps, seed)[1]) for seed in range(10)]
    assert any(caught)
