"""What starts, what waits, what is tried again, and what is left alone."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from streams.core.clock import settle
from streams.core.errors import ProcessDied, ShardBusy
from streams.core.job_refusals import (
    InvalidParameters,
    PolicyRejected,
    SimulationMemory,
    SimulationTimeout,
)
from streams.core.settings.job_retries import job_retries
from streams.engine.agents.job_agent import Ask, Outcome
from streams.engine.agents.queue_policy import QueuePolicy
from streams.engine.runtime.jobs.work import Known, Work
from tests.unit.engine.runtime.dispatcher_desk import Desk


async def test_an_outcome_says_what_came_of_the_work(open_desk):
    """Rejected is the sender's to mend, failed is ours: a client acts on the difference."""
    desk = open_desk(slots=9)
    errors = {
        "rejected": [InvalidParameters("x"), PolicyRejected("x")],
        "failed": [SimulationTimeout("x"), SimulationMemory("x"), ZeroDivisionError()],
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


async def test_what_may_pass_is_tried_again_with_growing_pauses_and_then_given_up(open_desk):
    """A process that died is no answer; three of them are: the request becomes a dead letter."""
    desk = open_desk()
    desk.performer.script["once"] = [ProcessDied("x")]
    desk.performer.script["ever"] = [ProcessDied("x")] * 9
    desk.submit("once")
    desk.submit("ever")
    assert await desk.after(0.75) == {}
    assert await desk.after(0.6) == {"once": ["completed"]}
    assert desk.performer.started.count("ever") == 2
    assert await desk.after(1.1) == {"once": ["completed"]}
    assert await desk.after(1.5) == {"once": ["completed"], "ever": ["failed"]}
    assert desk.performer.started.count("ever") == 3
    assert desk.outcomes["ever"][0].code == "retries_exhausted"
    assert desk.given_up["once"] is None
    assert desk.given_up["ever"].attempts == 3
    assert "process_died: x" in desk.given_up["ever"].message


@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_a_queue_says_how_often_and_how_soon(open_desk, attempts):
    """Attempts and pauses are the scenario's; a fixed pause does not grow."""
    policy = QueuePolicy(attempts=attempts, backoff="fixed", backoff_s=3.0)
    desk = open_desk(of=policy)
    desk.performer.script["ever"] = [ProcessDied("x")] * 9
    desk.submit("ever", queue="of")
    await desk.after(2.3)
    assert desk.performer.started.count("ever") == 1
    await desk.after(attempts * 3.8)
    assert desk.performer.started.count("ever") == attempts
    assert desk.given_up["ever"].attempts == attempts


async def test_an_operator_sets_attempts_and_pauses_by_the_class_of_the_error(open_desk):
    """A host that kills processes asks for other patience than a shard that restarts."""
    retries = job_retries("process_died=2x4, shard_busy=5x0.5")
    desk = open_desk(retries=retries)
    desk.performer.script["died"] = [ProcessDied("x")] * 9
    busy = ShardBusy("x")
    busy.need = "shard 1"
    desk.performer.needed["busy"] = [busy] * 9
    desk.submit("died")
    desk.submit("busy", needs=("shard 1",))
    await desk.after(3.1)
    assert desk.performer.started.count("died") == 1
    await desk.after(20.0)
    assert desk.given_up["died"].attempts == 2
    assert desk.given_up["busy"].attempts == 5
    assert desk.performer.prepared.count("busy") == 5


async def test_pauses_are_spread(open_desk, clock):
    """What failed together must not come back together, on the service that just came back."""
    desk = open_desk(slots=100)
    again = {}
    for number in range(50):
        desk.performer.script[f"{number}"] = [
            ProcessDied("x"),
            lambda number=number: again.setdefault(number, clock.monotonic()) and {},
        ]
        desk.submit(f"{number}")
    for _ in range(20):
        await desk.after(0.1)
    assert min(again.values()) >= 0.8
    assert max(again.values()) <= 1.4
    assert len(set(again.values())) >= 3


async def test_how_long_work_waited_is_measured_once(open_desk):
    """From being read to first starting: a retry would count the pause as waiting for a slot."""
    desk = open_desk()
    desk.performer.script["a"] = [ProcessDied("x")]
    desk.submit("a")

    def measured():
        name, lane = "dia_job_wait_seconds_count", {"lane": "normal"}
        return desk.metrics.registry.get_sample_value(name, lane)

    assert await desk.after() == {}
    assert measured() == 1
    assert await desk.after(2.0) == {"a": ["completed"]}
    assert measured() == 1


async def test_work_without_trouble_logs_no_failure(open_desk):
    """A task of the loop that ends with an error would say `job_failed`, and a person would look."""
    desk = open_desk(slots=2)
    with capture_logs() as logs:
        for number in range(3):
            desk.submit(f"{number}")
        await desk.after(0.5)
    assert len(desk.outcomes) == 3
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


async def test_known_outcomes_of_a_partition_that_left_are_not_read_for(open_desk):
    """Eight at a time read their requests again; those behind them are dropped with the partition."""
    desk = open_desk()

    class Gone:
        loads = 0

        async def load(self, work):
            Gone.loads += 1
            await asyncio.Event().wait()

        def done(self, work, outcome, given_up):
            raise AssertionError("its partition left")

    owner = Gone()
    for number in range(20):
        ask = Ask(tenant="t", key=f"{number}", payload=b"", priority=0, queue="q")
        outcome = Outcome("completed", {}, "", "", 0, 0)
        desk.dispatcher.submit(Work(owner, None, ask, known=Known(outcome)))
    await desk.after(0.5)
    assert Gone.loads == 8
    desk.dispatcher.forget(owner)
    await desk.after(0.5)
    assert Gone.loads == 8


async def test_a_dispatcher_that_closes_stops_what_runs(clock):
    """The process is about to end: a job that goes on would be killed in the middle."""
    desk = Desk(clock)
    desk.performer.go.clear()
    desk.submit("running")
    await settle()
    desk.loop.cancel()
    await desk.dispatcher.close()
    await settle()
    assert desk.performer.cancelled == ["running"]


@pytest.mark.parametrize(("priority", "first"), [(4, "low"), (5, "asked")])
async def test_high_priority_begins_at_five(open_desk, priority, first):
    """The number stands in the published schema: clients rely on it."""
    desk = open_desk(slots=1)
    desk.submit("low", priority=0, tenant="a")
    desk.submit("asked", priority=priority, tenant="b")
    await desk.after()
    assert desk.performer.started[0] == first


async def test_high_priority_starts_first_and_a_queue_may_say_otherwise(open_desk):
    """The requests' own word counts, unless the scenario has a fixed priority."""
    desk = open_desk(slots=1, humble=QueuePolicy(priority=0))
    desk.performer.go.clear()
    desk.submit("busy")
    await settle()
    for event, queue, priority in (("low", "q", 0), ("meek", "humble", 9), ("high", "q", 9)):
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


@pytest.mark.parametrize(
    "where", ["waiting", "running", "pausing", "preparing", "ready", "not yet begun"]
)
async def test_cancelled_work_ends_once_wherever_it_is_and_makes_room(open_desk, where):
    """Found by the simulation: a task that is cancelled before its first step never runs, and
    what it would have given back stays taken."""
    desk = open_desk(slots=1)
    if where in ("waiting", "ready"):
        desk.performer.go.clear()
        desk.submit("busy")
        await settle()
    if where == "preparing":
        desk.performer.needed["work"] = [asyncio.Event().wait]
    if where == "pausing":
        desk.performer.script["work"] = [ProcessDied("x")]
    if where == "running":
        desk.performer.go.clear()
    needs = ("shard 1",) if where in ("preparing", "ready") else ()
    work = desk.submit("work", needs=needs)
    if where != "not yet begun":
        await settle()
        assert where in (work.stage, "ready")
        assert work.ready == (where == "ready")
    desk.dispatcher.cancel(work)
    desk.performer.go.set()
    desk.submit("next", needs=needs)
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
    desk.performer.needed["read"] = [asyncio.Event().wait]
    gone = object()
    desk.submit("running", owner=gone)
    desk.submit("waiting", owner=gone)
    desk.submit("read", owner=gone, needs=("shard 1",))
    desk.submit("kept")
    await settle()
    desk.dispatcher.forget(gone)
    desk.performer.go.set()
    assert await desk.after(5.0) == {"kept": ["completed"]}
    assert desk.performer.cancelled == ["running"]


async def test_a_queue_that_says_nothing_has_three_attempts_of_thirty_seconds(open_desk):
    """A scenario without figures of its own neither holds a process for ever nor gives up at the
    first process that dies. It waits a second, then two."""
    desk = open_desk()
    desk.performer.script["ever"] = [ProcessDied("x")] * 9
    desk.submit("ever", queue="of no scenario")
    await desk.after(30.0)
    assert desk.performer.limits["ever"] == 30.0
    assert desk.given_up["ever"].attempts == 3


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (9, 8)])
def test_pauses_of_such_a_queue_double_from_one_second_to_eight(failures, pause_s):
    """Long enough for a service to restart, short enough that the tenth attempt is no other day."""
    assert QueuePolicy(attempts=10).pause_s(failures) == pause_s
    assert QueuePolicy(attempts=10, backoff="fixed").pause_s(failures) == 1
