"""Recount of a log, and the parts of a log that it cannot judge."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from agents.app import MODEL_METRICS
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import VirtualClock
from streams.core.types import TopicConfig, TopicPartition
from streams.operate.audit.minute_recount import MinuteRecount, recount_minutes
from streams.operate.audit.reference_decoder import Rules
from streams.operate.audit.snapshot import LedgerRow, PartitionSnapshot, ShedRange
from streams.operate.audit.windows import (
    StoredWindow,
    compare_counters,
    compare_dead,
    compare_windows,
)

RULES = Rules(
    source=MODEL_METRICS, future_max_ms=60_000, late_max_ms=3_600_000, dedupe_ttl_ms=120_000
)
TP = TopicPartition("t", 0)
FOREVER_S = 1 << 31


class Log:
    """A source log with one partition, initially one event a second."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.broker = MemoryBroker(self.clock)
        self.sent = 0

    async def create(self) -> None:
        admin = await self.broker.admin()
        config = {"message.timestamp.type": "LogAppendTime"}
        await admin.create_topics([TopicConfig(TP.topic, 1, 1, config)])

    async def produce(self, count: int, name: str | None = None) -> None:
        producer = self.broker.plain_producer()
        for _ in range(count):
            event = {
                "event_id": name or f"e{self.sent}",
                "tenant_id": "t",
                "model_id": "m",
                "metric": "x",
                "ts": self.clock.now_ms(),
                "value": 2.0,
            }
            await producer.send(TP.topic, b"t", json.dumps(event).encode())
            self.sent += 1
            await self.clock.advance(1.0)

    async def spoil(self) -> None:
        await self.broker.plain_producer().send(TP.topic, b"t", b"{")
        self.sent += 1

    async def trim(self, offset: int) -> None:
        await (await self.broker.admin()).delete_records({TP: offset})

    def books(self, *rows: LedgerRow, begin: int = 0) -> PartitionSnapshot:
        return PartitionSnapshot(
            partition=0,
            begin_offset=begin,
            end_offset=self.sent,
            committed_offset=self.sent,
            committed_epoch=0,
            ledger=rows or (row(0, 0, self.sent),),
        )

    async def recount(self, books: PartitionSnapshot, from_s: int = 0) -> MinuteRecount:
        reader = await self.broker.reader()
        return await recount_minutes(reader, TP.topic, books, RULES, from_s, FOREVER_S)


def row(epoch: int, start: int, next_offset: int, **counts: int) -> LedgerRow:
    read = next_offset - start
    said = {"applied": read, "duplicates": 0, "dead": 0, "gaps": 0, **counts}
    return LedgerRow(
        partition=0, epoch=epoch, next_offset=next_offset, read=read, dead_by_code={}, **said
    )


@pytest.fixture
async def log() -> Log:
    made = Log()
    await made.create()
    return made


async def test_a_whole_log_is_counted_by_verdict_and_window(log: Log):
    """The plain case: values by window, invalid records by offset."""
    await log.produce(70)
    await log.produce(1, name="e3")
    await log.spoil()
    counted = await log.recount(log.books())
    # e3 came again with another time: a conflict.
    assert counted.counts[0] == {"applied": 70, "dead": 2}
    assert sum(tally.n for tally in counted.windows.values()) == 70
    assert sum(tally.s1 for tally in counted.windows.values()) == 140.0
    assert counted.dead == {70, 71}
    assert counted.whole == {0}


async def test_deleted_records_limit_the_judged_range(log: Log):
    """A record after the deleted ones may repeat one of them, and a window may lack them: the audit
    judges neither until dedupe TTL and future bound have passed.
    """
    await log.produce(400)
    await log.trim(100)
    counted = await log.recount(log.books(begin=100))
    first_s = log.clock.now_ms() // 1000 - 300
    assert counted.judged_from_s >= first_s + 180
    assert min(key[3] for key in counted.windows) >= first_s + 180
    assert counted.whole == set()
    assert counted.certain[0][0] >= 220
    assert any("offsets 0 to 99 are gone" in note for note in counted.notes)


async def test_an_unreadable_batch_limits_the_judged_range(log: Log):
    """The batch was readable under another leader and its records were counted. The audit omits
    them with a note, instead of an error or a false loss.
    """
    await log.produce(400)
    whole = await log.recount(log.books())
    log.broker.log(TP).spoil(100, 110)
    counted = await log.recount(log.books())
    assert counted.judged_from_s < FOREVER_S
    assert counted.windows
    assert counted.windows == {
        k: v for k, v in whole.windows.items() if k[3] >= counted.judged_from_s
    }
    assert counted.whole == set()
    assert counted.certain[0][0] >= 230
    assert any("offsets 100 to 109 cannot be opened" in note for note in counted.notes)


async def test_no_window_is_judged_if_the_last_batch_is_unreadable(log: Log):
    """Every window may lack its records."""
    await log.produce(10)
    log.broker.log(TP).spoil(5, 10)
    counted = await log.recount(log.books())
    assert (counted.windows, counted.certain, counted.whole) == ({}, {}, set())
    assert counted.judged_from_s == FOREVER_S


async def test_a_range_is_found_by_bisection_and_reads_little_before_it(log: Log):
    """An audit of an hour must not read a week of records."""
    await log.produce(1000)
    from_s = log.clock.now_ms() // 1000 - 200
    counted = await log.recount(log.books(), from_s)
    assert counted.records <= 200 + 180 + 2
    whole = await log.recount(log.books())
    assert counted.windows == {k: v for k, v in whole.windows.items() if k[3] >= from_s}


async def test_a_reset_clears_the_seen_ids(log: Log):
    """Each epoch starts with empty tables, as in processing."""
    await log.produce(5)
    producer = log.broker.plain_producer()
    batch = await (await log.broker.reader()).read(TP, 2, 1)
    await producer.send(TP.topic, b"t", batch.values[0])
    log.sent += 1
    same = await log.recount(log.books())
    assert same.counts[0]["duplicate"] == 1
    apart = await log.recount(log.books(row(0, 0, 5), row(1, 5, 6)))
    assert apart.counts[1] == {"applied": 1}
    assert {key[4] for key in apart.windows} == {0, 1}


async def test_epochs_of_a_topic_that_was_recreated_are_not_read_again(log: Log):
    """Their offsets belong to the records of the old topic."""
    await log.produce(5)
    counted = await log.recount(log.books(row(0, 0, 50), row(1, 0, 5)))
    assert set(counted.counts) == {1}
    assert len(counted.notes) == 1


async def test_windows_counters_and_dead_letters_are_compared_with_the_log(log: Log):
    """A deep audit compares with the log itself, not only the sources with each other."""
    await log.produce(3)
    await log.spoil()
    counted = await log.recount(log.books())
    ((key, tally),) = counted.windows.items()

    def stored(**changes: Any) -> StoredWindow:
        base = {"n": 3, "s1": 6.0, "lo": 2.0, "hi": 2.0, "sketched": 3, "rows": [(0, 2, 3, 0)]}
        return StoredWindow(**{**base, **changes})

    def checks(found: Any) -> list[str]:
        return [finding.check for finding in found.findings]

    assert tally.n == 3
    assert checks(compare_windows("t", counted, {key: stored()})) == []
    for change, check in (
        ({"n": 2, "sketched": 2}, "window: count"),
        ({"s1": 6.0001}, "window: sum"),
        ({"s1": float("nan")}, "window: sum"),
        ({"hi": 3.0}, "window: min and max"),
        ({"sketched": 4}, "window: sketch"),
    ):
        assert checks(compare_windows("t", counted, {key: stored(**change)})) == [check]
    assert checks(compare_windows("t", counted, {})) == ["window: exists"]
    stranger = (*key[:3], key[3] + 60, 0)
    found = compare_windows("t", counted, {key: stored(), stranger: stored()})
    assert checks(found) == ["window: exists"]
    ahead = compare_windows("t", counted, {key: stored(rows=[(0, 9, 5, 0)], n=5)})
    assert (checks(ahead), ahead.in_motion) == ([], 1)

    assert list(compare_counters("t", counted, [row(0, 0, 4, applied=3, dead=1)])) == []
    (wrong,) = compare_counters("t", counted, [row(0, 0, 4, applied=4, dead=1)])
    assert (wrong.expected, wrong.found) == ("3", "4")
    assert list(compare_dead("t", counted, ["t/0/3"])) == []
    assert [f.place.offsets for f in compare_dead("t", counted, ["t/0/1"])] == ["1", "3"]


async def test_a_shed_record_is_neither_applied_nor_a_duplicate(log: Log):
    """It counts as shed, and a later repeat of it is the first of its id."""
    await log.produce(2)
    await log.produce(1, "twice")
    await log.produce(2)
    await log.produce(1, "twice")
    shed = ShedRange(
        partition=0, epoch=0, first=1, until=4, order="o", actor="ann", reason="old", at_ms=0
    )
    counted = await log.recount(replace(log.books(), shed=(shed,)))
    assert counted.counts[0] == {"applied": 3, "shed": 3}
    assert sum(tally.n for tally in counted.windows.values()) == 3
    said = row(0, 0, 6, applied=3, shed=3)
    assert list(compare_counters("t", counted, [said])) == []
    [finding, *_] = compare_counters("t", counted, [replace(said, applied=4, shed=2)])
    assert "applied" in finding.check


async def test_dead_letters_of_a_later_epoch_are_found_by_their_names(log: Log):
    """The name contains the epoch, since a reset may read other records at the same offsets."""
    await log.produce(2)
    await log.spoil()
    await log.spoil()
    books = log.books(row(0, 0, 3), row(1, 3, 4))
    counted = await log.recount(books)
    assert list(compare_dead("t", counted, ["t/0/2", "t/0/3/e1"])) == []
    assert [f.place.offsets for f in compare_dead("t", counted, ["t/0/2", "t/0/3"])] == ["3"]
    assert [f.place.offsets for f in compare_dead("t", counted, ["t/0/2/e1", "t/0/3/e1"])] == ["2"]
