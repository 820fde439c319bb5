"""Keys of an agent's table are shared between tenants: one that makes keys without end stops no other."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.clock import settle
from streams.core.records.bad_records import TenantOverQuota
from streams.core.topics.topic import TENANT_MAX_CHARS, tenant_of
from streams.engine.state.key_shares import KeyShares
from streams.engine.streams.declared_table import DeclaredTable
from tests.unit.engine.runtime.stream_desk import StreamDesk

BYTES = 1 << 20
"""The least that a table may have: some 3,100 small keys."""
MANY = 2500
TURNS = 40 * MANY
"""of the loop: each refusal ends a stream and begins one"""


@pytest.fixture
def totals():
    return DeclaredTable("totals", default=float, keys="any")


@pytest.fixture
async def desk(rig):
    made = StreamDesk(rig)
    yield made
    made.close()
    await settle()


def _adding(totals):
    async def body(stream):
        async for event in stream:
            totals[event.metric] += event.value

    return body


async def _sends(desk, tenant, *names):
    events = (desk.rig.event(tenant_id=tenant, metric=name) for name in names)
    await desk.rig.produce(*events, key=tenant.encode())
    await desk.fold()
    await settle(TURNS)


async def test_keys_without_end_are_refused_and_stop_no_other_tenant(desk, totals):
    """One tenant filled a table, which stopped the partition for all (F4)."""
    partition = await desk.open(_adding(totals), totals, max_table_bytes=BYTES)
    await _sends(desk, "hostile", *(f"h{n}" for n in range(MANY)))
    made = len(desk.table(totals))
    assert 0 < made < MANY
    await _sends(desk, "victim", "v", "v")
    await _sends(desk, "hostile", "h0", "one more")
    assert desk.table(totals)["v"] == 2.0
    assert desk.table(totals)["h0"] == 2.0, "a key that is there takes no more room"
    await desk.commit()
    refused = [code for _, code, _ in desk.letters()]
    assert refused == ["over_quota"] * (MANY - made + 1)
    assert partition.failure is None
    assert desk.table(totals).bytes_used < BYTES


async def test_a_key_that_is_read_before_it_is_set_counts_too(desk):
    """A read of an absent key stages its default: a scalar set after it was no new key, and the table filled."""
    notes = DeclaredTable("notes", default=dict, keys="any")

    async def body(stream):
        async for event in stream:
            if notes[event.metric] != "done":
                notes[event.metric] = "done"

    partition = await desk.open(body, notes, max_table_bytes=BYTES)
    await _sends(desk, "hostile", *(f"h{n}" for n in range(MANY)))
    made = len(desk.table(notes))
    await desk.commit()
    assert [code for _, code, _ in desk.letters()] == ["over_quota"] * (MANY - made)
    assert (partition.failure, 0 < made < MANY) == (None, True)


async def test_what_is_deleted_makes_room_for_its_tenant(desk, totals):
    """A tenant that cleans up after itself works on for ever."""

    async def body(stream):
        async for event in stream:
            totals[event.metric] = 1.0
            totals.pop(f"h{int(event.metric[1:]) - 100}", None)

    await desk.open(body, totals, max_table_bytes=BYTES)
    await _sends(desk, "t", *(f"h{n}" for n in range(MANY)))
    assert len(desk.table(totals)) == 100
    await desk.commit()
    assert desk.letters() == []


async def test_after_a_restart_the_next_tenant_finds_room(desk, totals):
    """Who made the keys that are there is not known any more; they are nobody's."""
    await desk.open(_adding(totals), totals, max_table_bytes=BYTES)
    await _sends(desk, "hostile", *(f"h{n}" for n in range(MANY)))
    await desk.commit()
    partition = await desk.reopen(_adding(totals), totals)
    await _sends(desk, "hostile", *(f"g{n}" for n in range(MANY)))
    await _sends(desk, "victim", "v")
    assert desk.table(totals)["v"] == 1.0
    assert (partition.failure, desk.table(totals).bytes_used < BYTES) == (None, True)


async def test_a_list_of_several_tenants_is_given_one_by_one_when_room_is_short(desk, totals):
    """Else the keys of a whole list would be those of its first event's tenant."""

    async def body(stream):
        async for events in stream.take(50, within=0):
            for event in events:
                totals[event.metric] += event.value

    partition = await desk.open(body, totals, max_table_bytes=BYTES)
    for n in range(MANY):
        for tenant in ("hostile", "victim") if n % 100 == 0 else ("hostile",):
            event = desk.rig.event(tenant_id=tenant, metric=f"{tenant}{n}")
            await desk.rig.produce(event, key=tenant.encode())
    await desk.fold()
    await settle(TURNS)
    await desk.commit()
    kept = [key for key in desk.table(totals) if key.startswith("victim")]
    assert len(kept) == MANY // 100
    assert partition.failure is None


def test_an_owner_is_one_short_text_for_all_its_keys():
    """Each event brings its tenant's name as a text of its own, of any length: one for each key stayed in
    memory, which no bound counted."""
    shares = KeyShares()
    for key in range(50):
        event = SimpleNamespace(tenant_id="n" * (TENANT_MAX_CHARS + 1000 * key))
        shares.take(tenant_of(event), [key])
    owners = shares._owner.values()
    assert {len(owner) for owner in owners} == {TENANT_MAX_CHARS}
    assert len({id(owner) for owner in owners}) == 1
    for key in range(50):
        shares.give_back(key)
    assert (shares._held, shares._held._names) == (Counter(), {})


async def test_events_that_name_no_tenant_are_refused_nothing():
    """An app without tenants stops at the bound, where nothing is lost."""
    shares = KeyShares()
    shares.check("totals", "", 10, alive=95, bound=100)
    with pytest.raises(TenantOverQuota):
        shares.check("totals", "t", 10, alive=95, bound=100)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 40)), max_size=60))
def test_no_order_of_making_keys_reaches_the_bound(steps):
    """So a table of tenants never stops its partition by the number of its keys."""
    shares, keys, bound = KeyShares(), [], 200
    for tenant, count in steps:
        made = [(tenant, len(keys) + n) for n in range(count)]
        try:
            shares.check("totals", tenant, count, len(keys), bound)
        except TenantOverQuota:
            continue
        shares.take(tenant, made)
        keys += made
        assert len(keys) < bound
        held = sum(owner == tenant for owner, _ in keys)
        assert held <= bound - len(keys) + 1
    for key in keys:
        shares.give_back(key)
    shares.check("totals", "a", bound // 2, 0, bound)
