"""Steps C5 and A5: which effects are handed over, which are pending again, and which answers count."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from agents.app import app
from streams.connect.cache.shared import CacheKey
from streams.connect.sinks.delivery import Delivery
from streams.connect.sinks.rollup_queue import RollUpQueue
from streams.core.clock import settle
from streams.core.degradation.degradation import Degradation
from streams.core.errors import ShardUnavailable
from streams.core.tracing.tracer import UntracedPartition
from streams.engine.agents.agent import Change
from streams.engine.runtime.commit.commit import commit
from streams.engine.runtime.commit.handover import Handover
from streams.engine.runtime.effects.cache_writes import CacheWrites
from streams.engine.runtime.effects.sink_writes import SinkWrites
from tests.unit.engine.runtime.conftest import CHANGELOG

DAY_MS = 86_400_000
ROWS_WAIT_S, FACTS_WAIT_S = 2.0, 5.0
"""As docs/protocols/outbox.md says."""


@pytest.fixture
async def handover(rig):
    """The targets of the rig's shards, running."""
    delivery = Delivery(rig.shards, rig.clock, rig.metrics, batch_rows=100, queue_rows=100)
    roll_ups = RollUpQueue(rig.shards, rig.clock, rig.metrics, interval_s=2.0)
    caches = CacheWrites(rig.cache, rig.clock, rig.metrics)
    tasks = [asyncio.ensure_future(target.run()) for target in (delivery, roll_ups, caches)]
    degradation = Degradation(rig.clock, rig.metrics)
    sinks = SinkWrites((), rig.settings, rig.clock, rig.metrics)
    queues = (delivery, roll_ups, rig.clock, rig.metrics, caches, sinks)
    yield Handover(app.targets, rig.shards, *queues, degradation)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _commit(rig, handover):
    """Steps C2 to C5, and time for the shards to answer."""
    prepared = rig.partition.prepare(handover.room())
    await commit(rig.partition, prepared, rig.opened.producer, rig.clock, rig.metrics, 4.0)
    handover.committed(rig.partition, prepared)
    await settle()


async def _until_settled(rig, handover, rounds=60):
    for _ in range(rounds):
        last = rig.partition.progress.last_append_ms
        rig.partition.idle_until(last + round(rig.clock.monotonic() * 1000) + DAY_MS)
        if rig.partition.has_changes():
            await _commit(rig, handover)
        else:
            handover.emit(rig.partition, rig.partition.take_emissions(handover.room()))
        await rig.clock.advance(1.0)
        if rig.partition.settled:
            return True
    return False


async def test_rows_ledger_and_roll_ups_arrive_and_leave_the_outbox(rig, handover):
    """A settled partition has an empty outbox, and the tables agree."""
    await rig.open()
    await rig.produce_events(5)
    await rig.produce(b"{")
    await rig.fold()
    assert await _until_settled(rig, handover)
    assert [row["n"] for row in rig.shards.m1_rows()] == [5]
    assert [row["n"] for row in rig.shards.rows("h1")] == [5]
    assert [row["n"] for row in rig.shards.rows("d1")] == [5]
    (ledger,) = rig.shards.rows("ledger")
    assert (ledger["read"], ledger["applied"], ledger["dead"]) == (6, 5, 1)
    assert [row["off"] for row in rig.shards.rows("dead_letters")] == [5]


async def test_pending_effects_are_sent_again_after_a_restart(rig, handover):
    """The answer or the row may have been lost with the process."""
    for shard in rig.shards.faults:
        shard.down = True
    await rig.open()
    await rig.produce_events(2)
    await rig.produce(b"{")
    await rig.fold()
    await _commit(rig, handover)
    handover.forget(rig.partition)
    for shard in rig.shards.faults:
        shard.down = False
    await rig.clock.advance(60)
    assert rig.shards.rows("ledger") == rig.shards.rows("dead_letters") == []
    await rig.open()
    handover.repeat(rig.partition)
    assert await _until_settled(rig, handover)
    assert len(rig.shards.rows("ledger")) == len(rig.shards.rows("dead_letters")) == 1


def simulation(key):
    """A row of `simulations`, without the columns that the commit adds."""
    row = dict.fromkeys(("request_id", "model", "policy", "scenario", "status"), "x")
    row |= dict.fromkeys(("error_code", "error_message", "summary"), "")
    row |= dict.fromkeys(("priority", "trials", "repeated", "part", "off"), 1)
    row |= dict.fromkeys(("requested", "started", "finished"), 1_700_000_000_000)
    return {**row, "tenant": "t", "idempotency_key": key}


async def test_facts_of_a_commit_reach_their_shards_even_after_a_restart(rig, handover):
    """The state holds them in its outbox like every effect, with the version of their commit."""
    await rig.open()
    await rig.produce_events(1)
    await rig.fold()
    for number in range(20):
        rig.partition.fact("simulations", simulation(f"k{number}"))
    assert rig.shards.rows("simulations") == []
    await rig.commit()
    await rig.open()
    handover.repeat(rig.partition)
    assert await _until_settled(rig, handover)
    rows = rig.shards.rows("simulations")
    assert sorted(row["idempotency_key"] for row in rows) == sorted(f"k{n}" for n in range(20))
    assert {row["ver"] for row in rows} == {1}
    assert not rig.partition.outbox


async def test_many_facts_of_one_commit_fit_the_changelog(rig, handover):
    """One entry above the record size would be refused at every attempt."""
    await rig.open()
    await rig.produce_events(1)
    await rig.fold()
    for number in range(30):
        rig.partition.fact("simulations", simulation(f"k{number}") | {"summary": "x" * 60_000})
    await _commit(rig, handover)
    assert max(len(value or b"") for value in rig.contents(CHANGELOG).values) < 900 << 10
    assert await _until_settled(rig, handover)
    assert len(rig.shards.rows("simulations")) == 30


async def test_only_the_newest_change_of_a_name_waits_for_an_absent_cache(rig, handover):
    """While Redis is away, the outbox keeps one entry for each name, also after a restart."""
    await rig.open()
    rig.cache.stop()
    for number in range(3):
        await rig.produce_events(1)
        await rig.fold()
        rig.partition.change(Change("model", "n", b"%d" % number, (b"event %d" % number,)))
        await _commit(rig, handover)
    handover.forget(rig.partition)
    await rig.open()
    handover.repeat(rig.partition)
    await rig.clock.advance(60)
    assert len(rig.partition.outbox) >= 1
    rig.cache.restart()
    assert await _until_settled(rig, handover)
    assert (await rig.cache.read(CacheKey("model", "n")))[:3] == (3, 3, b"+2")
    assert rig.cache.told == [b"event 2"]


async def test_the_cache_is_not_changed_before_the_commit(rig, handover):
    """A cache must not hold values of a commit that fails."""
    await rig.open()
    await rig.produce_events(1)
    await rig.fold()
    rig.partition.change(Change("model", "n", b"v", ()))
    rig.partition.prepare([100, 100])
    await rig.clock.advance(10)
    assert (await rig.cache.read(CacheKey("model", "n")))[:3] == (None, None, None)


async def test_callbacks_of_a_commit_are_called_after_it_and_one_error_stops_no_other(
    rig, handover
):
    """They answer requests whose records the commit settled, each of another client."""
    await rig.open()
    await rig.produce_events(1)
    await rig.fold()
    prepared, called = rig.partition.prepare(handover.room()), []

    def fails():
        called.append(rig.partition.state.link.seq)
        raise ValueError("the client is gone")

    prepared.told.extend([fails, lambda: called.append("next")])
    await commit(rig.partition, prepared, rig.opened.producer, rig.clock, rig.metrics, 4.0)
    assert called == []
    handover.committed(rig.partition, prepared)
    assert called == [prepared.link.seq, "next"]


async def test_an_answer_after_the_partition_was_dropped_is_ignored(rig, handover):
    """The successor holds the effect in its own outbox; an early delete would lose it."""
    for shard in rig.shards.faults:
        shard.slow_s = 5.0
    await rig.open()
    await rig.commit_events(1)
    await rig.produce_events(1)
    await rig.fold()
    await _commit(rig, handover)
    dropped = rig.partition
    handover.forget(dropped)
    await rig.clock.advance(20)
    assert not dropped.outbox.changed
    assert dropped.outbox


@pytest.mark.parametrize("refusing", [{"h1"}, {"d1"}, {"h1", "d1"}])
async def test_an_old_window_refused_by_one_table_waits_for_the_other(
    rig, handover, refusing, monkeypatch
):
    """Hours and days must both answer before the state is deleted: otherwise a crash in between
    would lose the rows that were not refused.
    """
    rig.settings = replace(rig.settings, m1_retention_days=8)
    await rig.open()
    old = rig.clock.now_ms() - 6 * DAY_MS - DAY_MS // 2
    await rig.produce_events(2, ts=old, model_id="good")
    await rig.produce_events(3, ts=old, model_id="bad")
    await rig.fold()
    away = {"d1"}
    insert = rig.shards.insert

    async def insert_unless_away(shard, chunks):
        if chunks[0].table in away:
            raise ShardUnavailable("this table is away")
        await insert(shard, chunks)

    monkeypatch.setattr(rig.shards, "insert", insert_unless_away)
    for shard in rig.shards.faults:
        shard.refuse = lambda table, row: table in refusing and row["model"] == "bad"
    assert not await _until_settled(rig, handover, rounds=10)
    assert len(rig.partition.windows) == 2
    away.clear()
    assert await _until_settled(rig, handover)
    for table in ("h1", "d1"):
        found = {row["model"]: row["n"] for row in rig.shards.rows(table)}
        assert found["good"] == 2
        assert ("bad" in found) == (table not in refusing)
    assert [row["stage"] for row in rig.shards.rows("dead_letters")] == ["sink"]
    assert rig.shards.m1_rows() == []


async def test_a_refused_row_becomes_one_dead_letter_with_the_row_in_it(rig, handover):
    """The row can be inserted from its dead letter after a fix."""
    await rig.open()
    await rig.produce_events(2, model_id="good")
    await rig.produce_events(3, model_id="bad")
    await rig.fold()
    for shard in rig.shards.faults:
        shard.refuse = lambda table, row: row.get("model") == "bad"
    assert await _until_settled(rig, handover)
    assert {row["model"]: row["n"] for row in rig.shards.m1_rows()} == {"good": 2}
    (value,) = rig.contents(rig.partition_dlq).values
    assert b'"model":"bad"' in value
    assert b'"n":3' in value


async def test_a_refused_fact_becomes_one_dead_letter_with_the_row_in_it(rig, handover):
    """The other rows are stored, the outbox is empty at the end, and a restart in between changes
    nothing.
    """
    await rig.open()
    await rig.produce_events(1)
    await rig.fold()
    for key in ("good", "bad"):
        rig.partition.fact("simulations", simulation(key))
    for shard in rig.shards.faults:
        shard.refuse = lambda table, row: row.get("idempotency_key") == "bad"
    prepared = rig.partition.prepare(handover.room())
    await commit(rig.partition, prepared, rig.opened.producer, rig.clock, rig.metrics, 4.0)
    handover.committed(rig.partition, prepared)
    await rig.clock.advance(1.0)
    handover.forget(rig.partition)
    await rig.open()
    handover.repeat(rig.partition)
    assert await _until_settled(rig, handover)
    assert [row["idempotency_key"] for row in rig.shards.rows("simulations")] == ["good"]
    (value,) = rig.contents(rig.partition_dlq).values
    letter = json.loads(value)
    assert (letter["table"], letter["idempotency_key"], letter["ver"]) == ("simulations", "bad", 1)
    (shown,) = rig.shards.rows("dead_letters")
    assert (shown["error_code"], shown["stage"], shown["off"]) == ("row_refused", "sink", 1)


async def test_of_refused_ledger_rows_only_the_last_becomes_a_dead_letter(rig, handover):
    """A later ledger row of the same partition supersedes the refused one."""
    await rig.open()
    for shard in rig.shards.faults:
        shard.refuse = lambda table, row: table == "ledger"
    for _ in range(3):
        await rig.produce_events(1)
        await rig.fold()
        await _commit(rig, handover)
    assert await _until_settled(rig, handover)
    (value,) = rig.contents(rig.partition_dlq).values
    assert (json.loads(value)["table"], json.loads(value)["read"]) == ("ledger", 3)


async def test_a_refused_row_of_dead_letters_makes_no_dead_letter(rig, handover):
    """The dead letter itself is in Kafka; a dead letter about its row would be refused like the
    row.
    """
    await rig.open()
    for shard in rig.shards.faults:
        shard.refuse = lambda table, row: table == "dead_letters"
    await rig.produce(b"{")
    await rig.fold()
    assert await _until_settled(rig, handover)
    assert rig.contents(rig.partition_dlq).values == [b"{"]
    assert rig.shards.rows("dead_letters") == []


@pytest.fixture
def inserts(rig, monkeypatch):
    """The monotonic time at which each insert began, and its table."""
    seen, insert = [], rig.shards.insert

    async def watched(shard, chunks):
        seen.append((rig.clock.monotonic(), chunks[0].table))
        await insert(shard, chunks)

    monkeypatch.setattr(rig.shards, "insert", watched)
    return seen


async def _closed_windows(rig, handover):
    """A commit that hands over the row of a closed window and the ledger row."""
    await rig.produce_events(1)
    await rig.fold()
    rig.partition.idle_until(rig.clock.now_ms() + DAY_MS)
    await _commit(rig, handover)


async def test_rows_of_a_backlog_are_batched_and_rows_at_rest_are_not(rig, handover, inserts):
    """Four commits of a backlog make one insert for each table; at rest each commit's rows are sent
    at once.
    """
    await rig.open()
    began = rig.clock.monotonic()
    for _ in range(4):
        await _closed_windows(rig, handover)
        await rig.clock.advance(0.4)
    assert inserts == []
    await rig.clock.advance(10)
    assert [(round(at - began, 1), table) for at, table in inserts] == [
        (ROWS_WAIT_S, "m1"),
        (FACTS_WAIT_S, "ledger"),
    ]
    rig.partition.backlog.reading = False
    inserts.clear()
    began = rig.clock.monotonic()
    await _closed_windows(rig, handover)
    assert sorted(inserts) == [(began, "ledger"), (began, "m1")]


async def test_waiting_rows_are_sent_when_the_partition_has_caught_up(rig, handover, inserts):
    """All folded records must become visible then, even if the next commit has no row for the
    shard.
    """
    await rig.open()
    await _closed_windows(rig, handover)
    await rig.clock.advance(0.5)
    assert inserts == []
    rig.partition.backlog.reading = False
    handover.emit(rig.partition, [])
    await settle()
    assert {table for _, table in inserts} == {"m1", "ledger"}


async def test_rows_are_sent_at_once_when_the_outbox_is_full(rig, handover, inserts):
    """A partition at its bound would pause until the rows are acknowledged."""
    rig.settings = replace(rig.settings, max_unacked_bytes=1)
    await rig.open()
    await _closed_windows(rig, handover)
    await _closed_windows(rig, handover)
    assert {table for _, table in inserts} == {"m1", "ledger"}


async def test_pending_rows_are_sent_at_once_after_a_restart(rig, handover, inserts):
    """The rows may have waited in the worker that died."""
    await rig.open()
    await _closed_windows(rig, handover)
    handover.forget(rig.partition)
    await rig.open()
    handover.repeat(rig.partition)
    await settle()
    assert [table for _, table in inserts] == ["ledger"]


async def test_an_hour_of_a_backlog_is_recomputed_when_all_of_it_is_folded(
    rig, handover, monkeypatch
):
    """The minutes of an hour are evicted one by one; a recomputation after each would read the
    earlier ones again.
    """
    recomputed, roll_up, hour_ms = [], rig.shards.roll_up, 3_600_000

    async def watched(shard, table, start_s):
        recomputed.append((table, start_s * 1000))
        await roll_up(shard, table, start_s)

    monkeypatch.setattr(rig.shards, "roll_up", watched)
    await rig.open()
    start_ms = rig.clock.now_ms() // hour_ms * hour_ms - 2 * hour_ms
    for minute in (0, 10, 20, 30, 40, 50, 59):
        await _minute(rig, handover, start_ms + minute * 60_000)
    assert recomputed == []
    await _minute(rig, handover, start_ms + 65 * 60_000, seconds=9)
    assert recomputed == [("h1", start_ms)]
    assert [row["n"] for row in rig.shards.rows("h1")] == [7]


async def _minute(rig, handover, ts, seconds=5):
    """One event, and time for rows, answers and recomputations."""
    await rig.produce_events(1, ts=ts)
    await rig.fold()
    for _ in range(seconds):
        if rig.partition.has_changes():
            await _commit(rig, handover)
        await rig.clock.advance(1)


async def test_hours_wait_no_longer_when_the_partition_has_caught_up(rig, handover, monkeypatch):
    """What a backlog may still change waits for it; after its end nothing comes, and the hour would be missing
    for 45 s more.
    """
    recomputed, roll_up = [], rig.shards.roll_up

    async def watched(shard, table, start_s):
        recomputed.append(table)
        await roll_up(shard, table, start_s)

    monkeypatch.setattr(rig.shards, "roll_up", watched)
    hour_ms = 3_600_000
    await rig.open()
    start_ms = rig.clock.now_ms() // hour_ms * hour_ms - 2 * hour_ms
    for minute in (0, 10):
        await _minute(rig, handover, start_ms + minute * 60_000)
    assert recomputed == []
    rig.partition.backlog.reading = False
    handover.emit(rig.partition, [])
    await rig.clock.advance(3)
    await settle()
    assert recomputed == ["h1", "d1"]


async def test_hours_of_a_dropped_partition_are_left_to_its_next_owner(rig, handover, monkeypatch):
    """It owes them until they are acknowledged; this process would ask for them for as long as it lives."""
    recomputed = []

    async def watched(shard, table, start_s):
        recomputed.append(table)

    monkeypatch.setattr(rig.shards, "roll_up", watched)
    hour_ms = 3_600_000
    await rig.open()
    start_ms = rig.clock.now_ms() // hour_ms * hour_ms - 2 * hour_ms
    for minute in (0, 10):
        await _minute(rig, handover, start_ms + minute * 60_000)
    handover.forget(rig.partition)
    await rig.clock.advance(120)
    await settle()
    assert recomputed == []


async def test_a_trace_learns_which_records_have_no_row_yet(rig, handover):
    """It keeps the entry of a sampled record until a row shows it."""
    told = []

    class Trail(UntracedPartition):
        def shown(self, oldest_unshown_ms):
            told.append(oldest_unshown_ms)

    await rig.open()
    handover.emit(rig.partition, [], Trail())
    assert told == [rig.partition.windows.oldest_unshown_ms]
