"""Features that only the memory broker has: a virtual clock, and faults on demand."""

from __future__ import annotations

import asyncio

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.faults import (
    COORDINATOR_REFUSALS,
    TRANSACTION_REFUSALS,
    SpoiledRead,
)
from streams.core.clock import VirtualClock, settle
from streams.core.errors import BrokerUnavailable, CommitInDoubt, MembershipConflict, ProducerFenced
from streams.core.types import CommittedOffset, OutboundRecord, TopicConfig, TopicPartition

TOPIC = "topic"
FIRST, SECOND = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
BOTH = frozenset({FIRST, SECOND})


class Seeker:
    """A listener that seeks each partition to offset 0 and records the calls."""

    def __init__(self, consumer):
        self.consumer = consumer
        self.calls = []

    async def on_revoked(self, partitions):
        self.calls.append(("revoked", partitions))

    async def on_assigned(self, partitions):
        self.calls.append(("assigned", partitions))
        for tp in partitions:
            self.consumer.seek(tp, 0)


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
async def broker(clock):
    broker = MemoryBroker(clock, session_timeout_s=10.0, transaction_timeout_s=30.0)
    await (await broker.admin()).create_topics([TopicConfig(TOPIC, 2, 1, {})])
    return broker


async def started(broker, transactional_id="id"):
    producer = broker.transactional_producer(transactional_id)
    await producer.start()
    return producer


async def joined(broker, instance_id):
    consumer = broker.consumer("group", [TOPIC], instance_id)
    seeker = Seeker(consumer)
    await consumer.start(seeker)
    return consumer, seeker


async def send(producer, value=b"v", tp=FIRST):
    return await (await producer.send(OutboundRecord(tp, b"k", value)))


async def values(broker, tp=FIRST):
    return (await (await broker.reader()).read(tp, 0)).values


async def test_an_abandoned_transaction_is_aborted_by_the_clock(broker, clock):
    """Otherwise a dead owner would hold back every reader."""
    dead = await started(broker)
    await dead.begin()
    await send(dead)
    await dead.close()
    reader = await broker.reader()
    assert await reader.last_stable_offset(FIRST) == 0
    await clock.advance(29.9)
    assert await reader.last_stable_offset(FIRST) == 0
    await clock.advance(0.1)
    assert await reader.last_stable_offset(FIRST) == 2
    assert await values(broker) == []


async def test_a_transaction_past_its_timeout_is_fenced(broker, clock):
    """After a pause beyond the timeout, half a transaction must not be committed."""
    slow = await started(broker)
    await slow.begin()
    await send(slow)
    await clock.advance(30)
    with pytest.raises(ProducerFenced):
        await slow.commit()


async def test_a_waiting_consumer_wakes_when_a_transaction_times_out(broker, clock):
    """The last stable offset moves then, and the records after it become visible."""
    dead = await started(broker, "dead")
    await dead.begin()
    await send(dead, b"dead")
    alive = await started(broker, "alive")
    await alive.begin()
    await send(alive, b"alive")
    await alive.commit()
    consumer, _ = await joined(broker, "one")
    fetch = asyncio.ensure_future(consumer.getmany(60, 10))
    await settle()
    assert not fetch.done()
    await clock.advance(31)
    assert (await fetch)[FIRST].values == [b"alive"]
    await consumer.stop()


async def test_a_silent_member_is_replaced_after_its_session(broker, clock):
    """A frozen process keeps its partitions for one session timeout."""
    frozen, seen_by_frozen = await joined(broker, "frozen")
    frozen.mute()
    other = broker.consumer("group", [TOPIC], "other")
    seen_by_other = Seeker(other)
    joining = asyncio.ensure_future(other.start(seen_by_other))
    await settle()
    await clock.advance(9.9)
    assert not joining.done()
    await clock.advance(0.1)
    await joining
    assert seen_by_other.calls == [("assigned", BOTH)]
    assert frozen.assignment() == BOTH
    assert seen_by_frozen.calls == [("assigned", BOTH)]
    frozen.unmute()
    await settle()
    assert seen_by_frozen.calls[1] == ("revoked", BOTH)
    assert len(frozen.assignment()) == len(other.assignment()) == 1
    await frozen.stop()
    await other.stop()


async def test_a_member_may_be_evicted_once_in_a_session(broker, clock):
    """A takeover during a rolling restart is not a conflict of two processes."""
    old, _ = await joined(broker, "same")
    old.mute()
    new, _ = await joined(broker, "same")
    await clock.advance(11)
    old.unmute()
    new.mute()
    await settle()
    assert await old.getmany(0, 1) == {}
    await old.stop()
    await new.stop()


async def test_two_live_holders_of_one_id_end_in_a_conflict_for_one(broker):
    """The process that holds the id must survive."""
    first, _ = await joined(broker, "same")
    second, _ = await joined(broker, "same")
    await settle()
    conflicts = 0
    for consumer in (first, second):
        try:
            await consumer.getmany(0, 1)
        except MembershipConflict:
            conflicts += 1
        await consumer.stop()
    assert conflicts == 1


async def test_a_forced_rebalance_revokes_and_assigns(broker):
    """Rebalances come from outside; the engine must accept any number of them."""
    consumer, seeker = await joined(broker, "one")
    broker.rebalance("group")
    await settle()
    assert [kind for kind, _ in seeker.calls] == ["assigned", "revoked", "assigned"]
    await consumer.stop()


async def test_callbacks_can_be_delivered_twice(broker):
    """A listener must accept the same assignment twice."""
    broker.faults.duplicate_callbacks()
    consumer, seeker = await joined(broker, "one")
    assert seeker.calls == [("assigned", BOTH)] * 2
    await consumer.stop()


@pytest.mark.parametrize("applied", [True, False])
async def test_the_answer_to_a_commit_can_be_lost(broker, applied):
    """The log, not the answer, decides whether a commit took place."""
    broker.faults.doubt_commit(applied=applied, nth=2)
    producer = await started(broker)
    for value in (b"first", b"second"):
        await producer.begin()
        await send(producer, value)
        if value == b"first":
            await producer.commit()
    with pytest.raises(CommitInDoubt):
        await producer.commit()
    successor = await started(broker)
    assert await values(broker) == [b"first", b"second"] if applied else [b"first"]
    await successor.close()


async def test_one_send_can_be_refused(broker):
    """The awaitable raises the refusal, and the commit fails."""
    broker.faults.refuse_send(nth=2)
    producer = await started(broker)
    await producer.begin()
    assert await send(producer) == 0
    with pytest.raises(CommitInDoubt, match="refused"):
        await send(producer)
    with pytest.raises(CommitInDoubt):
        await producer.commit()
    await started(broker)
    assert await values(broker) == []


async def test_a_delayed_call_waits_on_the_clock(broker, clock):
    """Slow commits test the deadlines."""
    broker.faults.delay("commit", 5.0)
    producer = await started(broker)
    await producer.begin()
    await send(producer)
    commit = asyncio.ensure_future(producer.commit())
    await settle()
    await clock.advance(4.9)
    assert not commit.done()
    await clock.advance(0.1)
    await commit
    assert await values(broker) == [b"v"]


async def test_healing_cancels_pending_effects_of_a_delayed_call(broker, clock):
    """After a simulated history has healed, an earlier fault must not end its last process."""
    struck = []

    async def effect():
        struck.append(True)

    broker.faults.delay("read", 5.0)
    broker.faults.before("read", effect)
    reader = await broker.reader()
    reading = asyncio.ensure_future(reader.last_stable_offset(FIRST))
    await settle()
    broker.faults.heal()
    await clock.advance(5.0)
    assert (await reading, struck) == (0, [])


@pytest.mark.parametrize("code", [*COORDINATOR_REFUSALS])
async def test_a_refused_request_for_offsets_is_retried_or_raised(broker, clock, code):
    """As with the real client: a transient code is retried, another is an error."""
    admin, producer = await broker.admin(), await started(broker)
    await producer.begin()
    await producer.send_offsets({FIRST: CommittedOffset(7, "")}, "g")
    await producer.commit()
    broker.faults.refuse_offsets(code, 5.0)
    asking = asyncio.ensure_future(admin.committed("g", [FIRST]))
    await settle()
    await clock.advance(6.0)
    if COORDINATOR_REFUSALS[code]:
        assert await asking == {FIRST: CommittedOffset(7, "")}
    else:
        with pytest.raises(BrokerUnavailable, match=code):
            await asking


async def test_a_trim_that_the_leader_refuses_deletes_nothing(broker):
    """The leader's end may lag behind the committed offset."""
    producer, admin = await started(broker), await broker.admin()
    await producer.begin()
    await send(producer)
    await producer.commit()
    broker.faults.refuse_trims()
    with pytest.raises(BrokerUnavailable):
        await admin.delete_records({FIRST: 1})
    assert await values(broker) == [b"v"]
    await admin.delete_records({FIRST: 1})
    assert broker.log(FIRST).start_offset == 1


async def test_a_log_that_lost_its_tail_reuses_offsets(broker):
    """After an unclean election the new leader appends at the end of its own log."""
    producer = await started(broker)
    for _ in range(2):
        await producer.begin()
        await send(producer)
        await producer.commit()
    broker.log(FIRST).lose_tail(2)
    assert broker.log(FIRST).last_stable_offset == 2
    await producer.begin()
    await send(producer)
    await producer.commit()
    assert await values(broker) == [b"v", b"v"]


async def test_an_empty_read_below_the_end_waits_and_fails(broker, clock):
    """Otherwise an empty batch would count as the end."""
    producer = await started(broker)
    await producer.begin()
    await send(producer)
    await producer.commit()
    broker.faults.spoil_reads(SpoiledRead(records_max=0), times=1000, of=FIRST)
    reader = await broker.reader()
    reading = asyncio.ensure_future(reader.read(FIRST, 0))
    await settle()
    await clock.advance(60.0)
    with pytest.raises(BrokerUnavailable, match="stable up to 2"):
        await reading


async def test_duplicate_markers_take_offsets_and_change_nothing_else(broker):
    """Kafka may write a marker again after a failover."""
    broker.faults.duplicate_markers()
    producer = await started(broker)
    await producer.begin()
    await send(producer)
    await producer.commit()
    reader = await broker.reader()
    assert await reader.last_stable_offset(FIRST) == 3
    assert await values(broker) == [b"v"]


async def test_a_broker_that_is_down_refuses_calls_and_looks_silent_to_consumers(broker, clock):
    """The engine must see the same outage as with the real client."""
    consumer, _ = await joined(broker, "one")
    producer = await started(broker)
    await producer.begin()
    await send(producer)
    await producer.commit()
    broker.faults.down()
    reader = await broker.reader()
    with pytest.raises(BrokerUnavailable):
        await reader.read(FIRST, 0)
    with pytest.raises(BrokerUnavailable):
        await broker.transactional_producer("other").start()
    fetch = asyncio.ensure_future(consumer.getmany(1, 10))
    await settle()
    await clock.advance(1)
    assert await fetch == {}
    fetch = asyncio.ensure_future(consumer.getmany(60, 10))
    await settle()
    broker.faults.up()
    assert (await fetch)[FIRST].values == [b"v"]
    await producer.begin()
    await consumer.stop()


async def test_a_commit_while_the_broker_is_down_is_in_doubt(broker):
    """The outcome is unknown, and the producer cannot be used again."""
    producer = await started(broker)
    await producer.begin()
    await send(producer)
    broker.faults.down()
    with pytest.raises(CommitInDoubt):
        await producer.commit()
    broker.faults.up()
    with pytest.raises(CommitInDoubt):
        await producer.abort()


async def test_append_time_follows_the_brokers_clock_even_when_it_steps(broker, clock):
    """LogAppendTime follows the broker's clock, also backwards."""
    admin = await broker.admin()
    await admin.alter_config(TOPIC, {"message.timestamp.type": "LogAppendTime"})
    producer = broker.plain_producer()
    await producer.send_many(TOPIC, [b"k"], [b"v"])
    before = clock.now_ms()
    clock.jump_wall(-5000)
    await producer.send_many(TOPIC, [b"k"], [b"v"])
    reader = await broker.reader()
    stamps = [t for tp in BOTH for t in (await reader.read(tp, 0)).timestamps]
    assert stamps == [before, before - 5000]


async def test_a_late_marker_hides_its_records_and_holds_the_next_transaction(broker, clock):
    """A commit returns when the coordinator has decided, before every partition has its marker."""
    first = await started(broker)
    await first.begin()
    await send(first)
    await send(first, tp=SECOND)
    await first.send_offsets({SECOND: CommittedOffset(7, "")}, "group")
    broker.replicas.delay_markers(3.0, 0.0, 5.0)
    await first.commit()
    admin, reader = await broker.admin(), await broker.reader()
    assert await reader.last_stable_offset(FIRST) == 0
    assert await values(broker, SECOND) == [b"v"]
    assert await admin.committed("group", [SECOND], stable=False) == {}
    again = asyncio.ensure_future(first.begin())
    successor = asyncio.ensure_future(started(broker))
    await clock.advance(3.0)
    assert await values(broker) == [b"v"]
    assert not again.done()
    assert not successor.done()
    await clock.advance(2.0)
    await again
    await successor
    assert (await admin.committed("group", [SECOND]))[SECOND].offset == 7


async def test_a_new_leader_gives_less_until_its_followers_caught_up(broker, clock):
    """No record is lost: reads end early, and the end of the log is unknown meanwhile."""
    producer = broker.plain_producer()
    for _ in range(6):
        await (await producer.send(TOPIC, b"k", b"v"))
    tp = next(tp for tp in BOTH if broker.log(tp).high_watermark == 6)
    broker.replicas.elect(broker.log(tp), behind=2, for_s=4.0)
    reader = await broker.reader()
    assert (await reader.read(tp, 0)).end == 4
    assert (await reader.read(tp, 5)).end == 5
    asked = asyncio.ensure_future(reader.last_stable_offset(tp))
    await clock.advance(1.0)
    assert not asked.done()
    for _ in range(4):
        await clock.advance(1.0)
    assert await asked == 6
    assert (await reader.read(tp, 4)).end == 6


@pytest.mark.parametrize("code", TRANSACTION_REFUSALS)
@pytest.mark.parametrize("applied", [True, False])
async def test_a_coordinator_that_moves_refuses_a_commit(broker, clock, code, applied):
    """A transient code is retried. Any other ends the producer, and the outcome of the transaction
    is unknown.
    """
    producer = await started(broker)
    await producer.begin()
    await send(producer)
    broker.faults.refuse_steps("commit", code, applied=applied)
    commit = asyncio.ensure_future(producer.commit())
    await settle()
    await clock.advance(1.0)
    raised = TRANSACTION_REFUSALS[code]
    if raised is None:
        await commit
    else:
        with pytest.raises(raised):
            await commit
    found = await started(broker) and await values(broker)
    assert found == ([b"v"] if applied or raised is None else [])


async def test_a_value_that_is_no_bytes_is_refused(broker):
    """As by aiokafka: a test on the memory broker would not show what stops each commit in Kafka."""
    producer = await started(broker)
    await producer.begin()
    with pytest.raises(TypeError, match="of type str, not bytes"):
        await (await producer.send(OutboundRecord(FIRST, b"k", "text")))
