"""Start, waiting, retries and cancellation of work in a dispatcher."""

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


async def test_an_outcome_has_its_status_and_error(open_desk):
    """`rejected` blames the request, `failed` the service: clients act on the difference."""
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


async def test_a_transient_error_is_retried_with_growing_pauses_and_then_given_up(open_desk):
    """The death of a process is retried; after three attempts the request becomes a dead letter."""
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
async def test_a_queue_sets_attempts_and_pauses(open_desk, attempts):
    """The scenario sets attempts and pauses; a fixed pause does not grow."""
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
    """A host that kills processes needs other retries than a shard that restarts."""
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
    """Work that failed together must not return together to a service that just recovered."""
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


async def test_the_waiting_time_of_work_is_measured_once(open_desk):
    """From the read to the first start: the pause before a retry does not count as waiting for a
    slot.
    """
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


async def test_successful_work_logs_no_failure(open_desk):
    """A task that ends with an error would log `job_failed`."""
    desk = open_desk(slots=2)
    with capture_logs() as logs:
        for number in range(3):
            desk.submit(f"{number}")
        await desk.after(0.5)
    assert len(desk.outcomes) == 3
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


async def test_outcomes_of_a_partition_that_left_are_dropped_unread(open_desk):
    """Requests of a partition that left are not read again to answer them; they are dropped."""
    desk = open_desk()

    class Gone:
        loads = 0

        async def load(self, work):
            Gone.loads += 1
            await asyncio.Event().wait()

        def done(self, work, outcome, given_up):
            raise AssertionError("the partition left, so its requests are not read")

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


async def test_a_closing_dispatcher_cancels_running_work(clock):
    """The process is about to end and would kill the job while it runs."""
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
    """The number is part of the published schema."""
    desk = open_desk(slots=1)
    desk.submit("low", priority=0, tenant="a")
    desk.submit("asked", priority=priority, tenant="b")
    await desk.after()
    assert desk.performer.started[0] == first


async def test_high_priority_starts_first_unless_the_queue_fixes_one(open_desk):
    """Requests have their own priority unless the scenario fixes one."""
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
    """One scenario must neither take all processes nor overload the service it reads from."""
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
async def test_cancelled_work_ends_once_in_every_state_and_frees_its_slot(open_desk, where):
    """A task that is cancelled before its first step never runs, so it cannot return its slot
    itself.
    """
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


async def test_cancelling_work_leaves_other_work_of_its_task_alone(open_desk):
    """One task of the event loop runs several jobs: a cancellation of one job does not reach the
    others.
    """
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


async def test_short_work_yields_to_the_event_loop(open_desk):
    """A burst of jobs that do not wait must not delay commits and heartbeats."""
    desk = open_desk(slots=1)
    for number in range(20):
        desk.submit(f"{number}")
    seen = []
    while len(desk.performer.started) < 20:
        await asyncio.sleep(0)
        seen.append(len(desk.performer.started))
    assert max(after - before for before, after in pairwise([0, *seen])) <= 8
    assert len(seen) >= 3


async def test_forgotten_work_is_cancelled_without_an_answer(open_desk):
    """The partition's new owner runs the work itself."""
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


async def test_a_queue_without_settings_has_three_attempts_of_thirty_seconds(open_desk):
    """Default limits: three attempts of 30 s, after pauses of 1 s and 2 s, so a scenario cannot
    hold a process without end.
    """
    desk = open_desk()
    desk.performer.script["ever"] = [ProcessDied("x")] * 9
    desk.submit("ever", queue="of no scenario")
    await desk.after(30.0)
    assert desk.performer.limits["ever"] == 30.0
    assert desk.given_up["ever"].attempts == 3


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (9, 8)])
def test_default_pauses_double_from_one_second_to_eight(failures, pause_s):
    """The pauses allow a service to restart, and the tenth attempt still comes soon."""
    assert QueuePolicy(attempts=10).pause_s(failures) == pause_s
    assert QueuePolicy(attempts=10, backoff="fixed").pause_s(failures) == 1


async def test_changes_of_the_slots_are_kept_with_the_jobs_that_waited(open_desk):
    """The console shows why a pool has as many processes as it has."""
    desk = open_desk(slots=1)
    performer = desk.performer
    performer.told_waiting = lambda jobs: setattr(performer, "slots", 3 if jobs > 1 else 1)
    performer.go.clear()
    for event in ("a", "b", "c", "d"):
        desk.submit(event)
    assert await desk.after(1.0) == {}
    performer.go.set()
    await desk.after(1.0)
    changes = [(one.before, one.after, one.why) for one in desk.dispatcher.pool_changes]
    assert changes == [(1, 3, "3 jobs wait"), (3, 1, "1 jobs wait")]
