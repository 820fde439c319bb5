"""Events of one tenant on which an agent waits take a bounded share of its time from other tenants."""

from __future__ import annotations

from collections import Counter

import pytest

from streams.core.clock import settle
from streams.engine.streams.declared_table import DeclaredTable

TIMEOUT_S = 60.0
WAIT_S = 29.0
BURST_S = 0.2 * TIMEOUT_S
SHARE = 0.5


@pytest.fixture
def totals():
    return DeclaredTable("totals", default=int)


class Calls:
    """What an agent awaits for each tenant: seconds, or an exception after them."""

    def __init__(self, clock, totals, **waits_s):
        self.clock = clock
        self.totals = totals
        self.waits_s = waits_s
        self.begun = Counter()
        self.spent_s = Counter()
        self.done_at_s = {}

    async def body(self, stream):
        async for event in stream:
            await self.one(event)

    async def in_lists(self, stream):
        async for events in stream.take(50, within=0.1):
            for event in events:
                await self.one(event)

    async def one(self, event):
        tenant = event.tenant_id
        self.begun[tenant] += 1
        self.totals[tenant] += 1
        wait = self.waits_s.get(tenant, 0.0)
        began_s = self.clock.monotonic()
        try:
            if isinstance(wait, Exception):
                raise wait
            if wait:
                await self.clock.sleep(wait)
        finally:
            self.spent_s[tenant] += self.clock.monotonic() - began_s
        self.done_at_s[tenant] = self.clock.monotonic()


async def _events(desk, *tenants):
    for tenant in tenants:
        await desk.rig.produce(desk.rig.event(tenant_id=tenant), key=tenant.encode())
    await desk.fold()


async def _pass(desk, seconds, step_s=1.0):
    for _ in range(int(seconds / step_s)):
        await desk.rig.clock.advance(step_s)
        await settle(50)


@pytest.mark.parametrize("body", ["body", "in_lists"])
async def test_events_that_wait_take_a_share_of_the_time_and_no_more(desk, totals, body):
    """They took all of it: each event of the others waited behind 30 s of every one of them."""
    calls = Calls(desk.rig.clock, totals, hostile=WAIT_S)
    await desk.open(getattr(calls, body), totals, agent_timeout_s=TIMEOUT_S)
    await _events(desk, "victim", *["hostile"] * 40, "victim")
    await _pass(desk, 200)
    await desk.commit()
    assert desk.table(totals)["victim"] == 2
    assert calls.spent_s["hostile"] <= BURST_S + SHARE * 200 + WAIT_S
    codes = Counter(code for _, code, _ in desk.letters())
    assert set(codes) == {"over_quota"}
    assert codes["over_quota"] + desk.table(totals)["hostile"] == 40


async def test_events_whose_call_fails_after_retries_count_too(desk, totals):
    """An event that fails takes 7 s of pauses."""
    calls = Calls(desk.rig.clock, totals, hostile=ConnectionError("away"))
    await desk.open(calls.body, totals)
    await _events(desk, "victim", *["hostile"] * 40, "victim")
    await _pass(desk, 160)
    await desk.commit()
    assert desk.table(totals)["victim"] == 2
    assert {code for _, code, _ in desk.letters()} == {"over_quota", "retries_exhausted"}


async def test_a_tenant_that_makes_no_other_wait_is_refused_nothing(desk, totals):
    """A slow service is no fault as long as it delays its own tenant alone."""
    calls = Calls(desk.rig.clock, totals, slow=WAIT_S)
    await desk.open(calls.body, totals, agent_timeout_s=TIMEOUT_S)
    await _events(desk, "other", *["slow"] * 10)
    await _pass(desk, 300)
    await desk.commit()
    assert desk.table(totals)["slow"] == 10
    assert desk.letters() == []


async def test_a_service_that_is_slow_for_all_tenants_refuses_none(desk, totals):
    """A dead letter for every second event would be worse than a lag."""
    calls = Calls(desk.rig.clock, totals, big=5.0, small=5.0)
    await desk.open(calls.body, totals)
    await _events(desk, "small", *["big"] * 40, "small")
    await _pass(desk, 250)
    await desk.commit()
    assert (desk.table(totals)["big"], desk.table(totals)["small"]) == (40, 2)
    assert desk.letters() == []


async def test_a_tenant_is_taken_again_once_its_excess_has_drained(desk, totals):
    """Its service is well again: nothing else has to be done."""
    calls = Calls(desk.rig.clock, totals, hostile=WAIT_S)
    await desk.open(calls.body, totals, agent_timeout_s=TIMEOUT_S)
    await _events(desk, "victim", *["hostile"] * 4, "victim")
    await _pass(desk, 100)
    calls.waits_s.clear()
    await _pass(desk, 120)
    refused = len(desk.letters())
    before = desk.table(totals)["hostile"]
    await _events(desk, *["hostile"] * 5, "victim")
    await desk.commit()
    assert desk.table(totals)["hostile"] == before + 5
    assert len(desk.letters()) <= refused + 4


@pytest.mark.parametrize("committed", [False, True])
async def test_each_event_is_counted_or_refused_once_over_a_restart(desk, totals, committed):
    """What a former process knew of waits is forgotten, and what it refused is not."""
    calls = Calls(desk.rig.clock, totals, hostile=WAIT_S)
    await desk.open(calls.body, totals, agent_timeout_s=TIMEOUT_S)
    await _events(desk, "victim", *["hostile"] * 8, "victim")
    await _pass(desk, 130)
    if committed:
        await desk.commit()
    await desk.reopen(calls.body, totals)
    await desk.fold()
    await _pass(desk, 400)
    if desk.partition.has_changes():
        await desk.commit()
    counted, letters = desk.table(totals), [offset for offset, _, _ in desk.letters()]
    assert counted["victim"] == 2
    assert len(letters) == len(set(letters)) == 8 - counted["hostile"]


async def test_the_bound_can_be_switched_off(desk, totals):
    """Where all tenants are one team, no event is refused for its waits."""
    calls = Calls(desk.rig.clock, totals, slow=WAIT_S)
    await desk.open(calls.body, totals, agent_timeout_s=TIMEOUT_S, agent_wait_share=1.0)
    await _events(desk, "other", *["slow"] * 6, "other")
    await _pass(desk, 200)
    await desk.commit()
    assert desk.table(totals)["slow"] == 6
    assert desk.letters() == []


async def test_an_event_that_does_not_wait_charges_none(desk, totals):
    """Time of the loop between two events is not the tenant's."""
    calls = Calls(desk.rig.clock, totals)
    await desk.open(calls.body, totals)
    for _ in range(5):
        await _events(desk, "a", "b", "a")
        await _pass(desk, 100, step_s=50)
    assert not desk.partition.waits.shares.strained
    assert desk.partition.waits.since_s is None
    assert desk.table(totals)["a"] == 10
