"""Consumer groups: assignment, seeking, pausing and rebalancing, on every broker."""

from __future__ import annotations

import asyncio

import pytest

from streams.core.errors import BrokerUnavailable, MembershipConflict, UnknownTopic
from streams.core.types import CommittedOffset, OffsetOutOfRange, TopicPartition, Watermarks
from streams.engine.runtime.identity import member_id


async def test_a_new_group_is_assigned_all_partitions_and_reads_from_its_seek(world):
    """The engine chooses to start at the log start; it does not rely on an error or a reset policy."""
    topic = await world.topic(partitions=2)
    producer = await world.plain()
    await (await producer.send_many(topic, [b"%d" % n for n in range(50)], [b"v"] * 50))
    consumer, recorder = await world.member(world.name("group"), [topic], "one")
    both = frozenset({TopicPartition(topic, 0), TopicPartition(topic, 1)})
    assert recorder.assigned == [both]
    assert recorder.revoked == []
    assert consumer.assignment() == both
    ends = {tp: (await world.read(tp)).end for tp in both}
    read = {tp: await world.poll(consumer, tp, until=ends[tp]) for tp in sorted(both)}
    assert sum(ends.values()) == 50
    assert all(batch.start == 0 for tp in both for batch in read[tp][:1])


async def test_batches_are_contiguous_and_skip_undelivered_records(world):
    """C1 folds a batch only if it starts where the previous one ended."""
    tp = TopicPartition(await world.topic(), 0)
    writer = await world.writer()
    await world.write(writer, tp, b"a")
    await world.write(writer, tp, b"b", b"c", commit=False)
    await world.write(writer, tp, b"d")
    await world.write(writer, tp, b"e", commit=False)
    consumer, _ = await world.member(world.name("group"), [tp.topic], "one")
    batches = await world.poll(consumer, tp, until=9)
    assert [value for batch in batches for value in batch.values] == [b"a", b"d"]
    assert [offset for batch in batches for offset in batch.offsets] == [0, 5]
    assert batches[0].start == 0
    assert [b.start for b in batches[1:]] == [b.end for b in batches[:-1]]
    assert batches[-1].end == 9


async def test_watermarks_distinguish_an_open_transaction_from_the_end(world):
    """A partition is idle if its position equals both watermarks."""
    tp = TopicPartition(await world.topic(), 0)
    await world.write(await world.writer(), tp, b"a")
    await world.stable(tp, 2)
    consumer, _ = await world.member(world.name("group"), [tp.topic], "one")
    open_writer = await world.writer()
    await open_writer.begin()
    await world.send(open_writer, tp, b"open")

    def marks():
        return consumer.watermarks(tp) or Watermarks(-1, -1, 0.0)

    def known(last_stable, high, position):
        return (*marks()[:2], consumer.position(tp)) == (last_stable, high, position)

    await world.poll_until([consumer], lambda: known(2, 3, 2))
    answered_at = marks().answered_at
    await world.poll_until([consumer], lambda: marks().answered_at > answered_at)
    await open_writer.commit()
    await world.poll_until([consumer], lambda: known(4, 4, 4))


async def test_max_records_bounds_one_call_over_all_partitions(world):
    """The result of one call has to fit the engine's memory."""
    topic = await world.topic(partitions=3)
    producer = await world.plain()
    await (await producer.send_many(topic, [b"%d" % n for n in range(300)], [b"v"] * 300))
    consumer, _ = await world.member(world.name("group"), [topic], "one")
    total = 0
    async with asyncio.timeout(200):
        while total < 300:
            fetched = await consumer.getmany(0.2, 17)
            assert sum(len(batch) for batch in fetched.values()) <= 17
            total += sum(len(batch) for batch in fetched.values())


async def test_columns_have_one_length(world):
    """The fold iterates over the columns in parallel."""
    topic = await world.topic()
    tp = TopicPartition(topic, 0)
    producer = await world.plain()
    await (await producer.send(topic, b"k", b"v", (("dia.schema", b"1"),)))
    await (await producer.send(topic, None, b"no key"))
    await (await producer.send_many(topic, [b"k"] * 10, [b"%d" % n for n in range(10)]))
    consumer, _ = await world.member(world.name("group"), [topic], "one")
    batches = await world.poll(consumer, tp, until=12)
    for batch in batches:
        columns = (batch.offsets, batch.timestamps, batch.keys, batch.values, batch.headers)
        assert {len(column) for column in columns} == {len(batch)}
    assert [k for b in batches for k in b.keys] == [b"k", None] + [b"k"] * 10
    assert [h for b in batches for h in b.headers] == [(("dia.schema", b"1"),)] + [()] * 11
    assert [v for b in batches for v in b.values][2:] == [b"%d" % n for n in range(10)]


async def test_a_partition_yields_nothing_before_its_seek(world):
    """The chain decides where reading starts; the committed offset only serves lag displays."""
    topic = await world.topic()
    tp = TopicPartition(topic, 0)
    group = world.name("group")
    writer = await world.writer()
    await world.write(writer, tp, b"a", b"b")
    await writer.begin()
    await writer.send_offsets({tp: CommittedOffset(1, "")}, group)
    await writer.commit()
    consumer, _ = await world.member(group, [topic], "one", offset=None)
    for _ in range(5):
        assert await consumer.getmany(0.2, 100) == {}
    assert consumer.position(tp) is None
    consumer.seek(tp, 0)
    batches = await world.poll(consumer, tp, until=3)
    assert [v for batch in batches for v in batch.values] == [b"a", b"b"]


async def test_paused_partitions_yield_nothing_and_resume_where_they_were(world):
    """Back-pressure stops one partition, not the consumer."""
    topic = await world.topic(partitions=2)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    writer = await world.writer()
    consumer, _ = await world.member(world.name("group"), [topic], "one")
    consumer.pause(first)
    await world.write(writer, first, b"1")
    await world.write(writer, second, b"2")
    batches = await world.poll(consumer, second, until=2)
    assert [v for batch in batches for v in batch.values] == [b"2"]
    assert consumer.position(first) == 0
    consumer.resume(first)
    batches = await world.poll(consumer, first, until=2)
    assert [v for batch in batches for v in batch.values] == [b"1"]


async def test_a_backward_seek_rereads(world):
    """C1 seeks to fold_offset when a batch is not contiguous."""
    tp = TopicPartition(await world.topic(), 0)
    await world.write(await world.writer(), tp, b"a", b"b")
    consumer, _ = await world.member(world.name("group"), [tp.topic], "one")
    await world.poll(consumer, tp, until=3)
    consumer.seek(tp, 1)
    assert consumer.position(tp) == 1
    batches = await world.poll(consumer, tp, until=3)
    assert batches[0].start == 1
    assert [v for batch in batches for v in batch.values] == [b"b"]


async def test_an_offset_error_is_raised_once_and_spares_the_other_partitions(world):
    """One truncated partition must not stop the others of the consumer."""
    topic = await world.topic(partitions=2)
    bad, good = TopicPartition(topic, 0), TopicPartition(topic, 1)
    writer = await world.writer()
    await world.write(writer, bad, b"x")
    await world.write(writer, good, b"y")
    consumer, _ = await world.member(world.name("group"), [topic], "one")
    await world.poll(consumer, bad, until=2)
    consumer.seek(bad, 1000)
    with pytest.raises(OffsetOutOfRange) as raised:
        await world.poll_until([consumer], lambda: False)
    assert (raised.value.tp, raised.value.offset) == (bad, 1000)
    await world.write(writer, good, b"z")
    await world.poll(consumer, good, until=4)
    consumer.seek(bad, 0)
    batches = await world.poll(consumer, bad, until=2)
    assert [v for batch in batches for v in batch.values] == [b"x"]


async def test_two_members_share_and_the_survivor_takes_over(world):
    """Rebalances are eager: all partitions are revoked, then assigned again."""
    topic = await world.topic(partitions=4)
    group = world.name("group")
    everything = frozenset(TopicPartition(topic, n) for n in range(4))
    first, told_first = await world.member(group, [topic], "first")
    second, told_second = world.consumer(group, [topic], "")
    joining = asyncio.ensure_future(second.start(told_second))
    await world.poll_until([first], lambda: len(told_first.assigned) > 1 and joining.done())
    await joining
    assert told_first.revoked[0] == everything
    assert told_first.assigned[-1] | told_second.assigned[-1] == everything
    assert not told_first.assigned[-1] & told_second.assigned[-1]
    assert len(told_first.assigned[-1]) == len(told_second.assigned[-1]) == 2
    await second.stop()
    await world.poll_until([first], lambda: told_first.assigned[-1] == everything)


async def test_a_static_member_that_restarts_causes_no_rebalance(world):
    """A rolling restart must not stop the whole group for each process."""
    topic = await world.topic(partitions=2)
    group = world.name("group")
    first, told_first = await world.member(group, [topic], "first")
    second, told_second = world.consumer(group, [topic], "second")
    joining = asyncio.ensure_future(second.start(told_second))
    await world.poll_until([first], lambda: len(told_first.assigned) > 1 and joining.done())
    await joining
    rebalances = len(told_first.assigned)
    await second.stop()
    _, told_again = await world.member(group, [topic], "second")
    assert told_again.assigned == [told_second.assigned[-1]]
    for _ in range(5):
        await first.getmany(0.2, 10)
    assert len(told_first.assigned) == rebalances


async def test_two_members_with_one_instance_id_conflict(world):
    """Otherwise they would evict each other repeatedly."""
    topic = await world.topic()
    group = world.name("group")
    first, _ = await world.member(group, [topic], "same")
    second, listener = world.consumer(group, [topic], "same")
    await second.start(listener)
    with pytest.raises(MembershipConflict, match="same"):
        await world.poll_until([first, second], lambda: False)


async def test_an_unknown_topic_is_named_at_start(world):
    """A worker that waits for a misspelt topic would look healthy."""
    consumer, recorder = world.consumer(world.name("group"), [world.name("absent")], "one")
    with pytest.raises(UnknownTopic, match="dia topics apply"):
        await consumer.start(recorder)


async def test_stopping_leaves_no_task_behind(world):
    """A service that restarts its consumer must not accumulate tasks."""
    topic = await world.topic()
    before = asyncio.all_tasks()
    consumer, _ = await world.member(world.name("group"), [topic], "one")
    await consumer.getmany(0.1, 10)
    await consumer.stop()
    await consumer.stop()
    assert asyncio.all_tasks() <= before


async def test_a_static_member_that_returns_with_more_topics_keeps_its_old_partitions(world):
    """The coordinator gives a known instance id its old assignment, whatever topics it subscribes
    to: the engine must not reuse the id with another subscription."""
    one, two = await world.topic(partitions=2), await world.topic(partitions=2)
    group = world.name("group")
    first, _ = await world.member(group, [one], "same")
    await first.stop()
    second, listener = await world.member(group, [one, two], "same")
    for _ in range(5):
        await second.getmany(0.2, 10)
    assert listener.assigned == [frozenset({TopicPartition(one, 0), TopicPartition(one, 1)})]


async def test_a_static_member_that_returns_with_fewer_topics_is_refused(world):
    """Its old assignment contains partitions that it did not subscribe to: a client that ignores
    that would wait endlessly for its first assignment."""
    one, two = await world.topic(partitions=2), await world.topic(partitions=2)
    group = world.name("group")
    first, _ = await world.member(group, [one, two], "same")
    await first.stop()
    second, listener = world.consumer(group, [one], "same")
    with pytest.raises(BrokerUnavailable):
        await second.start(listener)


async def test_a_changed_set_of_topics_under_another_id_gets_all_of_them(world):
    """A worker with other agents takes another id: once the session of the old id ends, it owns
    every partition of its topics."""
    one, two = await world.topic(partitions=2), await world.topic(partitions=2)
    group = world.name("group")
    first, _ = await world.member(group, [one], member_id("slot", [one]))
    await first.stop()
    both = [one, two]
    second, listener = world.consumer(group, both, member_id("slot", both))
    async with asyncio.timeout(200):
        await second.start(listener)
    assert listener.assigned[-1] == {TopicPartition(topic, n) for topic in both for n in range(2)}


async def test_members_of_different_topics_share_a_group(world):
    """During a rolling deploy of a changed set of agents, old and new workers are in one group:
    each partition belongs to a member that reads its topic."""
    one, two = await world.topic(partitions=2), await world.topic(partitions=2)
    group = world.name("group")
    first, told_first = await world.member(group, [one], "first")
    second, told_second = world.consumer(group, [one, two], "second")
    joining = asyncio.ensure_future(second.start(told_second))
    await world.poll_until([first], lambda: len(told_first.assigned) > 1 and joining.done())
    await joining
    assert {tp.topic for tp in told_first.assigned[-1]} <= {one}
    assert not told_first.assigned[-1] & told_second.assigned[-1]
    assert told_first.assigned[-1] | told_second.assigned[-1] == {
        TopicPartition(topic, n) for topic in (one, two) for n in range(2)
    }
