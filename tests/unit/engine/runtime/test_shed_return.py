"""Return of shed records: each comes back once, through every crash (X7-X9)."""

from __future__ import annotations

import pytest

from agents.app import MODEL_METRICS
from streams.core.clock import VirtualClock
from streams.core.errors import DiaError, ProducerFenced, RefusedBySafety
from streams.core.records import headers
from streams.core.types import CommittedOffset, TopicPartition
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.operate.replay.run.pace import ReplayPace
from streams.operate.replay.shed_return import ShedSpan, bring_back, returned_up_to

SOURCE = TopicPartition(MODEL_METRICS.name, 0)
NOW_MS = VirtualClock().now_ms()
SPAN = ShedSpan(order="o-1", tp=SOURCE, first=2, until=8, at_ms=NOW_MS)


@pytest.fixture
async def shed(rig):
    """Ten records, an hour old; offsets 2 to 7 were shed."""
    await rig.produce_events(10)
    await rig.clock.advance(3600.0)
    return rig


async def back(rig, span=SPAN):
    return await bring_back(
        rig.broker, rig.clock, span, ReplayPace(rig.clock, None), lambda count: None
    )


def order(until: int) -> ShedOrder:
    return ShedOrder(
        id="o-1", until=until, epoch=0, last_offset=-1, last_append_ms=0, before_ms=0, at_ms=0,
        actor="ann", reason="old",
    )  # fmt: skip


def copies(rig) -> list[tuple[str, bytes, int]]:
    """Of each copy: the original offset, the value and the first append time."""
    log = rig.contents(SOURCE)
    found = []
    for value, pairs in zip(log.values, log.headers, strict=True):
        said = dict(pairs)
        if headers.REPLAY_SHED in said:
            name = said[headers.REPLAY_SHED].decode()
            found.append((name, value, int(said[headers.REPLAY_APPEND_TS])))
    return found


def wanted(rig, first=2, until=8) -> list[tuple[str, bytes, int]]:
    log = rig.contents(SOURCE)
    places = zip(log.offsets, log.values, log.timestamps, strict=True)
    return [(f"{SOURCE}/{o}", value, at_ms) for o, value, at_ms in places if first <= o < until]


async def test_every_record_comes_back_once(shed):
    """With its bytes, its key and its first append time."""
    assert (await back(shed)).copied == 6
    assert copies(shed) == wanted(shed)
    assert (await back(shed)).copied == 0
    assert copies(shed) == wanted(shed)
    assert await returned_up_to(shed.broker, shed.clock, SPAN) == 8


@pytest.mark.parametrize("applied", [True, False])
async def test_a_lost_answer_sends_no_copy_twice(shed, applied):
    """The broker is asked whether the step was committed."""
    shed.broker.faults.doubt_commit(applied=applied)
    with pytest.raises(DiaError, match="goes on where it stands"):
        await back(shed)
    await back(shed)
    assert copies(shed) == wanted(shed)


async def test_a_second_run_fences_the_first(shed):
    """Two operators run the command at the same time: one run succeeds."""
    slow = shed.broker.transactional_producer(SPAN.name)
    await slow.start()
    await slow.begin()
    await slow.send_offsets({SOURCE: CommittedOffset(8, "")}, SPAN.name)
    await back(shed)
    with pytest.raises(ProducerFenced):
        await slow.commit()
    assert copies(shed) == wanted(shed)


@pytest.mark.parametrize("first", [0, 2])
async def test_a_partly_committed_step_is_repeated(shed, first):
    """Kafka committed the step's offset and aborted its copies, which would be lost."""
    span = ShedSpan(order="o-1", tp=SOURCE, first=first, until=8, at_ms=NOW_MS)
    shed.broker.faults.tear_commit(offsets_stand=True)
    with pytest.raises(DiaError, match="goes on where it stands"):
        await back(shed, span)
    assert copies(shed) == []
    assert (await back(shed, span)).copied == 8 - first
    assert copies(shed) == wanted(shed, first)


async def test_records_deleted_by_retention_are_reported(shed):
    """The command reports the records that cannot come back."""
    shed.broker.log(SOURCE).trim(5)
    found = await back(shed)
    assert (found.copied, found.gone, found.at) == (3, 3, 8)
    assert copies(shed) == wanted(shed, first=5)


async def test_without_the_committed_offset_no_record_is_sent_again(shed):
    """After a week brokers forget the group's offset: the records may all have been sent before."""
    await shed.clock.advance(7 * 86_400.0)
    with pytest.raises(RefusedBySafety, match="not sent again"):
        await back(shed)
    assert copies(shed) == []


async def test_a_copy_of_a_copy_keeps_its_first_append(shed):
    """A record that is shed and returned again keeps its age."""
    await back(shed)
    again = ShedSpan(order="o-2", tp=SOURCE, first=10, until=16, at_ms=NOW_MS)
    await shed.clock.advance(3600.0)
    await back(shed, again)
    twice = [one for one in copies(shed) if int(one[0].rsplit("/", 1)[1]) >= 10]
    assert [at_ms for _, _, at_ms in twice] == [at_ms for _, _, at_ms in wanted(shed)]


@pytest.mark.parametrize(("ahead_s", "event_s", "dead"), [(3_000, 0, 0), (-9e6, -9e6, 1)])
async def test_a_returned_record_is_not_judged_by_the_clock_of_its_producer(
    rig, ahead_s, event_s, dead
):
    """Of a topic switched to CreateTime: a clock ahead would make a dead letter of a good record,
    and a clock behind would pass an event of any time."""
    admin = await rig.broker.admin()
    await admin.alter_config(SOURCE.topic, {"message.timestamp.type": "CreateTime"})
    event = rig.event(ts=int(NOW_MS + event_s * 1000))
    rig.broker.append(SOURCE, b"t", event, append_ms=int(NOW_MS + ahead_s * 1000))
    await admin.alter_config(SOURCE.topic, {"message.timestamp.type": "LogAppendTime"})
    partition = await rig.open()
    partition.shed(order(until=1))
    await back(rig, ShedSpan(order="o-1", tp=SOURCE, first=0, until=1, at_ms=NOW_MS))
    await rig.fold()
    await rig.commit()
    counters = partition.state.link.counters
    assert (counters.shed, counters.applied, counters.dead) == (1, 1 - dead, dead)


async def test_the_engine_counts_the_returned_records(shed):
    """From the order to the return: the ledger counts each record once as applied."""
    partition = await shed.open()
    partition.shed(order(until=8))
    await shed.fold()
    await shed.commit()
    await back(shed, ShedSpan(order="o-1", tp=SOURCE, first=0, until=8, at_ms=NOW_MS))
    await shed.fold()
    await shed.commit()
    counters = partition.state.link.counters
    assert (counters.applied, counters.shed, counters.dead) == (10, 8, 0)
