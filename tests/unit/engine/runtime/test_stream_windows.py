"""Windows of a stream agent's tables: which windows an event updates, and when each closes, once."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from agents.app import SIMULATION_RESULT
from streams.core.clock import settle
from streams.core.records.bad_records import ValueRefused
from streams.core.topics.current_stream import current
from streams.engine.streams.declared_table import DeclaredTable
from streams.engine.streams.windowed_table import WindowedDeclaration, windows_of
from tests.unit.engine.runtime.stream_desk import OUT, shed_before

S = 1000


def _windowed_table(size, step=None, expires=None, on_close=None, **options):
    options = {"default": int, **options}
    windows = windows_of("counts", size, step or size, expires)
    return WindowedDeclaration(DeclaredTable("counts", **options), windows, on_close)


async def _events(desk, *seconds):
    """Append events with these times, at those moments of the broker's clock."""
    for second in seconds:
        await desk.rig.produce_events(1, ts=desk.base + second * S)
    await desk.fold()


@pytest.fixture
def base(desk):
    """A base before the clock's time, so that no event time is ahead of its append."""
    desk.base = desk.rig.clock.now_ms() // 60_000 * 60_000 - 600 * S
    return desk.base


def _content(desk, table):
    found = desk.table(table)
    return {(key, (start - desk.base) // S): found[key, start] for key, start in found}


async def test_a_window_that_a_late_event_begins_closes_in_its_turn(desk, base):
    """The event lies in the middle of a fetch, before open windows: the event after the window's
    end finds it closed.
    """
    closed = []
    counts = _windowed_table(
        10, expires=20, on_close=lambda key, value: closed.append((key[0], value))
    )

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    await desk.open(body, counts)
    await _events(desk, 100, 95, 125, 92, 126)
    assert closed == [("t", 1)]
    assert _content(desk, counts) == {("t", 100): 1, ("t", 120): 2}
    await desk.commit()
    assert desk.letters() == [(3, "window_closed", 1)]


async def test_a_tumbling_window_counts_the_events_of_its_time(desk, base):
    """Windows are [0, 10) and [10, 20): an event on the edge belongs to the later one."""
    counts = _windowed_table(10)

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    await desk.open(body, counts)
    await _events(desk, 0, 9, 10, 19, 5)
    assert _content(desk, counts) == {("t", 0): 3, ("t", 10): 2}


async def test_a_hopping_window_counts_an_event_in_every_window_that_holds_it(desk, base):
    """With size 30 and step 10 an event is in three windows."""
    counts = _windowed_table(30, 10)

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    await desk.open(body, counts)
    await _events(desk, 25, 39)
    assert _content(desk, counts) == {("t", 0): 1, ("t", 10): 2, ("t", 20): 2, ("t", 30): 1}


async def test_a_window_is_read_by_the_time_of_the_event_or_the_newest_time(desk, base):
    """value, current, now and delta, as in Faust."""
    counts = _windowed_table(10)
    newest = counts.relative_to_now()
    seen = []

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1
            own = counts[event.tenant_id]
            seen.append((own.value(), own.current(), own.now(), own.delta(10)))
            seen.append(newest[event.tenant_id].value())

    await desk.open(body, counts)
    await _events(desk, 0, 12, 3)
    assert seen == [(1, 1, 1, 0), 1, (1, 1, 1, 1), 1, (2, 2, 1, 0), 1]


async def test_a_window_closes_once_with_the_records_of_its_callback(desk, base):
    """The removal of the entry and the callback's record are in one commit, also across a restart."""
    closed = []

    def on_close(key, value):
        closed.append(value)
        current.get().send(SIMULATION_RESULT, "t", b"%d" % value, partition=0)

    counts = _windowed_table(10, expires=5, on_close=on_close)

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    await desk.open(body, counts)
    await _events(desk, 1, 2, 14)
    assert closed == []
    await desk.commit()
    await desk.reopen(body, counts)
    assert closed == []
    await _events(desk, 15)
    assert closed == [2]
    await desk.reopen(body, counts)
    await desk.fold()
    assert closed == [2, 2]
    await desk.commit()
    await desk.reopen(body, counts)
    await _events(desk, 17)
    await desk.commit()
    assert closed == [2, 2]
    assert desk.rig.contents(OUT).values == [b"2"]
    assert _content(desk, counts) == {("t", 10): 3}


async def test_the_key_of_a_closed_window_has_its_begin_and_end(desk, base):
    """In seconds, as in Faust."""
    keys = []
    counts = _windowed_table(10, expires=0, on_close=lambda key, value: keys.append(key))

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    await desk.open(body, counts)
    await _events(desk, 3, 10, 11)
    assert keys == [("t", (base / S, base / S + 10))]


async def test_a_write_into_a_closed_window_is_a_dead_letter(desk, base):
    """The write neither reopens the window nor disappears."""
    counts = _windowed_table(10, expires=0)

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    await desk.open(body, counts)
    await _events(desk, 1, 25, 2, 26)
    await desk.commit()
    assert desk.letters() == [(2, "window_closed", 1)]
    assert _content(desk, counts) == {("t", 20): 2}


async def test_a_closed_window_stays_closed_after_a_read(desk, base):
    """A read stages the default value: an assignment after it must not reopen the window, which
    would close twice.
    """
    closed = []
    counts = _windowed_table(
        10, expires=5, default=dict, on_close=lambda key, value: closed.append(value)
    )

    async def body(stream):
        async for event in stream:
            if counts[event.tenant_id].value() != "done":
                counts[event.tenant_id] = "done"

    await desk.open(body, counts)
    await _events(desk, 1, 25, 2, 45)
    await desk.commit()
    assert [(offset, code) for offset, code, _ in desk.letters()] == [(2, "window_closed")]
    assert closed == ["done", "done"], "the windows from 0 s and from 20 s must close once each"


async def test_silence_closes_windows_too(desk, base):
    """Event time advances with the clock when the partition's log is silent."""
    closed = []
    counts = _windowed_table(10, expires=5, on_close=lambda key, value: closed.append(value))

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    await desk.open(body, counts)
    await _events(desk, 1)
    desk.partition.idle_until(base + 14_999)
    await settle()
    assert closed == []
    desk.partition.idle_until(base + 15_000)
    await settle()
    assert closed == [1]
    await desk.commit()
    await desk.reopen(body, counts)
    desk.partition.idle_until(base + 99_000)
    await settle()
    assert closed == [1]


async def test_windows_that_were_due_at_a_crash_close_without_another_event(desk, base):
    """Their events were committed and the close was not; the next record may be hours away."""
    go_on = asyncio.Event()

    async def on_close(key, value):
        await go_on.wait()

    counts = _windowed_table(10, expires=0, on_close=on_close)

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    await desk.open(body, counts)
    await _events(desk, 1, 30)
    await desk.commit()
    await desk.reopen(body, counts)
    assert not desk.partition.settled
    assert not desk.partition.has_changes()
    go_on.set()
    await settle()
    await desk.commit()
    assert _content(desk, counts) == {("t", 30): 1}
    assert not desk.partition._closing.due


async def test_windows_of_a_field_close_by_the_latest_time_of_that_field(desk, base):
    """The field's times may differ from append time."""
    closed = []
    counts = _windowed_table(
        10, expires=0, on_close=lambda key, value: closed.append((key[1][0], value))
    )
    counts = counts.relative_to_field("value")

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    await desk.open(body, counts)
    for value in (100.0, 109.5):
        await desk.rig.produce_events(1, value=value)
    await desk.fold()
    await desk.commit()
    assert closed == []
    await desk.reopen(body, counts)
    await desk.rig.produce_events(1, value=115.0)
    await desk.fold()
    assert closed == [(100.0, 2)]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("ahead", [1e6, 1e15, 1e300])
async def test_a_time_ahead_of_its_append_closes_no_window(desk, base, restarted, ahead):
    """The field is a tenant's choice: one event closed the windows of all tenants, whose events were dead letters."""
    counts = _windowed_table(10, expires=10, keys="any").relative_to_field("value")

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    await desk.open(body, counts)
    now_s = desk.rig.clock.now_ms() / 1000
    await desk.rig.produce_events(1, value=now_s)
    hostile = desk.rig.event(tenant_id="hostile", value=now_s + ahead)
    await desk.rig.produce(hostile, key=b"hostile")
    await desk.fold()
    await settle(100)
    await desk.commit()
    if restarted:
        await desk.reopen(body, counts)
    await desk.rig.produce_events(1, value=now_s)
    await desk.fold()
    await settle(100)
    await desk.commit()
    assert "window_closed" not in {code for _, code, _ in desk.letters()}
    found = desk.table(counts)
    assert [found[key] for key in found if key[0] == "t"] == [2]


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_time_of_a_refused_event_closes_no_window(desk, base, restarted):
    """A refused event has no effect, before a restart and after it."""
    counts = _windowed_table(10, expires=0, keys="any").relative_to_field("value")

    async def body(stream):
        async for event in stream:
            key = "k" * 40_000 if event.value > 1000 else event.tenant_id
            counts[key] += 1

    await desk.open(body, counts)
    for value in (100.0, 9000.0):
        await desk.rig.produce_events(1, value=value)
    await desk.fold()
    await desk.commit()
    if restarted:
        await desk.reopen(body, counts)
    await desk.rig.produce_events(2, value=101.0)
    await desk.fold()
    await desk.commit()
    assert [(offset, code) for offset, code, _ in desk.letters()] == [(1, "value_refused")]
    found = desk.table(counts)
    assert {key: found[key] for key in found} == {("t", 100_000): 3}


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_time_of_an_event_that_catches_a_refused_write_counts(desk, base, restarted):
    """The event is complete: its time closes windows at once, with or without a restart."""
    closed = []
    counts = _windowed_table(
        10, expires=0, keys="any", on_close=lambda key, value: closed.append((key[1][0], value))
    )
    counts = counts.relative_to_field("value")

    async def body(stream):
        async for event in stream:
            try:
                counts["k" * 40_000 if event.value > 1000 else event.tenant_id] += 1
            except ValueRefused:
                continue

    await desk.open(body, counts)
    for value in (100.0, 9000.0):
        await desk.rig.produce_events(1, value=value)
    await desk.fold()
    await desk.commit()
    if restarted:
        await desk.reopen(body, counts)
    await desk.rig.produce_events(1, value=101.0)
    await desk.fold()
    await desk.commit()
    assert closed == [(100.0, 1)]
    assert [(offset, code) for offset, code, _ in desk.letters()] == [(2, "window_closed")]


async def test_a_list_in_a_window_may_be_read_changed_and_assigned(desk, base):
    """As in Faust's example."""
    gathered = []
    events = _windowed_table(
        10, expires=0, default=list, on_close=lambda key, value: gathered.append(value)
    )

    async def body(stream):
        async for event in stream:
            found = events["t"].value()
            found.append(event.value)
            events["t"] = found

    await desk.open(body, events)
    await desk.rig.produce_events(1, ts=base, value=1.0)
    await desk.rig.produce_events(1, ts=base + 5 * S, value=2.0)
    await desk.rig.produce_events(2, ts=base + 20 * S, value=3.0)
    await desk.fold()
    assert gathered == [[1.0, 2.0]]


async def test_an_event_of_a_list_is_named_where_its_windows_are_written(desk, base):
    """Otherwise all events of the list would count in the windows of one."""
    counts = _windowed_table(10)
    unnamed = False

    async def body(stream):
        async for events in stream.take_events(3, within=1.0):
            for event in events:
                (counts if unnamed else counts.at(event))["t"] += 1

    await desk.open(body, counts)
    await _events(desk, 0, 12, 15)
    assert _content(desk, counts) == {("t", 0): 1, ("t", 10): 2}
    unnamed = True
    await _events(desk, 0, 12, 15)
    assert desk.partition.failure.code == "table_misused"
    assert "counts.at(event)" in str(desk.partition.failure)


async def test_an_abandoned_callback_completes_no_later_event(desk, base):
    """It ends in the middle of another event, whose staged writes are not complete."""
    release, go_on = asyncio.Event(), asyncio.Event()
    calls = []

    async def on_close(key, value):
        calls.append(value)
        while len(calls) == 1 and not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    counts = _windowed_table(10, expires=5, on_close=on_close)

    async def body(stream):
        async for event in stream.events():
            counts[event.value.tenant_id] += 1
            if event.message.offset == 3:
                await go_on.wait()
                raise ValueError("a bug")

    await desk.open(body, counts)
    await _events(desk, 1, 25, 26, 27)
    desk.partition.shed(shed_before(desk, 3))
    await desk.rig.clock.advance(15)
    assert len(calls) == 2, "a second call of the callback closes the window"
    release.set()
    await settle()
    go_on.set()
    await settle()
    await desk.commit()
    assert desk.letters() == [(3, "agent_failed", 1)]
    assert _content(desk, counts) == {("t", 20): 1}


async def test_skipped_events_close_no_window(desk, base):
    """One with a far later time closed the windows of the events behind it in the same fetch, which became
    dead letters; a worker that fetched them alone counted them."""
    go_on = asyncio.Event()
    counts = _windowed_table(10, expires=0)

    async def body(stream):
        async for event in stream.events():
            if event.message.offset == 1:
                await go_on.wait()
            counts[event.value.tenant_id] += 1

    await desk.open(body, counts)
    await _events(desk, 1, 2, 500, 3, 4)
    desk.partition.shed(shed_before(desk, 3))
    await settle()
    await desk.commit()
    assert desk.letters() == []
    assert _content(desk, counts) == {("t", 0): 3}


async def test_another_size_of_windows_is_refused(desk, base):
    """State of windows of a minute is not valid for windows of an hour."""

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    counts = _windowed_table(10)
    await desk.open(body, counts)
    await _events(desk, 1)
    await desk.commit()
    counts = _windowed_table(20)
    with pytest.raises(Exception, match=r"size_ms=10000.*size_ms=20000"):
        await desk.reopen(body, counts)
    desk.rig.opened = None


@pytest.mark.parametrize(("size", "step"), [(10, 0), (10, 20), (0, 0), (-1, -1)])
def test_invalid_window_sizes_are_refused(size, step):
    """With a step above the size some events would be in no window."""
    with pytest.raises(Exception, match="step"):
        windows_of("t", size, step, None)


def test_a_callback_without_expiry_is_refused():
    """The callback would never be called."""
    with pytest.raises(Exception, match="give expires"):
        _windowed_table(10, on_close=print)
