"""A stream agent in one partition, step by step: what a commit holds, and what an error costs."""

from __future__ import annotations

import asyncio

import pytest

from streams.core.clock import settle
from streams.core.errors import BreakerOpen, BrokerUnavailable
from streams.core.records.bad_records import WrongType
from streams.core.types import OutboundRecord
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.engine.streams.declared_table import DeclaredTable
from tests.unit.engine.runtime.stream_desk import DLQ, OUT, SOURCE, StreamDesk


@pytest.fixture
def totals():
    return DeclaredTable("totals", default=float)


@pytest.fixture
async def desk(rig):
    made = StreamDesk(rig)
    yield made
    made.close()
    await settle()


async def test_a_commit_holds_no_half_event(desk, totals):
    """While the agent waits in the middle of its third event, two events are committed."""
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


async def test_an_exception_drops_what_its_event_wrote_and_sent(desk, totals):
    """The event is a dead letter with the traceback's end; its neighbours count."""
    number = 0

    async def body(stream):
        nonlocal number
        async for _event in stream:
            number += 1
            totals["t"] += 1
            stream.emit(OutboundRecord(OUT, b"k", b"%d" % number))
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


async def test_an_error_that_may_pass_is_tried_after_1_2_and_4_s(desk, totals):
    """Then the event is a dead letter that says how often it was tried; those behind it waited."""
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


async def test_an_error_that_passes_costs_nothing(desk, totals):
    """A ConnectionError of any client is one that may pass."""
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


async def test_what_is_away_is_waited_for_without_an_end(desk, totals):
    """Disposition PAUSE spends no attempt."""
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


async def test_the_code_of_a_bad_record_is_the_letters(desk):
    """An agent may refuse an event by an error of its own choice."""

    async def body(stream):
        async for _event in stream:
            raise WrongType("the account is unknown")

    await desk.open(body)
    await desk.rig.produce_events(1)
    await desk.fold()
    await desk.commit()
    assert desk.letters() == [(0, "wrong_type", 1)]


async def test_an_event_that_waits_too_long_is_a_dead_letter(desk, totals):
    """The agent is cancelled, what it staged is dropped, and the next event has its turn."""
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


async def test_a_body_that_swallows_its_cancellation_reaches_nothing(desk, totals):
    """It goes on writing and asking: neither may count, the event is dead-lettered already."""
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


async def test_a_bad_record_is_dead_lettered_in_its_turn(desk):
    """Earlier, a crash before the events in front of it would dead-letter it twice."""
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


async def test_a_partition_that_is_given_up_ends_its_agent(desk, totals):
    """What was staged is dropped with it; the next owner has the event again."""
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
    """`take` waits for its events or its time; none of a list is committed before all are done."""
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


async def test_a_list_longer_than_what_may_be_read_ahead_is_given_short(desk):
    """The partition pauses at its bound: a longer list would never be full."""
    lists = []

    async def body(stream):
        async for events in stream.take(1000):
            lists.append(len(events))
            assert stream.current_event is None

    await desk.open(body, fetch_max_records=10)
    await desk.rig.produce_events(33)
    await desk.fold()
    assert lists == [33]


async def test_of_a_list_only_the_event_that_fails_is_refused(desk, totals):
    """The events of a list that the agent raised on are given again one at a time."""

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
    """It would be called again for ever."""

    async def body(stream):
        return

    await desk.open(body)
    await desk.rig.produce_events(1)
    await desk.fold()
    assert desk.partition.failure.code == "agent_failed"


async def test_an_error_before_the_first_event_stops_the_partition(desk):
    """No event is to blame, so none may become a dead letter."""

    async def body(stream):
        raise KeyError("no such setting")
        yield

    await desk.open(body)
    await desk.rig.produce_events(1)
    await desk.fold()
    assert desk.partition.failure.code == "agent_failed"
    assert not desk.partition.has_changes()


async def test_a_body_that_breaks_off_completes_its_event(desk, totals):
    """It is called again, with the next one."""

    async def body(stream):
        async for _event in stream:
            totals["t"] += 1
            break

    await desk.open(body, totals)
    await desk.rig.produce_events(3)
    await desk.fold()
    assert desk.table(totals)["t"] == 3


async def test_a_bad_deploy_stops_before_its_letters_are_committed(desk):
    """As for any agent: most recent records fail, so it is not the records."""

    async def body(stream):
        async for _event in stream:
            raise ValueError("a bug")

    await desk.open(body, poison_min_records=10, poison_min_tenants=1)
    await desk.rig.produce_events(20)
    await desk.fold()
    await settle(200)
    assert desk.partition.failure.code == "poison_storm"
    assert not desk.partition.has_changes()


async def test_an_order_to_shed_gives_up_the_event_in_progress(desk, totals):
    """What lies below the order's end is skipped and counted; the agent goes on behind it."""

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


async def test_what_an_agent_yields_goes_to_its_sinks_with_the_event(desk):
    """A sink that sends is a part of the event: an exception drops that too."""

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


async def test_the_words_of_a_stream(desk):
    """items, enumerate and filter give what they say; events that are filtered out are complete."""
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
