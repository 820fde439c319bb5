"""The bytes of an agent's table are shared between tenants: one tenant's keys or growing values do
not stop the others.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

from streams.core.clock import settle
from streams.core.topics.topic import TENANT_MAX_CHARS, tenant_of
from streams.engine.runtime.partition import stream_partition
from streams.engine.state.key_owners import KeyOwners
from streams.engine.streams.declared_table import DeclaredTable

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


async def test_keys_beyond_a_share_are_refused_and_stop_no_other_tenant(desk, totals):
    """One tenant must not fill a table and stop its partition for all tenants."""
    partition = await desk.open(_adding(totals), totals, max_table_bytes=BYTES)
    await _sends(desk, "hostile", *(f"h{n}" for n in range(MANY)))
    made = len(desk.table(totals))
    assert 0 < made < MANY
    await _sends(desk, "victim", "v", "v")
    await _sends(desk, "hostile", "h0", "one more")
    assert desk.table(totals)[_key("v")] == 2.0
    assert desk.table(totals)[_key("h0")] == 2.0, "a write to an existing key was refused"
    await desk.commit()
    refused = [code for _, code, _ in desk.letters()]
    assert refused == ["over_quota"] * (MANY - made + 1)
    assert partition.failure is None
    assert desk.table(totals).bytes_used < BYTES


async def test_a_key_that_is_read_before_it_is_set_counts_too(desk):
    """A read of an absent key stages its default: a scalar that is set afterwards must count as a
    new key.
    """
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


async def test_a_deleted_key_makes_room_for_its_tenant(desk, totals):
    """A tenant that deletes its old keys can work without end."""

    async def body(stream):
        async for event in stream:
            totals[_key(event.metric)] = 1.0
            totals.pop(_key(f"h{int(event.metric[1:]) - 100}"), None)

    await desk.open(body, totals, max_table_bytes=BYTES)
    await _sends(desk, "t", *(f"h{n}" for n in range(MANY)))
    assert len(desk.table(totals)) == 100
    await desk.commit()
    assert desk.letters() == []


async def test_after_a_restart_each_tenant_has_the_share_that_it_had(desk, totals):
    """A tenant whose keys a restart found had room for as many again."""
    await desk.open(_adding(totals), totals, max_table_bytes=BYTES)
    await _sends(desk, "hostile", *(f"h{n}" for n in range(MANY)))
    await desk.commit()
    made = len(desk.table(totals))
    partition = await desk.reopen(_adding(totals), totals)
    await _sends(desk, "hostile", *(f"g{n}" for n in range(MANY)))
    assert len(desk.table(totals)) == made
    await _sends(desk, "victim", "v")
    assert desk.table(totals)[_key("v")] == 1.0
    assert (partition.failure, desk.table(totals).bytes_used < BYTES) == (None, True)


async def test_a_list_of_several_tenants_is_split_when_room_is_short(desk, totals):
    """Otherwise the keys of the list would all be charged to the tenant of its first event."""

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
    """Each event decodes its tenant's name as a new string of any length: one string per key would
    exceed the memory bound.
    """
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
    """A list that grows adds no key, but its bytes must not fill the table and stop the partition."""
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


async def test_an_event_that_one_table_refuses_counts_in_no_table(desk, totals):
    """Otherwise a replay would count twice in the other table."""
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


async def test_events_that_leave_out_their_tenant_have_one_share(desk, totals, monkeypatch):
    """They were refused nothing, and stopped the partition of the tenants that are named."""
    monkeypatch.setattr(
        stream_partition, "tenant_of", lambda event: event.tenant_id.removeprefix("nobody")
    )
    partition = await desk.open(_adding(totals), totals, max_table_bytes=BYTES)
    await _sends(desk, "nobody", *(f"n{n}" for n in range(MANY)))
    made = len(desk.table(totals))
    assert 0 < made < MANY
    await _sends(desk, "victim", "v", "v")
    await desk.commit()
    assert partition.failure is None
    assert desk.table(totals)[_key("v")] == 2.0
    assert [code for _, code, _ in desk.letters()] == ["over_quota"] * (MANY - made)


async def test_a_key_that_an_event_without_a_tenant_makes_longer_takes_no_share_of_its_tenant(
    desk, monkeypatch
):
    """Else events of no tenant would use up a named tenant's share by its own keys."""
    monkeypatch.setattr(
        stream_partition, "tenant_of", lambda event: event.tenant_id.removeprefix("nobody")
    )
    notes = DeclaredTable("notes", default=str, keys="any")

    async def body(stream):
        async for event in stream:
            notes[event.metric] += "x" * NOTE_BYTES

    await desk.open(body, notes, max_table_bytes=BYTES)
    await _sends(desk, "victim", "v")
    await _sends(desk, "nobody", *["v"] * NOTES)
    await _sends(desk, "victim", *(f"v{n}" for n in range(4)))
    assert {f"v{n}" for n in range(4)} <= {*desk.table(notes).keys()}
