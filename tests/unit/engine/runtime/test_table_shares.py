"""The bytes of an agent's table are shared between tenants: one that makes keys without end, or values that
grow, stops no other."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

from streams.core.clock import settle
from streams.core.topics.topic import TENANT_MAX_CHARS, tenant_of
from streams.engine.state.key_owners import KeyOwners
from streams.engine.streams.declared_table import DeclaredTable
from tests.unit.engine.runtime.stream_desk import StreamDesk

BYTES = 1 << 20
"""The least that a table may have."""
MANY = 300
"""more keys than half of it has room for, with keys of this length"""
KEY_LENGTH = 1200
NOTE_BYTES = 40_000
NOTES = 20
"""more than half of it has room for"""
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


def _key(name):
    return name.ljust(KEY_LENGTH)


def _adding(totals):
    async def body(stream):
        async for event in stream:
            totals[_key(event.metric)] += event.value

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
    assert desk.table(totals)[_key("v")] == 2.0
    assert desk.table(totals)[_key("h0")] == 2.0, "a key that is there takes no more room"
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
            if notes[_key(event.metric)] != "done":
                notes[_key(event.metric)] = "done"

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
            totals[_key(event.metric)] = 1.0
            totals.pop(_key(f"h{int(event.metric[1:]) - 100}"), None)

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
    assert desk.table(totals)[_key("v")] == 1.0
    assert (partition.failure, desk.table(totals).bytes_used < BYTES) == (None, True)


async def test_a_list_of_several_tenants_is_given_one_by_one_when_room_is_short(desk, totals):
    """Else the keys of a whole list would be those of its first event's tenant."""

    async def body(stream):
        async for events in stream.take(50, within=0):
            for event in events:
                totals[_key(event.metric)] += event.value

    partition = await desk.open(body, totals, max_table_bytes=BYTES)
    for n in range(2 * MANY):
        for tenant in ("hostile", "victim") if n % 100 == 0 else ("hostile",):
            event = desk.rig.event(tenant_id=tenant, metric=f"{tenant}{n}")
            await desk.rig.produce(event, key=tenant.encode())
    await desk.fold()
    await settle(TURNS)
    await desk.commit()
    kept = [key for key in desk.table(totals) if key.startswith("victim")]
    assert len(kept) == 2 * MANY // 100
    assert partition.failure is None


async def test_a_bad_record_in_a_list_makes_it_no_list_of_several_tenants(desk):
    """Its tenant filled half of a table without an owner, and then had a share of the rest."""
    notes = DeclaredTable("notes", keys="any")

    async def body(stream):
        async for events in stream.take(2, within=0):
            for event in events:
                notes[event.event_id] = "x" * NOTE_BYTES

    await desk.open(body, notes, max_table_bytes=BYTES)
    for _ in range(NOTES):
        events = [desk.rig.event(tenant_id="hostile") for _ in range(2)]
        await desk.rig.produce(events[0], b"{", events[1], key=b"hostile")
        await desk.fold()
        await settle(TURNS)
    assert 0 < len(desk.table(notes)) <= BYTES // 2 // NOTE_BYTES


def test_an_owner_is_one_short_text_for_all_its_keys():
    """Each event brings its tenant's name as a text of its own, of any length: one for each key stayed in
    memory, which no bound counted."""
    owners = KeyOwners("table", 1 << 20)
    for key in range(50):
        event = SimpleNamespace(tenant_id="n" * (TENANT_MAX_CHARS + 1000 * key))
        owners.take(owners.weigh(tenant_of(event), [(key, 0, 340)]))
    names = owners._owner.values()
    assert {len(name) for name in names} == {TENANT_MAX_CHARS}
    assert len({id(name) for name in names}) == 1
    for key in range(50):
        owners.take(owners.weigh("t", [(key, 340, 0)]))
    assert (owners._held, owners._held._names, owners._owner) == (Counter(), {}, {})


def _noting(notes):
    async def body(stream):
        async for event in stream:
            notes[event.tenant_id].append(event.metric * NOTE_BYTES)

    return body


@pytest.mark.parametrize("restart", [False, True])
async def test_a_list_that_grows_is_refused_and_stops_no_other_tenant(desk, restart):
    """One tenant appended to a key that it had: no key more, and the table filled until its partition stopped."""
    notes = DeclaredTable("notes", default=list, keys="any")
    partition = await desk.open(_noting(notes), notes, max_table_bytes=BYTES)
    await _sends(desk, "victim", "v")
    await _sends(desk, "hostile", *("h" for _ in range(NOTES)))
    if restart:
        await desk.commit()
        partition = await desk.reopen(_noting(notes), notes)
    await _sends(desk, "hostile", *("h" for _ in range(NOTES)))
    await _sends(desk, "victim", "v", "v")
    await desk.commit()
    kept = len(desk.table(notes)["hostile"])
    assert 0 < kept <= BYTES // 2 // NOTE_BYTES
    assert len(desk.table(notes)["victim"]) == 3
    assert [code for _, code, _ in desk.letters()] == ["over_quota"] * (2 * NOTES - kept)
    assert partition.failure is None
    assert desk.table(notes).bytes_used < BYTES


async def test_an_event_that_one_of_its_tables_refuses_is_in_none(desk, totals):
    """Else its replay would count twice in the other."""
    notes = DeclaredTable("notes", default=list, keys="any")

    async def body(stream):
        async for event in stream:
            totals[event.tenant_id] += 1
            notes[event.tenant_id].append("x" * NOTE_BYTES)

    await desk.open(body, totals, notes, max_table_bytes=BYTES)
    await _sends(desk, "hostile", *("h" for _ in range(NOTES)))
    await desk.commit()
    kept = len(desk.table(notes)["hostile"])
    assert desk.table(totals)["hostile"] == kept < NOTES
