"""State of a table that the app no longer declares is kept until an operator drops it
(docs/protocols/changelog.md, "Undeclared tables").
"""

from __future__ import annotations

import pytest

from agents.app import AGGREGATE_METRICS, app
from streams.core.clock import settle
from streams.core.errors import ProducerFenced, RefusedBySafety
from streams.engine.engine_tables import HELD_WINDOWS
from streams.engine.runtime.restore.survey import survey
from streams.engine.state.memory import MemoryDisk
from streams.engine.streams.declared_table import DeclaredTable, user_prefix
from streams.engine.windows.held_windows import WindowCall
from streams.operate.reset import extra_links
from streams.operate.reset.table_drop import (
    PREFIXES,
    Leftover,
    NamedTable,
    drop_table,
    leftovers,
    plan_table_drop,
)
from tests.unit.engine.runtime.stream_desk import CHANGELOG

NAMES = ("a", "b", "c")


@pytest.fixture
def totals():
    return DeclaredTable("totals", default=float, keys="any")


@pytest.fixture
def notes():
    return DeclaredTable("notes", default=list, keys="any")


def _writing(*tables):
    async def body(stream):
        async for event in stream:
            for table in tables:
                table[event.metric] += [1] if table.name == "notes" else 1.0

    return body


async def _send(desk, *names):
    await desk.rig.produce(*(desk.rig.event(metric=name) for name in names))
    await desk.fold()
    await desk.commit()


async def _without_notes(desk, totals, notes):
    """The agent of a version that no longer declares the notes, which an older one wrote."""
    await desk.open(_writing(totals, notes), totals, notes)
    await _send(desk, *NAMES)
    partition = await desk.reopen(_writing(totals), totals)
    return partition.agent


async def _planned(desk, agent, name="notes"):
    return await plan_table_drop(desk.rig.broker, agent, 0, app.targets, name)


async def _dropped(desk, agent, agreed):
    return await drop_table(desk.rig.broker, desk.rig.clock, agent, agreed)


async def _found(desk):
    reader = await desk.rig.broker.reader()
    return await survey(reader, CHANGELOG, tables=PREFIXES)


@pytest.mark.parametrize("folder", ["kept", "new"])
@pytest.mark.parametrize("commit_bytes", [1, 1 << 20])
async def test_a_dropped_table_is_gone_and_the_rest_goes_on(
    desk, totals, notes, folder, commit_bytes, monkeypatch
):
    """From a kept state folder and from the changelog, for one link and for many."""
    monkeypatch.setattr(extra_links, "COMMIT_BYTES", commit_bytes)
    agent = await _without_notes(desk, totals, notes)
    before = (await _found(desk)).live_bytes
    desk.close()
    assert await _dropped(desk, agent, await _planned(desk, agent)) == len(NAMES) + 1
    found = await _found(desk)
    assert (found.faults, leftovers(agent, found.wanted)) == ([], [])
    assert found.live_bytes < before
    if folder == "new":
        desk.rig.disk = MemoryDisk()
    await desk.reopen(_writing(totals, notes), totals, notes)
    assert desk.table(notes).items() == []
    assert desk.table(totals).items() == [(name, 1.0) for name in NAMES]
    await _send(desk, "a")
    await desk.reopen(_writing(totals, notes), totals, notes)
    assert desk.table(notes).items() == [("a", [1])]
    assert desk.table(totals)["a"] == 2.0


async def test_what_is_left_of_a_table_is_kept_until_it_is_dropped(desk, totals, notes):
    """A roll-back to the version that declares it finds it as it was."""
    agent = await _without_notes(desk, totals, notes)
    await _send(desk, "a")
    (left,) = leftovers(agent, (await _found(desk)).wanted)
    assert left.table == NamedTable("table", "notes")
    assert (left.entries, left.size_bytes > 0) == (len(NAMES) + 1, True)
    await desk.reopen(_writing(totals, notes), totals, notes)
    assert desk.table(notes).items() == [(name, [1]) for name in NAMES]


async def test_a_declared_table_is_not_dropped(desk, totals, notes):
    """Its agent uses it: a mistyped name must cost no state."""
    agent = await _without_notes(desk, totals, notes)
    with pytest.raises(RefusedBySafety, match="agent stream declares the table 'totals'"):
        await _planned(desk, agent, "totals")
    assert await _planned(desk, agent, "nothing of this name") is None


async def test_a_partition_that_committed_since_is_not_changed(desk, totals, notes):
    """A worker of the older version may have written the table again."""
    agent = await _without_notes(desk, totals, notes)
    agreed = await _planned(desk, agent)
    await _send(desk, "a")
    desk.close()
    with pytest.raises(RefusedBySafety, match="committed meanwhile"):
        await _dropped(desk, agent, agreed)
    assert len((await _planned(desk, agent)).keys) == len(agreed.keys)


async def test_the_owner_of_the_partition_is_fenced(desk, totals, notes):
    """Its next commit would not follow the link of the drop."""
    agent = await _without_notes(desk, totals, notes)
    await _dropped(desk, agent, await _planned(desk, agent))
    await desk.rig.produce(desk.rig.event())
    await desk.fold()
    with pytest.raises(ProducerFenced):
        await desk.commit()
    await settle()


def test_held_windows_of_undeclared_windows_are_left_over():
    """They count for their tenant's share of held windows, and no call will ever take them out."""
    call = WindowCall("visits", ("t",), 0, 60_000, "t", b"\x80")
    entries = {HELD_WINDOWS.prefix + call.raw: b"held", user_prefix("totals") + b"\xa1a": b"1"}
    held, table = leftovers(AGGREGATE_METRICS, entries)
    assert (held.table, held.entries) == (NamedTable("held_windows", "visits"), 1)
    assert table == Leftover(NamedTable("table", "totals"), 1, table.size_bytes)
