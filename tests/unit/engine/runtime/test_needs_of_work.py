"""Dependencies of work: fetched without a slot, with bounded concurrency, and backed off while they
fail.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from streams.core.errors import PolicyServiceFailed, ProcessDied
from streams.engine.agents.queue_policy import QueuePolicy
from streams.engine.runtime.jobs.ahead import AHEAD_OF_LANE
from streams.engine.runtime.jobs.dispatcher import HOLD_S
from tests.unit.engine.runtime.dispatcher_desk import away


async def test_an_absent_dependency_delays_only_its_work_and_spends_no_attempt(
    open_desk,
):
    """A breaker that is open for 30 s must neither spend attempts nor hold other work."""
    desk = open_desk()
    desk.performer.needed["a"] = [away("shard 1")] * 10
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
    assert desk.performer.prepared.index("same0") > 10, (
        "one item at a time may ask for a failing dependency"
    )
    assert desk.dispatcher.gates.shut == {}


async def test_work_that_waits_for_a_failing_dependency_keeps_its_place(open_desk):
    """Work that was queued first keeps its place, even if later work met the failure earlier."""
    desk = open_desk(slots=1)
    desk.performer.needed["first"] = [away("shard 1")]
    desk.submit("first", needs=("shard 1",))
    await desk.after()
    for event in ("second", "third"):
        desk.submit(event, needs=("shard 1",))
    await desk.after(3.0)
    assert desk.performer.started == ["first", "second", "third"]


async def test_returning_work_does_not_block_the_work_it_waits_for(open_desk, clock):
    """Found by the simulation. In a queue with room for one, the first item failed and returned
    while the second was ready: each blocked the other.
    """
    desk = open_desk(slots=1, one=QueuePolicy(concurrency=1))
    desk.performer.needed["first"] = [away("shard 1")]
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


async def test_work_is_given_up_when_its_dependency_fails_for_good(open_desk):
    """A hundred thousand requests with one invalid policy must not be tried one by one."""
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


async def test_a_hanging_dependency_takes_no_slot_and_delays_no_other_work(open_desk):
    """Eight reads of a shard that does not answer must not delay another tenant."""
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
    """With a limit of 20 s, a scenario that waits 15 s for its history has 5 s left."""
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


async def test_requests_to_a_hanging_dependency_are_bounded_per_lane(open_desk):
    """The number of requests in memory that wait for absent policies is bounded, even for a hundred
    tenants.
    """
    desk = open_desk(slots=2)
    for number in range(100):
        desk.performer.needed[f"{number}"] = [asyncio.Event().wait]
        desk.submit(f"{number}", tenant=f"t{number}", needs=("policy_service",))
    await desk.after(0.2)
    assert len(desk.performer.prepared) == AHEAD_OF_LANE


async def test_failures_of_a_dependency_and_of_the_work_both_count_as_attempts(open_desk):
    """One death of the process and two failures of the policy are three attempts."""
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


async def test_giving_up_many_items_yields_to_the_event_loop(open_desk):
    """Each one needs a dead letter: a hundred thousand at once would block heartbeats."""
    desk = open_desk(of=QueuePolicy(attempts=1))
    failed = PolicyServiceFailed("503")
    failed.need = "policy t/p"
    desk.performer.needed["first"] = [failed]
    desk.submit("first", queue="of", needs=(failed.need,))
    await desk.after()
    for number in range(300):
        desk.submit(f"{number}", queue="of", needs=(failed.need,))
    waking = asyncio.ensure_future(desk.clock.advance(2.0))
    done = []
    while len(done) < 2000:
        await asyncio.sleep(0)
        done.append(len(desk.outcomes))
    await waking
    assert {found.attempts for found in desk.given_up.values()} == {1}
    assert done[-1] == 301
    assert max(after - before for before, after in pairwise(done)) <= 101


async def test_an_absent_dependency_is_tried_again_after_about_a_second(open_desk):
    """Work waits at most about 1 s after the dependency is back."""
    desk = open_desk()
    desk.performer.needed["a"] = [away("shard 1")]
    desk.submit("a", needs=("shard 1",))
    await desk.after(0.7)
    assert desk.performer.prepared == ["a"]
    assert await desk.after(0.7) == {"a": ["completed"]}


async def test_an_unused_dependency_is_forgotten_after_ten_minutes(open_desk):
    """Each policy name is a dependency, and requests bring new names without end."""
    desk = open_desk()
    desk.performer.needed["a"] = [away("policy t/p")]
    work = desk.submit("a", needs=("policy t/p",))
    await desk.after()
    desk.dispatcher.cancel(work)
    await desk.after(590.0)
    assert list(desk.dispatcher.gates.shut) == ["policy t/p"]
    await desk.after(30.0)
    assert desk.dispatcher.gates.shut == {}


async def test_work_cancelled_during_preparation_frees_its_places(open_desk):
    """It returns its place in a queue with room for one, and its place among the readers of a
    shard.
    """
    desk = open_desk(slots=1, one=QueuePolicy(concurrency=1))
    for number in range(9):
        desk.performer.needed[f"{number}"] = [asyncio.Event().wait]
        work = desk.submit(f"{number}", queue="one", needs=("shard 1",))
        await desk.after()
        assert work.stage == "preparing"
        desk.dispatcher.cancel(work)
    desk.submit("next", queue="one", needs=("shard 1",))
    assert (await desk.after(1.0))["next"] == ["completed"]
