"""Keyed tables of a stream agent: stored values, refused values, and the state after a restart."""

from __future__ import annotations

import pytest

from agents.app import MODEL_METRICS
from streams.connect.broker.partitioner import partition_of
from streams.core.clock import settle
from streams.engine.streams.declared_table import DeclaredTable


@pytest.fixture
def totals():
    return DeclaredTable("totals", default=float)


async def test_completed_events_are_in_the_table_after_a_restart(desk, totals):
    """The commit holds the agent's writes, and the next owner reads them."""

    async def body(stream):
        async for event in stream:
            totals[event.tenant_id] += event.value

    await desk.open(body, totals)
    await desk.rig.produce_events(5, value=2.0)
    await desk.fold()
    await desk.commit()
    partition = await desk.reopen(body, totals)
    assert desk.table(totals)["t"] == 10.0
    assert partition.position == 5
    assert partition.progress.counters().applied == 5


async def test_a_value_changed_in_place_counts_with_its_event(desk):
    """A change without an assignment counts too, and not before the event is complete."""
    seen = DeclaredTable("seen", default=list)
    number = 0

    async def body(stream):
        nonlocal number
        async for _event in stream:
            number += 1
            seen["t"].append(number)
            if number == 2:
                raise ValueError("second")

    await desk.open(body, seen)
    await desk.rig.produce_events(3)
    await desk.fold()
    await desk.commit()
    await desk.reopen(body, seen)
    assert desk.table(seen)["t"] == [1, 3]


async def test_a_value_that_cannot_be_encoded_dead_letters_its_event(desk):
    """The assignment raises, so the traceback names its line."""
    odd = DeclaredTable("odd")

    async def body(stream):
        async for event in stream.events():
            odd["t"] = object() if event.message.offset == 0 else event.message.offset

    await desk.open(body, odd)
    await desk.rig.produce_events(2)
    await desk.fold()
    await desk.commit()
    assert desk.letters() == [(0, "value_refused", 1)]
    assert desk.table(odd)["t"] == 1


@pytest.mark.parametrize("kind", [None, str, str | None])
@pytest.mark.parametrize(
    "text",
    ["x" * (900 << 10), "é" * (450 << 10), "\ud800"],
    ids=["long", "long as UTF-8", "no UTF-8"],
)
async def test_a_text_that_cannot_be_written_costs_its_event(desk, text, kind):
    """It joined the table, and then no commit of the partition could be encoded."""
    texts = DeclaredTable("texts", value_type=kind, keys="any")

    async def body(stream):
        async for event in stream.events():
            texts["t"] = text if event.message.offset == 1 else "short"

    await desk.open(body, texts)
    await desk.rig.produce_events(2)
    await desk.fold()
    await desk.commit()
    assert desk.letters() == [(1, "value_refused", 1)]
    assert desk.table(texts).kept("t") == "short"


def _elsewhere():
    """A key that belongs to another partition."""
    partitions = MODEL_METRICS.partitions
    return next(k for n in range(99) if partition_of((k := f"k{n}").encode(), partitions) != 0)


@pytest.mark.parametrize("caught", [False, True])
@pytest.mark.parametrize("many", [None, 3])
async def test_a_key_of_another_partition_costs_its_event_alone(desk, totals, caught, many):
    """It would spread a count over partitions. One event of one tenant stopped the partition for all; and an agent
    that catches the error must not complete the event without its write."""
    foreign = _elsewhere()

    def count(event):
        try:
            totals[foreign if event.value > 1 else event.tenant_id] += 1
        except Exception:
            if not caught:
                raise

    async def body(stream):
        if many is None:
            async for event in stream:
                count(event)
        async for events in stream.take(many or 1, within=0):
            for event in events:
                count(event)

    await desk.open(body, totals)
    for value in (1.0, 2.0, 1.0):
        await desk.rig.produce_events(1, value=value)
    await desk.fold()
    await settle(200)
    await desk.commit()
    assert desk.letters() == [(1, "key_refused", 1)]
    assert {key: desk.table(totals)[key] for key in desk.table(totals)} == {"t": 2.0}


async def test_a_table_may_allow_keys_of_any_partition(desk):
    """For data that is local to a partition, such as seen ids."""
    anything = DeclaredTable("anything", default=int, keys="any")

    async def body(stream):
        async for event in stream:
            anything["x", 1, b"y"] += 1
            anything[event.event_id] = 1

    await desk.open(body, anything)
    await desk.rig.produce_events(2)
    await desk.fold()
    await desk.commit()
    await desk.reopen(body, anything)
    assert desk.table(anything)["x", 1, b"y"] == 2
    assert len(desk.table(anything)) == 3


@pytest.mark.parametrize("key", [1.5, True, None, ["t"], ("t", 0.5), 1 << 70])
async def test_a_key_that_would_change_after_a_restart_is_refused(desk, key):
    """1 and True are one key of a dictionary and two of the changelog."""
    table = DeclaredTable("table", default=int, keys="any")

    async def body(stream):
        async for event in stream:
            table[key if event.value > 1 else event.tenant_id] = 1

    await desk.open(body, table)
    for value in (2.0, 1.0):
        await desk.rig.produce_events(1, value=value)
    await desk.fold()
    await settle(100)
    await desk.commit()
    assert desk.letters() == [(0, "key_refused", 1)], "its event alone: keys may come from events"
    assert [*desk.table(table)] == ["t"]


async def test_writing_before_the_first_event_is_refused(desk, totals):
    """The write belongs to no event and would repeat at every start."""

    async def body(stream):
        totals["t"] = 1.0
        async for _event in stream:
            pass

    await desk.open(body, totals)
    await desk.rig.produce_events(1)
    await desk.fold()
    assert desk.partition.failure.code == "table_misused"


def test_a_table_outside_an_agent_raises(totals):
    """Outside an agent there is no partition to read from."""
    with pytest.raises(Exception, match="outside an agent"):
        totals["t"] += 1


async def test_a_changed_declaration_is_refused(desk, totals):
    """State stored as numbers would be read as another type."""

    async def body(stream):
        async for _event in stream:
            totals["t"] += 1

    await desk.open(body, totals)
    await desk.rig.produce_events(1)
    await desk.fold()
    await desk.commit()
    other = DeclaredTable("totals", default=set, value_type=set)
    with pytest.raises(Exception, match=r"was written as keyed.*declared as set"):
        await desk.reopen(body, other)
    desk.rig.opened = None


async def test_old_entries_are_rewritten_so_that_the_changelog_can_be_trimmed(desk):
    """The size of the changelog depends on the live entries, not on the number of writes."""
    table = DeclaredTable("table", keys="any")

    async def body(stream):
        async for event in stream.events():
            offset = event.message.offset
            table[f"once-{offset}" if offset < 3 else "often"] = "x" * 60

    await desk.open(body, table)
    for _ in range(80):
        await desk.rig.produce_events(1)
        await desk.fold()
        await desk.commit()
    live = desk.partition.state.live
    assert live.log_bytes < live.written_bytes / 2
    await desk.reopen(body, table)
    assert sorted(desk.table(table).keys()) == ["often", "once-0", "once-1", "once-2"]
