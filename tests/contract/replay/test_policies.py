"""Automatic replay policies, executed by the replay agent, on every broker."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from streams.core.errors import UsageError
from streams.core.settings import Settings
from streams.operate.replay.agent.agent import ReplayAgent
from streams.operate.replay.agent.automation import Automation
from streams.operate.replay.agent.policies import ReplayPolicy
from streams.operate.replay.journal.control import find_plan, journals, plan_in, tell
from streams.operate.replay.journal.renewal import renew
from streams.operate.replay.run.run import submit

PATIENCE_S = 200.0
SETTINGS = Settings(session_timeout_s=6.0, fetch_timeout_s=0.05)
AWAY = "retries_exhausted"


def policy(lot, **fields):
    """A policy for dead letters with the code of an unavailable service."""
    return ReplayPolicy(
        **{"name": "back", "topic": lot.source.name, "errors": (AWAY,), "hops_max": 2, **fields}
    )


def automation(lot, *policies, answers=None):
    return Automation(policies, [lot.source], lot.means(), answers or {})


@asynccontextmanager
async def agent(lot, *policies):
    """A running agent that executes the policies."""
    made = ReplayAgent(
        lot.broker, lot.shards, lot.clock, SETTINGS, "tested", lot.topology, policies
    )
    joined = asyncio.Event()
    running = asyncio.create_task(made.run(joined.set))
    await asyncio.wait_for(joined.wait(), PATIENCE_S)
    yield
    made.stop()
    await asyncio.gather(running, return_exceptions=True)


async def finished(lot, plans=1):
    """Wait for ``count`` plans and for the end of each; return their statuses."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            [known] = (await journals(lot.broker, [lot.source])).values()
            found = [plan for journal in known for plan in journal.plans.values()]
            if plans in (None, len(found)) and {plan.state for plan in found} == {"finished"}:
                return found
            await asyncio.sleep(0.05)


async def entered(lot, plan):
    """Wait until a submitted plan is in the journal; return the answer of `find_plan`."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            # A commit returns once it is decided; its markers reach the journal a moment later.
            with suppress(UsageError):
                return await find_plan(lot.broker, plan, [lot.source])
            await asyncio.sleep(0.01)


async def test_matching_letters_are_replayed_once_in_the_policys_name(lot):
    """Letters of transient failures are replayed without an operator; the others wait for one."""
    await lot.bury(lot.event(1), lot.event(2), code=AWAY)
    await lot.bury(lot.event(3))
    async with agent(lot, policy(lot)):
        [plan] = await finished(lot)
        shown = await lot.until_shown(2)
    assert (plan.replayed, plan.actor, plan.rate) == (2, "policy back", 50.0)
    assert list(shown.values()) == [("replayed", 2, "policy back")] * 2
    values = [value for _, _, value, _ in await lot.read(lot.source.name, 2)]
    assert values == [lot.event(1), lot.event(2)]
    assert await automation(lot, policy(lot)).look(policy(lot), lot.source) is None


async def test_letters_beyond_the_hop_limit_are_parked(lot):
    """A policy must not replay a failing record for ever."""
    once, twice = [("dia.replay.hops", b"1")], [("dia.replay.hops", b"2")]
    await lot.bury(lot.event(1), code=AWAY, headers=once)
    await lot.bury(lot.event(2), code=AWAY, headers=twice)
    plan = await automation(lot, policy(lot)).look(policy(lot), lot.source)
    _, found = await entered(lot, plan)
    result = await lot.run(plan_in(found))
    assert (result.replayed, result.parked) == (1, 1)
    ((_, _, _, headers),) = await lot.read(lot.source.name, 1)
    assert headers["dia.replay.hops"] == b"2"


@pytest.mark.parametrize("ahead_ms", [0, 1 << 50], ids=["", "by a clock ahead"])
async def test_a_policy_waits_for_a_quiet_period_and_for_its_dependency(lot, ahead_ms):
    """A replay during the outage would fail again and use up hops. A clock that was ahead must not
    defer it for as long."""
    await lot.bury(lot.event(1), code=AWAY, ahead_ms=ahead_ms)
    here: list[bool] = [False]

    async def answers():
        return here[0]

    waiting = policy(lot, after="policy_service", quiet_s=0.0)
    follower = automation(lot, waiting, answers={"policy_service": answers})
    assert await follower.look(waiting, lot.source) is None
    assert await follower.look(policy(lot, quiet_s=1e12), lot.source) is None
    here[0] = True
    plan = await follower.look(waiting, lot.source)
    assert plan is not None
    _, found = await entered(lot, plan)
    assert {standing.state for standing in found.values()} == {"entered"}


async def test_a_policy_waits_for_a_running_plan_and_submits_its_own_afterwards(lot):
    """An operator's plan has priority and is not interrupted."""
    await lot.bury(lot.event(1))
    await lot.bury(lot.event(2), code=AWAY)
    theirs, follower = await lot.plan(), automation(lot, policy(lot))
    await submit(lot.means(), theirs.plan)
    source, found = await entered(lot, theirs.plan.id)
    assert await follower.look(policy(lot), lot.source) is None
    await tell(lot.broker, lot.clock, lot.topology, source, found, "cancel", "ann")
    assert await follower.look(policy(lot), lot.source) is not None


async def test_a_policy_does_not_repeat_a_cancelled_plan_even_after_a_restart(lot):
    """The policy must respect the operator's decision."""
    await lot.bury(lot.event(1), code=AWAY)
    plan = await automation(lot, policy(lot)).look(policy(lot), lot.source)
    source, found = await entered(lot, plan)
    await tell(lot.broker, lot.clock, lot.topology, source, found, "cancel", "ann")
    assert await automation(lot, policy(lot)).look(policy(lot), lot.source) is None
    await lot.bury(lot.event(2), code=AWAY)
    again = await automation(lot, policy(lot)).look(policy(lot), lot.source)
    _, found = await entered(lot, again)
    assert [standing.letters for standing in found.values()] == [1]


@pytest.mark.on_kafka
async def test_two_agents_that_both_believe_to_lead_replay_nothing_twice(lot):
    """After a pause of its host, an agent may not know yet that another one was elected."""
    await lot.bury(*[lot.event(n) for n in range(4)], code=AWAY)
    followers = [automation(lot, policy(lot)) for _ in range(2)]
    await asyncio.gather(
        *(one.look(policy(lot), lot.source) for one in followers), return_exceptions=True
    )
    async with agent(lot, policy(lot)):
        await lot.read(lot.source.name, 4)
        found = await finished(lot, None)
    assert sum(plan.replayed for plan in found) == 4
    values = sorted(value for _, _, value, _ in await lot.read(lot.source.name))
    assert values == [lot.event(n) for n in range(4)]


@pytest.mark.on_kafka
async def test_a_policy_starts_again_in_a_recreated_queue(lot):
    """Plan ends and scan positions are offsets of the deleted queue: kept, they would make the
    policy skip new letters."""
    await lot.bury(*[lot.event(n) for n in range(5)], code=AWAY)
    follower = automation(lot, policy(lot))
    plan = await follower.look(policy(lot), lot.source)
    _, found = await entered(lot, plan)
    assert (await lot.run(plan_in(found))).replayed == 5
    assert await follower.look(policy(lot), lot.source) is None
    await lot.recreate_dlq()
    await lot.bury(lot.event(9), code=AWAY)
    await renew(lot.broker, lot.clock, lot.topology, lot.source, "ann", "purged")
    for looks in (follower, automation(lot, policy(lot))):
        plan = await looks.look(policy(lot), lot.source)
        assert plan is not None
        source, found = await entered(lot, plan)
        await tell(lot.broker, lot.clock, lot.topology, source, found, "cancel", "ann")
        await lot.recreate_dlq()
        await lot.bury(lot.event(10), code=AWAY)
        await renew(lot.broker, lot.clock, lot.topology, lot.source, "ann", "purged again")


async def test_a_queue_that_became_shorter_is_scanned_from_its_start(lot):
    """No letter of it was decided, so its journal is empty and needs no renewal."""
    await lot.bury(*[lot.event(n) for n in range(5)])
    follower = automation(lot, policy(lot))
    assert await follower.look(policy(lot), lot.source) is None
    await lot.recreate_dlq()
    await lot.bury(lot.event(9), code=AWAY)
    looks = [await follower.look(policy(lot), lot.source) for _ in range(2)]
    assert [plan is not None for plan in looks] == [False, True]
