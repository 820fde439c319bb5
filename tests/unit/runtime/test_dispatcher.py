"""What starts, what waits, what is tried again, and what is left alone."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import MappingProxyType

import pytest
from structlog.testing import capture_logs

from streams.clock import VirtualClock, settle
from streams.errors import BreakerOpen, PolicyServiceFailed, ProcessDied, ShardBusy
from streams.job_agent import Ask, Outcome
from streams.job_refusals import (
    InvalidParameters,
    PolicyRejected,
    SimulationMemory,
    SimulationTimeout,
)
from streams.queue_policy import QueuePolicy
from streams.runtime.ahead import AHEAD_OF_LANE
from streams.runtime.dispatcher import HOLD_S, Dispatcher
from streams.runtime.work import Known, Work
from streams.settings.job_retries import job_retries
from streams.telemetry.metrics import Metrics


class Script:
    """A `Performer` that does what its script says of each event, and then waits to be let go."""

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


@pytest.fixture
def clock():
    return VirtualClock()


class Desk:
    """A dispatcher, its performer, and what it answered."""

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


async def test_while_what_work_needs_is_away_only_that_work_waits_and_no_attempt_is_spent(
    open_desk,
):
    """A breaker that is open for half a minute must use up no attempts, and hold no other work."""
    desk = open_desk()
    desk.performer.needed["a"] = [_away("shard 1")] * 10
    desk.submit("a", needs=("shard 1",))
    await desk.after()
    assert list(desk.dispatcher.gates.shut) == ["shard 1"]
    for number in range(20):
        desk.submit(f"same{number}", needs=("shard 1",))
    desk.submit("other", needs=("shard 2",))
    desk.submit("none")
    answered = await desk.after(0.2)
    assert answered == {"other": ["completed"], "none": ["completed"]}
    assert desk.performer.prepared.count("a") == 1
    answered = await desk.after(15 * HOLD_S)
    assert len(answered) == 23
    assert set(map(tuple, answered.values())) == {("completed",)}
    assert desk.performer.prepared.count("a") == 11
    assert desk.performer.prepared.index("same0") > 10, "only one asks while the need fails"
    assert desk.dispatcher.gates.shut == {}


async def test_work_waits_for_what_fails_in_its_place(open_desk):
    """It was there first: what came later must not pass it for having met the failure later."""
    desk = open_desk(slots=1)
    desk.performer.needed["first"] = [_away("shard 1")]
    desk.submit("first", needs=("shard 1",))
    await desk.after()
    for event in ("second", "third"):
        desk.submit(event, needs=("shard 1",))
    await desk.after(3.0)
    assert desk.performer.started == ["first", "second", "third"]


async def test_work_that_comes_back_does_not_stand_in_front_of_what_it_waits_for(open_desk, clock):
    """Found by the simulation: of a queue with room for one, the first failed and came back while
    the second was ready. Neither could start: the second stood behind the first, which waited for
    the second's room."""
    desk = open_desk(slots=1, one=QueuePolicy(concurrency=1))
    desk.performer.needed["first"] = [_away("shard 1")]
    desk.performer.needed["second"] = [lambda: clock.sleep(0.2)]
    desk.performer.go.clear()
    desk.submit("busy")
    desk.submit("first", queue="one", needs=("shard 1",))
    await desk.after()
    desk.submit("second", queue="one", needs=("shard 2",))
    second = desk.submit("third", queue="one", needs=("shard 1",))
    await desk.after(0.3)
    assert second.stage == "waiting"
    await desk.after(2.0)
    desk.performer.go.set()
    assert len(await desk.after(3.0)) == 4


async def test_all_that_wait_for_a_need_that_fails_for_good_are_given_up(open_desk):
    """A hundred thousand requests under one broken policy are not asked about one by one."""
    desk = open_desk()
    asked = 0

    async def fail():
        nonlocal asked
        asked += 1
        error = PolicyServiceFailed("503")
        error.need = "policy t/p"
        raise error

    for number in range(300):
        desk.performer.needed[f"{number}"] = [fail] * 9
        desk.submit(f"{number}", tenant="bad", needs=("policy_service", "policy t/p"))
    for number in range(5):
        desk.submit(f"good{number}", tenant="good", needs=("policy_service", "policy t/g"))
    answered = await desk.after(0.2)
    assert answered == {f"good{number}": ["completed"] for number in range(5)}
    await desk.after(10.0)
    assert len(desk.outcomes) == 305
    assert {desk.given_up[f"{number}"].attempts for number in range(300)} == {3}
    assert "policy_service_failed: 503" in desk.given_up["299"].message
    assert asked <= 20
    desk.performer.needed.clear()
    desk.submit("later", tenant="bad", needs=("policy_service", "policy t/p"))
    assert (await desk.after(6.0))["later"] == ["completed"]


async def test_what_hangs_takes_no_slot_and_leaves_room_for_others(open_desk):
    """Eight reads of a shard that does not answer must not keep another tenant waiting."""
    desk = open_desk(slots=2)
    hang = asyncio.Event().wait
    for number in range(200):
        desk.performer.needed[f"hung{number}"] = [hang] * 9
        desk.submit(f"hung{number}", tenant=f"t{number % 3}", needs=("shard 1",))
    await desk.after()
    for number in range(4):
        desk.submit(f"read{number}", tenant="t9", needs=("shard 2",))
        desk.submit(f"none{number}", tenant="t1")
    answered = await desk.after(0.2)
    assert len(answered) == 8
    assert len(desk.performer.prepared) <= AHEAD_OF_LANE + 8


async def test_a_limit_covers_preparing_and_performing(open_desk, clock):
    """A scenario of 20 s that waits 15 s for its history has 5 s left, and is not given 35."""
    policy = QueuePolicy(timeout_s=20.0, attempts=1)
    desk = open_desk(of=policy)
    desk.performer.needed["slow"] = [lambda: clock.sleep(15.0)]
    desk.performer.needed["late"] = [lambda: clock.sleep(25.0)]
    for event in ("slow", "late", "none"):
        desk.submit(event, queue="of", needs=("shard 1",) if event != "none" else ())
    answered = await desk.after(21.0)
    assert desk.performer.limits == {"slow": pytest.approx(5.0), "none": 20.0}
    assert answered["late"] == ["failed"]
    assert "dependency_late" in desk.given_up["late"].message
    assert "limit of 20 s" in desk.given_up["late"].message


async def test_what_hangs_is_asked_by_a_bounded_number_of_a_lane(open_desk):
    """A hundred tenants whose policies do not come hold as many requests in memory, and no more."""
    desk = open_desk(slots=2)
    for number in range(100):
        desk.performer.needed[f"{number}"] = [asyncio.Event().wait]
        desk.submit(f"{number}", tenant=f"t{number}", needs=("policy_service",))
    await desk.after(0.2)
    assert len(desk.performer.prepared) == AHEAD_OF_LANE


async def test_failures_of_a_need_and_of_the_work_itself_are_attempts_alike(open_desk):
    """A job whose process died and whose policy failed twice since had its three attempts."""
    desk = open_desk(
        twice=QueuePolicy(attempts=2), later=QueuePolicy(backoff="fixed", backoff_s=4.0)
    )
    policy = "policy t/p"
    failed = PolicyServiceFailed("503")
    failed.need = policy
    desk.performer.script["later"] = [ProcessDied("x")]
    desk.performer.needed["twice"] = [failed] * 9
    desk.submit("later", queue="later", needs=(policy,))
    await desk.after()
    desk.submit("twice", queue="twice", needs=(policy,))
    await desk.after(6.0)
    assert desk.given_up["twice"].attempts == 2
    assert desk.given_up["later"].attempts == 3
    assert desk.performer.prepared.count("later") == 1


async def test_many_that_are_given_up_leave_turns_of_the_loop_to_others(open_desk):
    """Each of them is a dead letter to make: a hundred thousand at once would stop heartbeats."""
    desk = open_desk(of=QueuePolicy(attempts=1))
    failed = PolicyServiceFailed("503")
    failed.need = "policy t/p"
    desk.performer.needed["first"] = [failed]
    for event in ("first", *map(str, range(300))):
        desk.submit(event, queue="of", needs=(failed.need,))
    done = []
    for _ in range(3000):
        await desk.clock.advance(0.001)
        done.append(len(desk.outcomes))
    assert done[-1] == 301
    assert max(after - before for before, after in pairwise(done)) <= 101


async def test_a_need_that_was_away_is_asked_again_within_a_second_or_so(open_desk):
    """Whoever waits for it waits no longer than that after it is back."""
    desk = open_desk()
    desk.performer.needed["a"] = [_away("shard 1")]
    desk.submit("a", needs=("shard 1",))
    await desk.after(0.7)
    assert desk.performer.prepared == ["a"]
    assert await desk.after(0.7) == {"a": ["completed"]}


async def test_a_need_that_nothing_asks_any_more_is_forgotten_after_ten_minutes(open_desk):
    """A policy's name is a need: requests bring new ones for ever."""
    desk = open_desk()
    desk.performer.needed["a"] = [_away("policy t/p")]
    work = desk.submit("a", needs=("policy t/p",))
    await desk.after()
    desk.dispatcher.cancel(work)
    await desk.after(590.0)
    assert list(desk.dispatcher.gates.shut) == ["policy t/p"]
    await desk.after(30.0)
    assert desk.dispatcher.gates.shut == {}


async def test_work_that_is_cancelled_while_it_is_prepared_gives_back_what_it_took(open_desk):
    """Its place in a queue with room for one, and its place among those that ask one shard."""
    desk = open_desk(slots=1, one=QueuePolicy(concurrency=1))
    for number in range(9):
        desk.performer.needed[f"{number}"] = [asyncio.Event().wait]
        work = desk.submit(f"{number}", queue="one", needs=("shard 1",))
        await desk.after()
        assert work.stage == "preparing"
        desk.dispatcher.cancel(work)
    desk.submit("next", queue="one", needs=("shard 1",))
    assert (await desk.after(1.0))["next"] == ["completed"]


async def test_how_long_work_waited_is_measured_once(open_desk):
    """From being read to first starting: a retry would count the pause as waiting for a slot."""
    desk = open_desk()
    desk.performer.script["a"] = [ProcessDied("x")]
    desk.submit("a")
    assert await desk.after(2.0) == {"a": ["completed"]}
    measured = desk.metrics.registry.get_sample_value(
        "dia_job_wait_seconds_count", {"lane": "normal"}
    )
    assert measured == 1


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


def _away(need):
    error = BreakerOpen("x")
    error.need = need
    return error


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
