"""An operator sheds old records while `on_window_close` runs for a held window. Random histories rarely
bring the two together, so this one does."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS, TRAIN_RESULTS
from streams.connect.broker.partitioner import partition_of
from streams.core.topics.current_stream import current
from streams.core.types import TopicPartition
from streams.dev.simulation.inputs.stream_events import STREAM
from streams.dev.simulation.loop import Spinning
from streams.dev.simulation.operators.sheds import shed_ranges
from streams.dev.simulation.variant import replaced
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.runtime.partition.window_closing import WindowClosing
from streams.engine.streams.declared_table import DeclaredTable
from streams.engine.streams.windowed_table import WindowedDeclaration, windows_of
from streams.operate.shed.shed_admin import give_orders, plan
from tests.unit.engine.runtime.running_world import HERE, history, send

WINDOW_S = 10
TIMEOUT_S = 30.0
PATIENCE_S = 3000
"""A tenant over its share has a tenth of the time: each of its calls takes 290 s of waiting."""
HOSTILE, VICTIM = [t for t in map("t{}".format, range(99)) if partition_of(t.encode(), 2) == 0][:2]


class Counting:
    """Calls for the hostile tenant take nearly all that they may; the second one raises at once."""

    def __init__(self):
        self.began = []
        """starts of the hostile tenant's windows, by call"""
        self.windows = WindowedDeclaration(
            DeclaredTable("windows", default=int),
            windows_of("windows", WINDOW_S, WINDOW_S, WINDOW_S),
            self.close,
        )

    async def body(self, stream):
        async for event in stream.events():
            self.windows.at(event)[event.value.tenant_id] += 1

    async def close(self, key, count):
        tenant, (start_s, _) = key
        stream = current.get()
        if tenant == HOSTILE:
            self.began.append(start_s)
            if len(self.began) == 2:
                raise ZeroDivisionError
            await asyncio.sleep(TIMEOUT_S - 1)
        value = json.dumps([tenant, start_s, count]).encode()
        stream.send(TRAIN_RESULTS, tenant, value, partition=stream.partition)


async def until(condition):
    for _ in range(PATIENCE_S):
        if condition():
            return
        await asyncio.sleep(1.0)
    raise AssertionError("the history does not come so far")


def shed_during_the_call_for_a_held_window():
    counting = Counting()

    async def story(world, process):
        for _ in range(5):
            for tenant in (HOSTILE, VICTIM):
                await send(world, HERE, 1, tenant)
            await asyncio.sleep(WINDOW_S)
        await until(lambda: counting.began[2:] and counting.began[-1] == counting.began[1])
        await send(world, HERE, 3, VICTIM)
        plans = await plan(world.broker, DIA_GROUP, [HERE], world.clock.now_ms() + 1)
        await give_orders(world.broker, world.clock, plans, "order", "eve", "too old")
        await until(lambda: shed_ranges(world)[0])
        await send(world, HERE, 1, VICTIM)
        await until(lambda: process.worker.settled)
        # One call failed, the order cancelled one, one succeeded.
        assert counting.began.count(counting.began[1]) == 3

    agent = StreamAgent(
        name="stream", source=MODEL_METRICS, group=DIA_GROUP, body=counting.body,
        declared=(counting.windows,),
    )  # fmt: skip
    settings = replace(STREAM.settings, window_close_timeout_s=TIMEOUT_S, agent_timeout_s=600.0)
    world = history(story, [agent], settings)
    log = world.broker.log(TopicPartition(TRAIN_RESULTS.name, 0))
    return [json.loads(value)[:2] for value in log.readable().values if value]


def test_each_window_closes_once_although_a_call_was_cancelled():
    """The tenant had used its share of the time when the order came. Its held window stays held until then."""
    closed = shed_during_the_call_for_a_held_window()
    assert len({tuple(one) for one in closed}) == len(closed)
    assert {tenant for tenant, _ in closed} == {HOSTILE, VICTIM}


async def _due_after_a_cancelled_call(self: WindowClosing, stream):
    """A held window is due again after its cancelled call, and stays due while its owner's windows rest."""
    window = self._next()
    table, entry = self._windowed[window.table][0], (window.key, window.start_ms)
    owner = table.owner(entry) or self.unowned
    if window in self.held and entry in table._kept and self._over(owner):
        self.held.rests(owner, window)
        return
    try:
        await _close_next(self, stream)
    except asyncio.CancelledError:
        if window in self.held:
            table.bring_back(entry)
        raise


_close_next = WindowClosing.close_next


def test_a_window_that_stays_due_while_it_may_not_be_called_is_caught():
    """The partition then looks at nothing else. Planted, to prove that the simulation sees a task that spins."""
    with (
        replaced(WindowClosing, close_next=_due_after_a_cancelled_call)(),
        pytest.raises(Spinning),
    ):
        shed_during_the_call_for_a_held_window()
