"""A window whose `on_window_close` fails or hangs is held, and windows and events of other tenants go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from itertools import count

import pytest

from agents.app import SIMULATION_RESULT
from streams.core.clock import settle
from streams.core.records.bad_records import ValueRefused
from streams.core.topics.current_stream import current
from streams.engine.health.finding import Severity
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.observation import Observation
from streams.engine.health.rule import judge
from streams.engine.runtime.offsets.close_order import CloseOrder
from streams.engine.runtime.partition.held_closes import HeldOwner
from streams.engine.streams.declared_table import DeclaredTable
from streams.engine.streams.windowed_table import WindowedDeclaration, windows_of
from tests.unit.engine.runtime.stream_desk import DLQ, OUT, shed_before

WINDOW_S = 10
TIMEOUT_S = 5.0


@pytest.fixture
def desk(desk):
    desk.base = desk.rig.clock.now_ms() // 60_000 * 60_000 - 3_600_000
    desk.seconds = count(0, WINDOW_S)
    return desk


def _windowed(on_close, expires_s=0):
    windows = windows_of("counts", WINDOW_S, WINDOW_S, expires_s)
    return WindowedDeclaration(DeclaredTable("counts", default=int, keys="any"), windows, on_close)


def _counting(counts):
    async def body(stream):
        async for event in stream:
            counts[event.tenant_id] += 1

    return body


def _send(key, value):
    name = key[0]
    current.get().send(SIMULATION_RESULT, name, b"%s %d" % (name.encode(), value), partition=0)


class Closing:
    """``faults``: what the callback does for each tenant, instead of returning."""

    def __init__(self, **faults):
        self.faults = faults
        self.calls = []

    def __call__(self, key, value):
        self.calls.append((key[0], value))
        _send(key, value)
        fault = self.faults.get(key[0])
        if isinstance(fault, Exception):
            raise fault
        return fault() if fault is not None else None

    def count(self, tenant):
        return sum(name == tenant for name, _ in self.calls)


async def _forever():
    await asyncio.Event().wait()


async def _windows(desk, tenants, many=1):
    """Events of ``many`` windows for each tenant; each closes with the events of the next."""
    for _ in range(many):
        second = next(desk.seconds)
        for tenant in tenants:
            event = desk.rig.event(tenant_id=tenant, ts=desk.base + second * 1000)
            await desk.rig.produce(event, key=tenant.encode())
    await desk.fold()
    await settle(200)


async def _wake(desk, after_s=0.0):
    """As the partition's task does at each commit interval."""
    await desk.rig.clock.advance(after_s)
    desk.partition.has_changes()
    await settle(200)


def _sent(desk):
    return sorted(desk.rig.contents(OUT).values)


def _letters(desk):
    found = desk.rig.contents(DLQ)
    for value, headers in zip(found.values, found.headers, strict=True):
        said = {name.removeprefix("dia.dlq."): text.decode() for name, text in headers}
        yield said["error_code"], said["stage"], json.loads(value)


def _order(**fields):
    fields = {
        "table": "counts",
        "tenant": "hostile",
        "before_ms": 1 << 60,
        "untried": False,
        "epoch": 0,
        **fields,
    }
    return CloseOrder(id="o", at_ms=0, actor="eve", reason="bad rates", **fields)


async def test_a_close_that_raises_holds_its_window_alone(desk):
    """It stopped the partition for all tenants. Nothing that the call sent goes out."""
    closing = Closing(hostile=ZeroDivisionError("by a value of its events"))
    counts = _windowed(closing)
    partition = await desk.open(_counting(counts), counts)
    await _windows(desk, ["hostile", "victim"], 4)
    await desk.commit()
    assert partition.failure is None
    assert _sent(desk) == [b"victim 1"] * 3
    assert len(partition.held) == 3
    assert closing.calls.count(("hostile", 1)) == 3
    assert [*_letters(desk)] == []


async def test_a_call_that_waits_without_end_blocks_others_for_a_tenth_of_the_time_at_most(desk):
    """Further windows of its tenant are held without a call until the next try."""
    closing = Closing(hostile=_forever)
    counts = _windowed(closing)
    partition = await desk.open(_counting(counts), counts, window_close_timeout_s=TIMEOUT_S)
    await _windows(desk, ["hostile", "victim"], 3)
    await desk.rig.clock.advance(TIMEOUT_S + 0.1)
    await settle(200)
    await desk.commit()
    assert _sent(desk) == [b"victim 1"] * 2
    assert (closing.count("hostile"), len(partition.held)) == (1, 2)
    for _ in range(100):
        await _wake(desk, after_s=1.0)
    assert partition.failure is None
    assert closing.count("hostile") * TIMEOUT_S <= 0.1 * 105 + TIMEOUT_S


async def test_calls_that_wait_and_succeed_block_others_for_a_tenth_of_the_time_at_most(desk):
    """A call just below its deadline is no failure, and held the partition as long as one, for each window."""
    clock = desk.rig.clock
    closing = Closing(hostile=lambda: clock.sleep(TIMEOUT_S - 0.1))
    counts = _windowed(closing)
    partition = await desk.open(_counting(counts), counts, window_close_timeout_s=TIMEOUT_S)
    await _windows(desk, ["victim", "hostile"], 9)
    for _ in range(100):
        await _wake(desk, after_s=1.0)
    await desk.commit()
    spent_s = closing.count("hostile") * TIMEOUT_S
    assert spent_s <= 0.1 * clock.monotonic() + 3 * TIMEOUT_S
    assert closing.count("victim") == 8
    assert closing.count("hostile") + len(partition.held) == 8
    for _ in range(60):
        await _wake(desk, after_s=10.0)
    await desk.commit()
    assert len(partition.held) == 0
    assert _sent(desk) == [b"hostile 1"] * 8 + [b"victim 1"] * 8


async def test_a_shed_order_during_a_call_for_a_held_window_leaves_it_held(desk):
    """The cancelled call took the tenant's share: the window was due and could not be tried, and the agent
    looked at nothing else for half a minute."""
    clock, faults = desk.rig.clock, [None, ZeroDivisionError(), None, None]

    def call():
        fault = faults.pop(0)
        if fault is not None:
            raise fault
        return clock.sleep(TIMEOUT_S - 0.1)

    counts = _windowed(Closing(hostile=call))
    partition = await desk.open(_counting(counts), counts, window_close_timeout_s=TIMEOUT_S)
    await _windows(desk, ["victim", "hostile"], 3)
    await _wake(desk, after_s=TIMEOUT_S)
    assert len(partition.held) == 1
    await _wake(desk, after_s=1.2)
    await clock.advance(TIMEOUT_S - 0.5)
    assert partition.in_event
    await _events(desk, ["victim"])
    partition.shed(shed_before(desk, partition.position))
    await settle(200)
    await _events(desk, ["victim"] * 3)
    assert partition.folded == 10
    assert len(partition.held) == 1
    await _wake(desk, after_s=60.0)
    await _wake(desk, after_s=TIMEOUT_S)
    await desk.commit()
    assert (len(partition.held), _sent(desk)) == (0, [b"hostile 1"] * 2 + [b"victim 1"] * 2)


async def _events(desk, tenants):
    """In the windows that began last."""
    for tenant in tenants:
        event = desk.rig.event(tenant_id=tenant, ts=desk.base + 25_000)
        await desk.rig.produce(event, key=tenant.encode())
    await desk.fold()


async def test_calls_that_are_slow_for_all_tenants_are_not_held(desk):
    """Then no tenant's windows take more of the time than its part."""
    clock = desk.rig.clock
    closing = Closing(a=lambda: clock.sleep(2.0), b=lambda: clock.sleep(2.0))
    counts = _windowed(closing)
    partition = await desk.open(_counting(counts), counts, window_close_timeout_s=TIMEOUT_S)
    await _windows(desk, ["a", "b"], 9)
    for _ in range(40):
        await _wake(desk, after_s=1.0)
    await desk.commit()
    assert len(partition.held) == 0
    assert len(closing.calls) == 16


async def test_a_held_window_closes_once_its_call_succeeds(desk):
    """What the callback needs may be away for a while: no operator has to act."""
    closing = Closing(hostile=ConnectionError("away"))
    counts = _windowed(closing)
    partition = await desk.open(_counting(counts), counts)
    await _windows(desk, ["hostile", "victim"], 3)
    await desk.commit()
    closing.faults.clear()
    await _wake(desk, after_s=1.5)
    await desk.commit()
    assert _sent(desk) == [b"hostile 1"] * 2 + [b"victim 1"] * 2
    assert len(partition.held) == 0
    user, _ = desk.committed()
    assert sum(value is not None and b"hostile" in key for key, value in user.items()) == 1


@pytest.mark.parametrize("committed", [False, True])
async def test_a_held_window_survives_a_restart_and_closes_there_once(desk, committed):
    """The fixed code of the next process closes it, with the count of all its events."""
    counts = _windowed(Closing(hostile=ValueError("a bug")))
    await desk.open(_counting(counts), counts)
    await _windows(desk, ["hostile", "hostile", "victim"], 3)
    if committed:
        await desk.commit()
    mended = _windowed(Closing())
    await desk.reopen(_counting(mended), mended)
    await _wake(desk)
    if not committed:
        await desk.fold()
        await settle(200)
    await desk.commit()
    assert _sent(desk) == [b"hostile 2"] * 2 + [b"victim 1"] * 2


async def test_events_see_a_held_window_as_a_closed_one(desk):
    """Else what an event reads, and whether it is a dead letter, would depend on a fault of others."""
    counts = _windowed(Closing(hostile=ValueError("a bug")))
    seen = []

    async def body(stream):
        async for event in stream:
            seen.append(counts[event.tenant_id].delta(2 * WINDOW_S))
            counts[event.tenant_id] += 1

    await desk.open(body, counts)
    await _windows(desk, ["hostile"], 2)
    late = desk.rig.event(tenant_id="hostile", ts=desk.base + 1000)
    await desk.rig.produce(late, key=b"hostile")
    await _windows(desk, ["hostile"], 1)
    await desk.commit()
    assert seen == [0, 0, 0, 0]
    assert [code for code, _, _ in _raw_letters(desk)] == ["window_closed"]


def _raw_letters(desk):
    for headers in desk.rig.contents(DLQ).headers:
        said = {name.removeprefix("dia.dlq."): text.decode() for name, text in headers}
        yield said["error_code"], said["stage"], said


async def test_held_windows_take_their_tenants_share_of_the_table(desk):
    """Else windows that never close would fill the memory of all."""
    counts = _windowed(Closing(hostile=ValueError("a bug")))

    async def body(stream):
        async for event in stream:
            counts[event.tenant_id + "x" * 30_000] += 1

    class Long(Closing):
        def __call__(self, key, value):
            if key[0].startswith("hostile"):
                raise ValueError("a bug")

    counts = _windowed(Long())
    partition = await desk.open(body, counts, max_table_bytes=1 << 20)
    await _windows(desk, ["hostile", "victim"], 30)
    await desk.commit()
    assert partition.failure is None
    used = desk.table(counts).bytes_used
    assert 0 < len(partition.held) * 60_000 < (1 << 20) // 2 + 60_000 < used + 600_000
    assert {code for code, _, _ in _raw_letters(desk)} == {"over_quota"}


async def test_a_bad_deploy_stops_the_partition_with_the_windows_open(desk):
    """Calls of many tenants fail at once: to hold them all would hide it."""
    tenants = ["a", "b", "c", "d"]
    counts = _windowed(Closing(**{name: ValueError("a bug") for name in tenants}))
    partition = await desk.open(
        _counting(counts), counts, poison_min_records=4, poison_min_tenants=3
    )
    await _windows(desk, tenants, 3)
    assert partition.failure.code == "agent_failed"
    assert "of many tenants" in str(partition.failure)
    assert not partition.has_changes()


async def test_fewer_tenants_than_the_minimum_stop_no_partition(desk):
    """Whatever share of the windows is theirs."""
    counts = _windowed(Closing(a=ValueError("a bug"), b=ValueError("a bug")))
    partition = await desk.open(
        _counting(counts), counts, poison_min_records=4, poison_min_tenants=3
    )
    await _windows(desk, ["a", "b", "a", "b", "victim"], 8)
    assert partition.failure is None
    await desk.commit()
    assert _sent(desk) == [b"victim 1"] * 7


async def test_an_order_makes_dead_letters_of_held_windows(desk):
    """The operator's other way on: the window is kept in full, and its tenant's next ones close."""
    closing = Closing(hostile=ValueError("a bug"), other=ValueError("a bug"))
    counts = _windowed(closing)
    partition = await desk.open(_counting(counts), counts)
    await _windows(desk, ["hostile", "other"], 2)
    await desk.commit()
    partition.take_close_order(_order())
    await _wake(desk)
    await desk.commit()
    [(code, stage, letter)] = _letters(desk)
    assert (code, stage) == ("window_dropped", "window")
    assert (letter["tenant_id"], letter["value"], letter["start_ms"]) == ("hostile", 1, desk.base)
    assert len(partition.held) == 1
    partition.take_close_order(_order())
    await _wake(desk)
    assert len([*_letters(desk)]) == 1


async def test_an_order_of_untried_windows_ends_a_call_that_never_returns(desk):
    """A loop without an await hangs the process at each start: the order is read before the first call."""

    def hangs(key, value):
        pytest.fail("a loop that never ends was entered again")

    counts = _windowed(Closing(hostile=ValueError("a bug")))
    await desk.open(_counting(counts), counts)
    await _windows(desk, ["hostile"], 2)
    await desk.commit()
    again = _windowed(hangs)
    partition = await desk.reopen(_counting(again), again)
    partition.take_close_order(_order(untried=True))
    await _wake(desk)
    await desk.commit()
    assert [code for code, _, _ in _letters(desk)] == ["window_dropped"]


async def test_an_order_leaves_windows_that_become_due_later_to_their_calls(desk):
    """The code is mended after the order: it took the windows of the next hour, too, which had ended but waited
    for late events. No replay brings a dead letter of a window back."""
    closing = Closing(hostile=ValueError("a bug"))
    counts = _windowed(closing, expires_s=2 * WINDOW_S)
    partition = await desk.open(_counting(counts), counts)
    await _windows(desk, ["hostile"], 4)
    assert len(partition.held) == 1
    partition.take_close_order(_order(before_ms=desk.base + 3 * WINDOW_S * 1000, untried=True))
    await _wake(desk)
    closing.faults.clear()
    await _windows(desk, ["hostile"], 2)
    await desk.commit()
    assert [letter["start_ms"] - desk.base for _, _, letter in _letters(desk)] == [0]
    assert _sent(desk) == [b"hostile 1"] * 2


async def test_an_order_of_another_epoch_drops_no_window(desk):
    """After a reset the windows are others, of another log perhaps."""
    counts = _windowed(Closing(hostile=ValueError("a bug")))
    partition = await desk.open(_counting(counts), counts)
    await _windows(desk, ["hostile"], 2)
    partition.take_close_order(_order(epoch=1))
    await _wake(desk)
    await desk.commit()
    assert [*_letters(desk)] == []
    assert len(partition.held) == 1


async def test_refused_closes_above_the_rate_of_letters_wait_in_the_state(desk):
    """A letter of a window holds its value, as no record does: it cannot be a pointer. So it waits."""
    closing = Closing(hostile=ValueRefused("it does not fit"))
    counts = _windowed(closing)
    partition = await desk.open(_counting(counts), counts, quarantine_letters_per_s=2.0)
    await _windows(desk, ["hostile", "victim"], 8)
    await desk.commit()
    assert len([*_letters(desk)]) == 2
    assert len(partition.held) == 5
    assert _sent(desk) == [b"victim 1"] * 7
    for _ in range(20):
        await _wake(desk, after_s=0.5)
    await desk.commit()
    assert len([*_letters(desk)]) == 7
    assert len(partition.held) == 0


async def test_a_call_that_runs_on_after_its_deadline_has_no_effect_and_is_not_doubled(desk):
    """It may ignore its cancellation. A second call beside it would run the same work twice."""
    release, went_on = asyncio.Event(), []

    async def deaf():
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        went_on.append(True)
        current.get().send(SIMULATION_RESULT, b"", b"late", partition=0)

    closing = Closing(hostile=deaf)
    counts = _windowed(closing)
    await desk.open(_counting(counts), counts, window_close_timeout_s=TIMEOUT_S)
    await _windows(desk, ["hostile", "victim"], 2)
    for _ in range(300):
        await _wake(desk, after_s=1.0)
    assert closing.count("hostile") == 1
    release.set()
    await settle()
    assert went_on == [True]
    closing.faults.clear()
    await _wake(desk, after_s=301)
    await desk.commit()
    assert _sent(desk) == [b"hostile 1", b"victim 1"]


async def test_what_is_held_is_told_by_owner(desk):
    """Status, log and metric name tenant, table and error; no text of an exception, which may hold values."""
    counts = _windowed(Closing(hostile=KeyError("a secret of an event")))
    partition = await desk.open(_counting(counts), counts)
    await _windows(desk, ["hostile"], 4)
    [owner] = partition.held.owners()
    assert owner[:4] == ("hostile", "counts", 3, "agent_failed")
    assert owner.why.startswith("on_window_close raised KeyError at test_held_closes.py:")


def test_held_windows_are_a_warning_of_the_health_rule():
    """`dia status` names tenant, table and error, and the way on that needs no fixed code."""
    owner = HeldOwner(
        "hostile", "counts", 3, "agent_failed", "on_window_close raised KeyError"
    )._asdict()
    partition = {"group": "g", "topic": "t", "partition": 0, "held_windows": [owner]}
    worker = LiveWorker(pid=1, slot=0, partitions=[partition])
    found = judge(Observation(at_ms=0, sources=(), workers=(worker,))).findings
    [finding] = [one for one in found if one.code == "windows_held"]
    assert (finding.subject, finding.severity) == ("t/0", Severity.WARNING)
    assert (
        "3 windows of table counts of tenant hostile do not close, agent_failed" in finding.detail
    )
    assert finding.mend == "dia tables windows drop"
