"""A stream agent in one partition, step by step: contents of a commit, and effects of an error."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import SIMULATION_RESULT
from streams.core.clock import settle
from streams.core.errors import BreakerOpen, BrokerUnavailable
from streams.core.records.bad_records import WrongType
from streams.core.types import OutboundRecord
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.engine.state.load_run import SLOT_MS
from streams.engine.streams.declared_table import DeclaredTable
from tests.unit.engine.runtime.stream_desk import DLQ, OUT, SOURCE


@pytest.fixture
def totals():
    return DeclaredTable("totals", default=float)


async def test_a_commit_holds_only_complete_events(desk, totals):
    """The commit holds two events while the agent waits in the middle of the third."""
    go_on = asyncio.Event()

    async def body(stream):
        async for _event in stream:
            totals["t"] += 1
            if totals["t"] == 3:
                await go_on.wait()
                totals["t"] += 100

    await desk.open(body, totals)
    await desk.rig.produce_events(4)
    await desk.fold()
    await desk.commit()
    entries, link = desk.committed()
    assert link.next_offset == 2
    assert b"\xcb@\x00" in entries[totals.spec.prefix + b"\xa1t"]  # 2.0
    assert not desk.partition.has_changes()
    go_on.set()
    await settle()
    await desk.commit()
    assert desk.committed()[1].next_offset == 4
    assert desk.table(totals)["t"] == 104


async def test_an_exception_drops_the_writes_and_sends_of_its_event(desk, totals):
    """The dead letter holds the end of the traceback; the neighbours count."""
    number = 0

    async def body(stream):
        nonlocal number
        async for _event in stream:
            number += 1
            totals["t"] += 1
            stream.send(SIMULATION_RESULT, "k", b"%d" % number, partition=0)
            if number == 2:
                raise ValueError("a defect of the second event")

    await desk.open(body, totals)
    await desk.rig.produce_events(3)
    await desk.fold()
    await desk.commit()
    assert desk.table(totals)["t"] == 2
    assert desk.rig.contents(OUT).values == [b"1", b"3"]
    assert desk.letters() == [(1, "agent_failed", 1)]
    message = dict(desk.rig.contents(DLQ).headers[0])["dia.dlq.error_message"].decode()
    assert message.startswith("ValueError: a defect of the second event\n")
    assert "ValueError: a defect of the second event" in message
    assert "test_stream_partition.py" in message
    counters = desk.partition.progress.counters()
    assert (counters.read, counters.applied, counters.dead) == (3, 2, 1)


async def test_a_transient_error_is_retried_after_1_2_and_4_s(desk, totals):
    """Later events wait. The dead letter states the number of attempts."""
    tried = []

    async def body(stream):
        async for event in stream.events():
            tried.append((event.message.offset, desk.rig.clock.monotonic()))
            totals["t"] += 1
            if event.message.offset == 0:
                raise BrokerUnavailable("as asked")

    await desk.open(body, totals)
    await desk.rig.produce_events(2)
    await desk.fold()
    await desk.rig.clock.advance(10)
    assert tried == [(0, 0.0), (0, 1.0), (0, 3.0), (0, 7.0), (1, 7.0)]
    await desk.commit()
    assert desk.letters() == [(0, "retries_exhausted", 4)]
    assert desk.table(totals)["t"] == 1


async def test_an_error_that_passes_loses_no_event(desk, totals):
    """A ConnectionError of any client counts as transient."""
    failures = [ConnectionResetError("once"), TimeoutError("twice")]

    async def body(stream):
        async for _event in stream:
            totals["t"] += 1
            if failures:
                raise failures.pop()

    await desk.open(body, totals)
    await desk.rig.produce_events(2)
    await desk.fold()
    await desk.rig.clock.advance(3)
    await desk.commit()
    assert desk.table(totals)["t"] == 2
    assert desk.letters() == []


async def test_an_agent_waits_for_an_absent_service_without_a_limit(desk, totals):
    """An error with disposition PAUSE spends no attempt."""
    away = True

    async def body(stream):
        async for _event in stream:
            if away:
                raise BreakerOpen("away")
            totals["t"] += 1

    await desk.open(body, totals)
    await desk.rig.produce_events(1)
    await desk.fold()
    await desk.rig.clock.advance(600)
    assert not desk.partition.has_changes()
    away = False
    await desk.rig.clock.advance(31)
    await desk.commit()
    assert desk.letters() == []
    assert desk.table(totals)["t"] == 1


async def test_the_dead_letter_has_the_code_that_the_agent_raised(desk):
    """An agent may refuse an event with an error code."""

    async def body(stream):
        async for _event in stream:
            raise WrongType("the account is unknown")

    await desk.open(body)
    await desk.rig.produce_events(1)
    await desk.fold()
    await desk.commit()
    assert desk.letters() == [(0, "wrong_type", 1)]


async def test_an_event_that_waits_too_long_is_a_dead_letter(desk, totals):
    """The agent is cancelled, its staged writes are dropped, and the next event is processed."""
    ended = []

    async def body(stream):
        async for event in stream.events():
            totals["t"] += 1
            if event.message.offset == 0:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append(event.message.offset)

    await desk.open(body, totals, agent_timeout_s=8.0)
    await desk.rig.produce_events(2)
    await desk.fold()
    await desk.rig.clock.advance(7.9)
    assert ended == []
    await desk.rig.clock.advance(2)
    assert ended == [0]
    await desk.commit()
    assert desk.letters() == [(0, "agent_timeout", 1)]
    assert desk.table(totals)["t"] == 1


async def test_a_body_that_swallows_its_cancellation_has_no_effect(desk, totals):
    """The event is already dead-lettered, so later writes and reads of the body have no effect."""
    seen = []

    async def body(stream):
        async for event in stream.events():
            offset = event.message.offset
            seen.append(offset)
            if offset == 0:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    with pytest.raises(Exception, match="its event ended"):
                        totals["t"] += 100
                    continue
            totals["t"] += 1

    await desk.open(body, totals, agent_timeout_s=8.0)
    await desk.rig.produce_events(2)
    await desk.fold()
    await desk.rig.clock.advance(10)
    await desk.commit()
    assert seen == [0, 1]
    assert desk.table(totals)["t"] == 1
    assert desk.letters() == [(0, "agent_timeout", 1)]


async def test_an_invalid_record_is_dead_lettered_in_offset_order(desk):
    """Otherwise a crash before the earlier events are committed would dead-letter it twice."""
    go_on = asyncio.Event()

    async def body(stream):
        async for _event in stream:
            await go_on.wait()

    await desk.open(body)
    await desk.rig.produce(desk.rig.event(), b"{", desk.rig.event(), b"[]")
    await desk.fold()
    assert not desk.partition.has_changes()
    go_on.set()
    await settle()
    await desk.commit()
    assert [offset for offset, _, _ in desk.letters()] == [1, 3]
    counters = desk.partition.progress.counters()
    assert (counters.read, counters.applied, counters.dead) == (4, 2, 2)


async def test_an_abandoned_partition_ends_its_agent(desk, totals):
    """The staged writes are dropped; the next owner processes the event again."""
    ended = []

    async def body(stream):
        async for _event in stream:
            totals["t"] += 1
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

    await desk.open(body, totals)
    await desk.rig.produce_events(1)
    await desk.fold()
    assert (await desk.reopen(body, totals)).position == 0
    assert ended == [True]
    assert desk.table(totals)["t"] == 0.0


async def test_a_list_completes_together(desk, totals):
    """`take` waits for its number of events or its time; no event of the list is committed before
    all are complete.
    """
    lists = []
    go_on = asyncio.Event()

    async def body(stream):
        async for events in stream.take(3, within=5.0):
            lists.append(len(events))
            totals["t"] += len(events)
            await go_on.wait()

    await desk.open(body, totals)
    await desk.rig.produce(desk.rig.event(), b"{", desk.rig.event())
    await desk.fold()
    assert lists == []
    await desk.rig.produce_events(2)
    await desk.fold()
    assert lists == [3]
    assert not desk.partition.has_changes()
    go_on.set()
    await settle()
    await desk.rig.clock.advance(6)
    assert lists == [3, 1]
    await desk.commit()
    assert desk.letters()[0][0] == 1
    assert desk.committed()[1].next_offset == 5
    assert desk.table(totals)["t"] == 4


async def test_a_list_longer_than_the_read_ahead_is_given_short(desk):
    """The partition pauses at its bound, so a longer list would never fill."""
    lists = []

    async def body(stream):
        async for events in stream.take(1000):
            lists.append(len(events))
            assert stream.current_event is None

    await desk.open(body, fetch_max_records=10)
    await desk.rig.produce_events(33)
    await desk.fold()
    assert lists == [33]


async def test_only_the_failing_event_of_a_list_is_refused(desk, totals):
    """If the agent raises on a list, its events are given again one at a time."""

    async def body(stream):
        async for events in stream.take_events(4, within=1.0):
            for event in events:
                totals["t"] += 1
                if event.message.offset == 2:
                    raise ValueError("this one")

    await desk.open(body, totals)
    await desk.rig.produce_events(4)
    await desk.fold()
    await desk.commit()
    assert desk.letters() == [(2, "agent_failed", 1)]
    assert desk.table(totals)["t"] == 3


async def test_a_body_that_does_not_read_is_refused(desk):
    """The engine would call it again without end."""

    async def body(stream):
        return

    await desk.open(body)
    await desk.rig.produce_events(1)
    await desk.fold()
    assert desk.partition.failure.code == "agent_failed"


async def test_an_error_before_the_first_event_stops_the_partition(desk):
    """No event caused the error, so none may become a dead letter."""

    async def body(stream):
        raise KeyError("no such setting")
        yield

    await desk.open(body)
    await desk.rig.produce_events(1)
    await desk.fold()
    assert desk.partition.failure.code == "agent_failed"
    assert not desk.partition.has_changes()


async def test_a_body_that_leaves_its_loop_completes_its_event(desk, totals):
    """The body is called again with the next event."""

    async def body(stream):
        async for _event in stream:
            totals["t"] += 1
            break

    await desk.open(body, totals)
    await desk.rig.produce_events(3)
    await desk.fold()
    assert desk.table(totals)["t"] == 3


async def test_a_bad_deploy_stops_before_its_dead_letters_are_committed(desk):
    """Most recent records fail, so the cause is the agent and not the records."""

    async def body(stream):
        async for _event in stream:
            raise ValueError("a bug")

    await desk.open(body, poison_min_records=10, poison_min_tenants=1)
    await desk.rig.produce_events(20)
    await desk.fold()
    await settle(200)
    assert desk.partition.failure.code == "poison_storm"
    assert not desk.partition.has_changes()


async def test_a_shed_order_cancels_the_event_in_progress(desk, totals):
    """Records below the end of the order are skipped and counted; the agent goes on after them."""

    async def body(stream):
        async for event in stream.events():
            totals["t"] += 1
            if event.message.offset < 3:
                await asyncio.Event().wait()

    await desk.open(body, totals)
    await desk.rig.produce_events(5)
    await desk.fold()
    order = ShedOrder(
        id="o", epoch=0, until=3, last_offset=2,
        last_append_ms=desk.rig.contents(SOURCE).timestamps[2],
        before_ms=0, actor="eve", reason="old", at_ms=0,
    )  # fmt: skip
    desk.partition.shed(order)
    await settle()
    await desk.commit()
    counters = desk.partition.progress.counters()
    assert (counters.read, counters.applied, counters.shed) == (5, 2, 3)
    assert desk.table(totals)["t"] == 2


async def test_yielded_values_go_to_the_sinks_with_their_event(desk):
    """A send to a sink is part of the event: an exception drops it."""

    async def body(stream):
        async for event in stream.events():
            yield event.message.offset
            if event.message.offset == 1:
                raise ValueError("after the yield")

    def sink(value):
        desk.partition.emit(OutboundRecord(OUT, None, b"%d" % value))

    await desk.open(body, sinks=(sink,))
    await desk.rig.produce_events(3)
    await desk.fold()
    await desk.commit()
    assert desk.rig.contents(OUT).values == [b"0", b"2"]


async def test_items_enumerate_and_filter_of_a_stream(desk):
    """items, enumerate and filter work as documented; events that filter removes are complete."""
    seen = []

    async def body(stream):
        wanted = stream.filter(lambda event: event.value > 1)
        async for number, event in wanted.enumerate():
            seen.append((number, event.value))
            if number == 1:
                break
        async for key, event in stream.items():
            seen.append((key, event.value))

    await desk.open(body)
    for value in (0.0, 2.0, 1.0, 3.0, 4.0, 0.5):
        await desk.rig.produce_events(1, value=value)
    await desk.fold()
    await desk.commit()
    assert seen == [(0, 2.0), (1, 3.0), ("t", 4.0)]
    assert desk.committed()[1].next_offset == 6


async def test_events_of_two_intervals_of_the_load_complete_together(desk, totals):
    """Each partition of a stream agent meets the end of such an interval every five minutes. It stopped there,
    `engine_failed`, and met the same records again after a restart.
    """

    async def body(stream):
        async for _event in stream:
            totals["t"] += 1

    await desk.open(body, totals)
    await desk.rig.produce_events(2)
    await desk.rig.clock.advance(SLOT_MS / 1000)
    await desk.rig.produce_events(3)
    await desk.fold()
    await desk.commit()
    assert desk.committed()[1].next_offset == 5
    assert desk.partition.history.intake.run.events == 3
