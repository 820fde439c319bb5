"""An id in two partitions: each partition is consistent, so the audit compares them."""

from __future__ import annotations

import json

import pytest

from agents.app import MODEL_METRICS
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.partitioner import partition_of
from streams.core.clock import VirtualClock
from streams.core.types import TopicConfig, TopicPartition
from streams.operate.audit.placement import DoubledIds, finding, sample
from streams.operate.audit.reference_decoder import Rules
from streams.operate.audit.snapshot import LedgerRow, PartitionSnapshot, ShedRange

TTL_MS = 120_000
RULES = Rules(
    source=MODEL_METRICS, future_max_ms=60_000, late_max_ms=3_600_000, dedupe_ttl_ms=TTL_MS
)
KEY = next(b"t%d" % n for n in range(99) if partition_of(b"t%d" % n, 2) == 0)
HOME, ELSEWHERE = TopicPartition("t", 0), TopicPartition("t", 1)


@pytest.fixture
async def broker():
    made = MemoryBroker(VirtualClock())
    admin = await made.admin()
    config = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([TopicConfig("t", 2, 1, config)])
    return made


def append(broker, tp, event_id):
    now_ms = broker._cluster.clock.now_ms()
    event = {
        "event_id": event_id, "tenant_id": KEY.decode(), "model_id": "m", "metric": "x",
        "ts": now_ms, "value": 1.0,
    }  # fmt: skip
    entry = broker._cluster.entry(tp, KEY, json.dumps(event).encode(), (), None)
    broker.log(tp).append(entry)


def books(broker, tp, shed=()):
    end = broker.log(tp).high_watermark
    row = LedgerRow(
        partition=tp.partition, epoch=0, next_offset=end, read=end, applied=end, duplicates=0,
        dead=0, gaps=0, dead_by_code={},
    )  # fmt: skip
    return PartitionSnapshot(
        partition=tp.partition, begin_offset=0, end_offset=end, committed_offset=end,
        committed_epoch=0, ledger=(row,), shed=shed,
    )  # fmt: skip


async def doubled_of(broker):
    doubled = DoubledIds(frozenset({KEY}), RULES)
    for tp in (HOME, ELSEWHERE):
        await doubled.read(await broker.reader(), "t", books(broker, tp))
    return doubled


async def test_ids_that_came_through_two_partitioners_are_counted(broker):
    """With one partitioner each of them would be a duplicate."""
    for name in ("a", "b", "c"):
        append(broker, HOME, name)
    for name in ("b", "c", "d"):
        append(broker, ELSEWHERE, name)
    doubled = await doubled_of(broker)
    assert doubled.ids == 2
    found = finding("t", [KEY], doubled)
    assert found.found == "2 ids counted in two"
    assert "partitioner=murmur2_random" in found.meaning


async def test_an_id_that_is_used_again_after_its_ttl_is_no_repeat(broker):
    """Deduplication inside one partition has the same TTL."""
    append(broker, HOME, "a")
    await broker._cluster.clock.advance(TTL_MS / 1000 + 1)
    append(broker, ELSEWHERE, "a")
    assert (await doubled_of(broker)).ids == 0


async def test_shed_records_do_not_count(broker):
    """A shed record does not count as the first of its id."""
    append(broker, HOME, "a")
    append(broker, ELSEWHERE, "a")
    skipped = ShedRange(
        partition=1, epoch=0, first=0, until=1, order="o", actor="a", reason="r", at_ms=0
    )
    doubled = DoubledIds(frozenset({KEY}), RULES)
    await doubled.read(await broker.reader(), "t", books(broker, HOME))
    await doubled.read(await broker.reader(), "t", books(broker, ELSEWHERE, (skipped,)))
    assert doubled.ids == 0


async def test_a_sample_of_the_newest_records_names_partitions_with_foreign_keys(broker):
    """`dia doctor` needs neither a worker nor the whole log."""
    append(broker, HOME, "a")
    assert await sample(await broker.reader(), "t", 2) == {}
    append(broker, ELSEWHERE, "b")
    assert await sample(await broker.reader(), "t", 2) == {1: 1}
