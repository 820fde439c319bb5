"""Messages of a topic on the memory broker: newest, by range, and live."""

from __future__ import annotations

import asyncio
import random

import pytest

from agents.app import app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.opened import opened
from streams.core.clock import SystemClock
from streams.core.errors import UnknownTopic
from streams.core.topics.topology import Topology
from streams.core.types import TopicConfig, TopicPartition
from streams.engine.decode.codecs import Limits
from streams.operate.messages.condition import Condition
from streams.operate.messages.log_bound import LogBound
from streams.operate.messages.message_filter import MessageFilter
from streams.operate.messages.selection import TopicMessages

SOON_S = 30.0
TOPIC = "model.metrics"
NOW_MS = 1_760_000_000_000


@pytest.fixture
async def broker():
    made = MemoryBroker(SystemClock())
    admin = await made.admin()
    config = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([TopicConfig(TOPIC, 3, 1, config), TopicConfig("other", 1, 1, {})])
    return made


async def write(broker, number, *, tenant="acme", topic=TOPIC, headers=()):
    value = b'{"tenant_id":"%b","model_id":"m","metric":"x","value":%d,"ts":%d}' % (
        *(tenant.encode(), number, NOW_MS),
    )
    producer = broker.plain_producer()
    await producer.start()
    await (await producer.send(topic, tenant.encode(), value, headers))
    await producer.close()


def placed(broker, plan):
    """Records with these (partition, time, number), in the log's order."""
    from streams.connect.broker.memory.log import LogEntry

    for partition, at_ms, number in plan:
        value = b'{"value":%d}' % number
        broker.log(TopicPartition(TOPIC, partition)).append(LogEntry(at_ms, None, value, ()))


async def reading(broker, topic=TOPIC, topology: Topology = app.topology, chosen=None, **more):
    reader = await broker.reader()
    limits = Limits(300, 604_800)
    made = TopicMessages(
        topic, chosen or MessageFilter(), topology, limits, SystemClock(), reader, **more
    )
    async with opened(broker.admin()) as admin:
        return made, await made.ranges(await admin.describe_topics())


async def newest(broker, count, **more):
    made, ranges = await reading(broker, **more)
    return await made.newest(ranges, count, made.clock.monotonic() + SOON_S)


async def searched(broker, **more):
    made, ranges = await reading(broker, **more)
    found = []
    deadline_s = made.clock.monotonic() + SOON_S
    await made.search(ranges, 1000, deadline_s, found.extend, lambda offsets: None)
    return found


@pytest.mark.parametrize("seed", range(8))
async def test_the_newest_of_all_partitions_come_first(broker, seed):
    """Newest first across partitions of different rates, whatever the read sizes."""
    rng = random.Random(seed)
    plan, at_ms = [], NOW_MS
    for number in range(rng.randrange(1, 3000)):
        at_ms += rng.randrange(1, 5)
        plan.append((rng.choice((0, 0, 0, 0, 0, 1, 2)), at_ms, number))
    placed(broker, plan)
    wanted = [number for _, _, number in reversed(plan)][:17]
    assert [one.event["value"] for one in await newest(broker, 17)] == wanted
    rare = Condition.parse(f"value < {len(plan) // 3}")
    found = await newest(broker, 5, chosen=MessageFilter(where=rare))
    assert [one.event["value"] for one in found] == [
        number for _, _, number in reversed(plan) if number < len(plan) // 3
    ][:5]


async def test_filters_are_combined(broker):
    """Tenant, key, fields and bytes, decoded by the topic's codec."""
    for number in range(6):
        await write(broker, number, tenant=("acme", "bob")[number % 2])
    both = MessageFilter(tenant="bob", where=Condition.parse("value >= 3"))
    assert [one.event["value"] for one in await searched(broker, chosen=both)] == [3, 5]
    made, ranges = await reading(broker, chosen=both)
    assert len(ranges) == 1  # > the key of this topic is the tenant
    assert len(await searched(broker, chosen=MessageFilter(key=b"acme"))) == 3
    assert len(await searched(broker, chosen=MessageFilter(text='"value":4'))) == 1
    assert await searched(broker, chosen=MessageFilter(owner="eve")) == []
    assert made.searched


async def test_a_message_that_the_codec_refuses_is_shown_with_the_reason(broker):
    """Users look for invalid messages, so they must be shown."""
    await write(broker, 1, topic=TOPIC)
    producer = broker.plain_producer()
    await (await producer.send(TOPIC, b"acme", b'{"tenant_id":"acme"', ()))
    found = await searched(broker)
    assert [bool(one.refusal) for one in found] in ([True, True], [False, True])
    assert found[1].refusal.startswith("invalid_json")
    assert (found[1].event, found[1].tenant) == (None, "acme")


async def test_a_tenant_may_be_a_number(broker):
    """As in the events that agents get."""
    producer = broker.plain_producer()
    for value in (b'{"tenant_id":7}', b'{"tenant_id":null}', b'{"tenant_id":"7"}', b"[7]"):
        await (await producer.send("other", b"k", value, ()))
    found = await searched(broker, topic="other", chosen=MessageFilter(tenant="7"))
    assert [one.offset for one in found] == [0, 2]


async def test_an_undeclared_topic_is_shown_as_json_or_bytes(broker):
    producer = broker.plain_producer()
    for value in (b'{"a":1}', b"\xff\x00", None):
        await (await producer.send("other", b"k", value, (("h", b"\x01"),)))
    first, second, third = [one.fields() for one in await searched(broker, topic="other")]
    assert (first["value"], first["headers"]) == ({"a": 1}, [["h", "\x01"]])
    assert second["value"] == "base64:/wA="
    assert third["value"] is None


async def test_offsets_and_times_bound_a_search(broker):
    placed(broker, [(0, NOW_MS + number, number) for number in range(10)])
    found = await searched(broker, partition=0, start=LogBound(offset=3), until=LogBound(offset=5))
    assert [one.offset for one in found] == [3, 4]
    with pytest.raises(UnknownTopic):
        await reading(broker, partition=7)
    with pytest.raises(UnknownTopic, match="topics list"):
        await reading(broker, topic="nowhere")


async def test_an_unreadable_batch_is_skipped_and_named(broker):
    placed(broker, [(0, NOW_MS + number, number) for number in range(10)])
    broker.log(TopicPartition(TOPIC, 0)).spoil(4, 6)
    made, ranges = await reading(broker)
    found = []
    await made.search(ranges, 100, made.clock.monotonic() + SOON_S, found.extend, lambda n: None)
    assert [one.offset for one in found] == [0, 1, 2, 3, 6, 7, 8, 9]
    assert made.searched[0].unreadable == [(4, 6)]
    made, ranges = await reading(broker)
    newer = await made.newest(ranges, 8, made.clock.monotonic() + SOON_S)
    assert [one.offset for one in newer] == [9, 8, 7, 6, 3, 2, 1, 0]
    assert made.searched[0].unreadable == [(4, 6)]


async def test_what_retention_leaves_of_a_piece_is_shown(broker):
    """The tail of a partition was empty where retention deleted the start of its newest piece."""
    placed(broker, [(0, NOW_MS + number, number) for number in range(1000)])
    made, ranges = await reading(broker)
    broker.log(TopicPartition(TOPIC, 0)).trim(600)
    found = await made.newest(ranges, 1000, made.clock.monotonic() + SOON_S)
    assert [one.offset for one in found] == [*range(999, 599, -1)]
    assert made.searched[0].trimmed


async def test_the_limit_ends_a_search_before_its_range(broker):
    placed(broker, [(0, NOW_MS + number, number) for number in range(10)])
    made, ranges = await reading(broker)
    found = []
    await made.search(ranges, 4, made.clock.monotonic() + SOON_S, found.extend, lambda n: None)
    assert [one.offset for one in found] == [0, 1, 2, 3]
    assert (made.late, made.full) == (False, True)


async def test_a_read_that_ends_at_its_deadline_says_so(broker):
    placed(broker, [(0, NOW_MS, 0)])
    made, ranges = await reading(broker)
    assert await made.newest(ranges, 3, made.clock.monotonic()) == []
    assert made.late


async def test_new_messages_follow(broker):
    """They follow the newest ones without a repeat or a gap."""
    await write(broker, 1)
    made, ranges = await reading(broker, chosen=MessageFilter(where=Condition.parse("value < 9")))
    await write(broker, 9)
    await write(broker, 2)
    damaged = []
    live = made.follow(ranges, lambda *batch: damaged.append(batch))
    async with asyncio.timeout(SOON_S):
        assert [one.event["value"] for one in await anext(live)] == [2]
        await write(broker, 3, tenant="bob")
        [third] = await anext(live)
        assert third.event["value"] == 3
        lost = third.offset + 1
        await write(broker, 4, tenant="bob")
        broker.log(third.tp).spoil(lost, lost + 1)
        await write(broker, 5, tenant="bob")
        assert [one.event["value"] for one in await anext(live)] == [5]
    await live.aclose()
    assert damaged == [(third.tp, lost, lost + 1)]
