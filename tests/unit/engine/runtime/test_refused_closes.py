"""What `on_window_close` writes counts for the tenant of the window: beyond its share the writes are a dead
letter of the window, and the partition goes on."""

from __future__ import annotations

import asyncio
import json
from base64 import b85decode
from itertools import count

import pytest
from msgspec.msgpack import decode

from agents.app import SIMULATION_RESULT
from streams.core.clock import settle
from streams.core.records.bad_records import ValueRefused
from streams.core.topics.current_stream import current
from streams.engine.runtime.partition import stream_partition
from streams.engine.streams.declared_table import DeclaredTable
from streams.engine.streams.windowed_table import WindowedDeclaration, windows_of
from tests.unit.engine.runtime.stream_desk import DLQ, OUT

BYTES = 1 << 20
"""The least that a table may have."""
NOTE = "x" * 90_000
NOTES = 12
"""more of them than a table has room for"""
WINDOW_S = 10


@pytest.fixture
def desk(desk):
    desk.base = desk.rig.clock.now_ms() // 60_000 * 60_000 - 3_600_000
    desk.seconds = count(0, WINDOW_S)
    return desk


@pytest.fixture
def history():
    return DeclaredTable("history", default=list, keys="any")


def _windowed(on_close, default=int):
    windows = windows_of("counts", WINDOW_S, WINDOW_S, 0)
    return WindowedDeclaration(
        DeclaredTable("counts", default=default, keys="any"), windows, on_close
    )


def _keeping(history):
    """Moves windows to a table without deleting from it, and sends their counts."""

    def on_close(key, value):
        name, (begin, _) = key
        current.get().send(SIMULATION_RESULT, name, b"%s %d" % (name.encode(), value), partition=0)
        history[name] = [*history[name], [begin, NOTE if name == "hostile" else "-"]]

    return on_close


def _counting(counts):
    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    return body


async def _windows(desk, tenants, many):
    """Events of ``many`` windows for each tenant; each window closes with the events of the next."""
    for _ in range(many):
        second = next(desk.seconds)
        for tenant in tenants:
            event = desk.rig.event(tenant_id=tenant, ts=desk.base + second * 1000)
            await desk.rig.produce(event, key=tenant.encode())
    await desk.fold()
    await settle(200)


def _letters(desk):
    found = desk.rig.contents(DLQ)
    for key, value, headers in zip(found.keys, found.values, found.headers, strict=True):
        said = {name.removeprefix("dia.dlq."): text.decode() for name, text in headers}
        yield key, value, said


@pytest.mark.parametrize("restart", [False, True])
async def test_closes_of_one_tenant_fill_no_table_of_others(desk, history, restart):
    """One tenant filled the table by its closes, which stopped the partition for all its tenants."""
    counts = _windowed(_keeping(history))
    partition = await desk.open(_counting(counts), counts, history, max_table_bytes=BYTES)
    await _windows(desk, ["hostile", "victim"], NOTES)
    await desk.commit()
    if restart:
        partition = await desk.reopen(_counting(counts), counts, history)
    await _windows(desk, ["hostile", "victim"], NOTES)
    await _windows(desk, ["hostile", "victim"], 1)
    await desk.commit()
    assert partition.failure is None
    assert len(desk.table(history)["victim"]) == 2 * NOTES
    kept = len(desk.table(history)["hostile"])
    assert 0 < kept * len(NOTE) < BYTES // 2
    refused = [said["error_code"] for _, _, said in _letters(desk)]
    assert refused == ["over_quota"] * (2 * NOTES - kept)


async def test_the_letter_says_which_window_of_which_tenant(desk, history):
    """And the window's count is sent all the same; of its writes nothing joins."""
    counts = _windowed(_keeping(history))
    await desk.open(_counting(counts), counts, history, max_table_bytes=BYTES)
    await _windows(desk, ["hostile"], NOTES + 1)
    await desk.commit()
    kept = len(desk.table(history)["hostile"])
    key, value, said = next(_letters(desk))
    start_ms = desk.base + kept * WINDOW_S * 1000
    assert (key, said["stage"], said["error_code"]) == (b"hostile", "window", "over_quota")
    assert json.loads(value) == {
        "tenant_id": "hostile",
        "table": "counts",
        "start_ms": start_ms,
        "end_ms": start_ms + WINDOW_S * 1000,
        "key": "hostile",
        "value": 1,
    }
    assert f"'counts' for a window from {start_ms} ms" in said["error_message"]
    assert "what it sent and its rows went out" in said["error_message"]
    assert "tenant 'hostile' has its share of table 'history'" in said["error_message"]
    assert len({said["id"] for _, _, said in _letters(desk)}) == NOTES - kept
    assert desk.rig.contents(OUT).values == [b"hostile 1"] * NOTES
    assert [key for key, _ in desk.table(counts)] == ["hostile"], "the last window alone is open"


async def test_refused_closes_are_counted_and_are_no_records_of_the_ledger(desk, history):
    """Each record is applied, so the audit's sums stay whole."""
    counts = _windowed(_keeping(history))
    await desk.open(_counting(counts), counts, history, max_table_bytes=BYTES)
    await _windows(desk, ["hostile"], NOTES + 1)
    await desk.commit()
    refused = NOTES - len(desk.table(history)["hostile"])
    metrics, labels = desk.rig.metrics, (DLQ.topic.removesuffix(".dlq"), "over_quota")
    of_closes = metrics.commit.refused_closes.labels(*labels)
    letters = metrics.intake.dead_letters.labels(*labels)
    assert (of_closes._value.get(), letters._value.get()) == (refused, refused)
    counters = desk.partition.state.link.counters
    assert (counters.read, counters.applied, counters.dead) == (NOTES + 1, NOTES + 1, 0)


async def test_a_close_that_raises_a_bad_record_has_no_effect_and_stops_nothing(desk, history):
    """A value too large for an entry, which a tenant's events made, stopped the partition."""

    def on_close(key, value):
        current.get().send(SIMULATION_RESULT, b"", b"half", partition=0)
        history[key[0]] = value
        if key[0] == "hostile":
            raise ValueRefused("it does not fit")

    counts = _windowed(on_close)
    partition = await desk.open(_counting(counts), counts, history)
    await _windows(desk, ["hostile", "victim"], 3)
    await desk.commit()
    assert partition.failure is None
    assert desk.table(history)["victim"] == 1
    assert "hostile" not in desk.table(history)
    assert desk.rig.contents(OUT).values == [b"half"] * 2
    found = [(said["error_code"], said["error_message"]) for _, _, said in _letters(desk)]
    assert [code for code, _ in found] == ["value_refused"] * 2
    assert all("(no effect): it does not fit" in message for _, message in found)


async def test_a_value_that_no_entry_holds_is_refused_at_the_end_of_the_close(desk, history):
    """It is encoded after the callback: that stopped the partition, too."""

    def on_close(key, value):
        history[key[0]].append("x" * (1 << 20))

    counts = _windowed(on_close)
    partition = await desk.open(_counting(counts), counts, history)
    await _windows(desk, ["hostile"], 2)
    await desk.commit()
    assert partition.failure is None
    assert [said["error_code"] for _, _, said in _letters(desk)] == ["value_refused"]
    assert "hostile" not in desk.table(history)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({1: {"a": [b"\xff", 2.5]}}, {"1": {"a": ["/w==", 2.5]}}),
        ({1: {"a": "\0" * 800_000}}, None),
        ({"a": b"\0" * 840_000}, None),
    ],
)
async def test_a_letter_holds_any_value_whole(desk, value, shown):
    """JSON writes bytes in 4/3 and control characters in six: MessagePack in base85 fits where JSON does not."""

    def on_close(key, found):
        found.clear()
        raise ValueRefused("y" * 5000)

    counts = _windowed(on_close, default=dict)

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] = value

    await desk.open(body, counts)
    await _windows(desk, ["t"], 2)
    await desk.commit()
    _, text, said = next(_letters(desk))
    assert "pointer" not in said
    letter = json.loads(text)
    if shown is None:
        assert decode(b85decode(letter["packed"])) == ["t", value]
    else:
        assert letter["value"] == shown


async def test_windows_that_lists_of_several_tenants_made_have_one_share(desk, history):
    """No single tenant owns them, and their closes stop no partition either."""
    counts = _windowed(_keeping(history))

    async def body(stream):
        async for events in stream.take_events(2, within=0):
            for event in events:
                counts.at(event)["hostile"] += 1

    partition = await desk.open(body, counts, history, max_table_bytes=BYTES)
    await _windows(desk, ["hostile", "victim"], NOTES + 1)
    await desk.commit()
    assert partition.failure is None
    assert len(desk.table(history)["hostile"]) * len(NOTE) < BYTES // 2
    letters = [(key, said["error_code"]) for key, _, said in _letters(desk)]
    assert set(letters) == {(b"", "over_quota")}


async def test_many_windows_that_close_at_once_leave_turns_to_others(desk, monkeypatch):
    """Heartbeats, and the commits of other partitions, run in the same loop."""
    monkeypatch.setattr(stream_partition, "_TURN_S", 0.0)
    turns, closed = [], []
    counts = _windowed(lambda key, value: closed.append(len(turns)))

    async def body(stream):
        async for event in stream:
            for number in range(20):
                counts[event.tenant_id, number] += 1

    async def others():
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    await desk.open(body, counts)
    beside = asyncio.create_task(others())
    await _windows(desk, ["t"], 2)
    beside.cancel()
    assert closed == sorted(set(closed))
    assert len(closed) == 20
