"""Submitted plans, run by a worker's replay agent, on every broker."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.errors import UsageError
from streams.core.settings import Settings
from streams.core.types import TopicPartition
from streams.operate.replay.agent.agent import ReplayAgent
from streams.operate.replay.journal.control import find_plan, tell
from streams.operate.replay.run.run import submit

PATIENCE_S = 200.0
SETTINGS = Settings(session_timeout_s=6.0, fetch_timeout_s=0.05)


@asynccontextmanager
async def agent(lot):
    """A running agent; it is stopped after the test."""
    made = ReplayAgent(lot.broker, lot.shards, lot.clock, SETTINGS, "tested", lot.topology)
    joined = asyncio.Event()
    running = asyncio.create_task(made.run(joined.set))
    await asyncio.wait_for(joined.wait(), PATIENCE_S)
    yield running
    made.stop()
    await asyncio.gather(running, return_exceptions=True)


async def states(lot, plan, *wanted):
    """Wait until the plan has one of the states in every partition; return its statuses."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            # A commit returns once it is decided; its markers reach the journal a moment later.
            with suppress(UsageError):
                _, found = await find_plan(lot.broker, plan, [lot.source])
                if {standing.state for standing in found.values()} <= set(wanted):
                    return found
            await asyncio.sleep(0.05)


@pytest.mark.on_kafka
async def test_a_submitted_plan_runs_in_the_name_of_its_submitter(lot):
    """The audit trail names the person or the policy that submitted the plan."""
    await lot.bury(*[lot.event(n) for n in range(5)])
    await lot.bury(lot.event(9), key=b"t")
    draft = await lot.plan()
    async with agent(lot):
        await submit(lot.means(), draft.plan)
        found = await states(lot, draft.plan.id, "finished")
        shown = await lot.until_shown(6)
    assert sum(standing.replayed for standing in found.values()) == 6
    assert len(await lot.read(lot.source.name, 6)) == 6
    assert {row[0::2] for row in shown.values()} == {("replayed", "bob")}


async def test_plans_submitted_in_sequence_run_in_turn(lot):
    """One plan runs at a time; the next one begins after the end of the first."""
    async with agent(lot):
        for number in range(2):
            await lot.bury(lot.event(number))
            draft = await lot.plan()
            await submit(lot.means(), draft.plan)
            await states(lot, draft.plan.id, "finished")
    assert len(await lot.read(lot.source.name, 2)) == 2


@pytest.mark.on_kafka
async def test_a_paused_plan_is_resumed_by_another_agent_after_the_first_died(lot):
    """The plan's state is in the journal, so any agent can resume it."""
    await lot.bury(*[lot.event(n) for n in range(3)])
    draft = await lot.plan()
    await submit(lot.means(), draft.plan)
    source, found = await find_plan(lot.broker, draft.plan.id, [lot.source])
    found = await tell(lot.broker, lot.clock, lot.topology, source, found, "pause", "cat")
    async with agent(lot):
        await asyncio.sleep(0)
    await tell(lot.broker, lot.clock, lot.topology, source, found, "resume", "dan")
    async with agent(lot):
        await states(lot, draft.plan.id, "finished")
    assert len(await lot.read(lot.source.name, 3)) == 3


async def test_an_invalid_plan_is_stopped_with_the_reason(lot):
    """Otherwise it would block its topic, and no operator would know why."""
    await lot.bury(lot.event(1))
    draft = await lot.plan()
    await submit(lot.means(), draft.plan)
    admin = await lot.broker.admin()
    await admin.delete_topics([lot.source.parked])
    await admin.close()
    async with agent(lot):
        found = await states(lot, draft.plan.id, "stopped")
    (standing,) = found.values()
    assert "does not exist on this cluster" in standing.reason
    assert replace(standing).replayed == 0


@pytest.mark.parametrize("how", ["damaged", "trimmed"])
async def test_an_unreadable_journal_stops_only_its_own_partition(lot, how):
    """Replays of that partition stop; the agent goes on with those of other topics."""
    if not isinstance(lot.broker, MemoryBroker):
        pytest.skip("a real broker's log cannot be damaged by a test")
    await lot.bury(lot.event(1))
    [there] = await lot.letters()
    await lot.run((await lot.plan()).plan)
    await lot.bury(lot.event(2, tenant="b"), key=b"b")
    draft = await lot.plan()
    [chosen] = draft.plan.selections
    assert chosen.partition != there.dlq.partition
    await submit(lot.means(), draft.plan)
    journal = lot.broker.log(TopicPartition(lot.source.journal, there.dlq.partition))
    if how == "damaged":
        journal.spoil(0, 1)
    else:
        journal.trim(1)
    async with agent(lot) as running:
        assert len(await lot.read(lot.source.name, 2)) == 2
        assert not running.done()
