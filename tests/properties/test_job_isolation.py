"""Two tenants' simulations share a partition; one tenant is hostile: the other's answers are the
same as alone."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.clock import settle
from tests.unit.engine.runtime.job_desk import DLQ, SETTINGS, SOURCE, Desk, Hand

HONEST, HOSTILE = "honest", "hostile"
TIGHT = replace(
    SETTINGS,
    max_ahead=100_000,
    max_ahead_bytes=4000,
    max_waiting=24,
    max_outcome_bytes=40_000,
    poison_min_records=30,
    poison_min_tenants=2,
)
JOB_S = 0.3

honest_step = st.tuples(st.integers(0, 5), st.sampled_from([1, 1, 1, 2]), st.sampled_from([1, 9]))
"""Key, trials (another number is a conflict), priority."""
hostile_step = st.tuples(
    st.sampled_from(["many", "same", "conflicts", "cancels", "large", "echo", "bad"]),
    st.integers(1, 30),
)
plans = st.lists(
    st.tuples(st.lists(honest_step, max_size=2), st.lists(hostile_step, max_size=2)),
    min_size=1,
    max_size=8,
)


class Timed(Hand):
    """Every job takes time; hostile ones have large summaries."""

    slots = 2

    def __init__(self, clock) -> None:
        super().__init__()
        self._clock = clock

    async def perform(self, event, prepared, timeout_s):
        await self._clock.sleep(JOB_S)
        size = 1500 if event.tenant_id == HOSTILE else 10
        return {"of": event.trials, "text": "x" * size}


def _attack(kind, count, number):
    """The requests of one hostile step, as fields."""
    for n in range(count):
        fields = {"tenant_id": HOSTILE, "key": f"{kind}{number}-{n}", "priority": 9}
        if kind in ("same", "conflicts"):
            fields |= {"key": kind, "trials": n + 1 if kind == "conflicts" else 1}
        elif kind == "cancels":
            target = f"k{n % 6}" if n % 2 else f"many{number - 1}-{n}"
            fields |= {"scenario": "cancel", "parameters": {"idempotency_key": target}}
        elif kind == "large":
            fields |= {"parameters": {"text": "y" * 3000}}
        elif kind == "echo":
            fields |= {"key": f"k{n % 6}"}
        elif kind == "bad":
            fields |= {"trials": -1}
        yield fields


async def _answers(plan, *, hostile: bool):
    desk = Desk(TIGHT)
    desk.hand = Timed(desk.clock)
    await desk.create_topics()
    await desk.open()
    names = {}
    for number, (honest, attack) in enumerate(plan):
        for kind, count in attack if hostile else ():
            for fields in _attack(kind, count, number):
                await desk.ask(fields.pop("key"), **fields)
        for index, (key, trials, priority) in enumerate(honest):
            asked = await desk.ask(f"k{key}", tenant_id=HONEST, trials=trials, priority=priority)
            names[asked] = number, index
        await _work(desk, 3)
    for _ in range(400):
        await _work(desk, 1)
        if desk.committed() == desk.broker.log(SOURCE).high_watermark:
            break
    assert desk.partition.failure is None
    found = {
        names[request_id]: (answer["status"], answer["summary"], answer["error"])
        for request_id, answer in desk.results().items()
        if request_id in names
    }
    log = desk.broker.log(DLQ).read_committed(0, 1 << 20)
    letters = [
        names[json.loads(value)["request_id"]]
        for key, value in zip(log.keys, log.values, strict=True)
        if key == HONEST.encode()
    ]
    await desk.close()
    assert len(found) + len(letters) == len(names)
    return found, sorted(letters)


async def _work(desk, steps):
    """Read the available records, let time pass, commit the finished ones."""
    for _ in range(steps):
        await desk.read()
        await desk.clock.advance(JOB_S)
        await settle()
        if desk.partition.has_changes():
            await desk.commit()


@settings(max_examples=25)
@given(plans)
def test_a_hostile_tenant_changes_no_answer_of_another(plan):
    """It floods, repeats, sends conflicts, cancels the other's keys and has large summaries."""
    together = asyncio.run(_answers(plan, hostile=True))
    assert together == asyncio.run(_answers(plan, hostile=False))
