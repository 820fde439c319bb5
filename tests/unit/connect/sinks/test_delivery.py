"""Delivery of rows: a shard delays only its own rows, and every wait is bounded."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from agents.app import app
from streams.connect.sinks.delivery import Delivery
from streams.connect.sinks.memory import MemoryShards
from streams.connect.sinks.waiting_rows import Job
from streams.core.clock import VirtualClock, settle
from streams.core.errors import ShardUnavailable
from streams.core.rows.built_in_tables import FactRows
from streams.core.telemetry.metrics import Metrics


class DeliveryHarness:
    """A delivery over two shards, and the answers it gave."""

    def __init__(self, batch_rows=10, queue_rows=20) -> None:
        self.clock = VirtualClock()
        self.shards = MemoryShards(2, self.clock)
        self.metrics = Metrics()
        self.delivery = Delivery(
            self.shards, self.clock, self.metrics, batch_rows=batch_rows, queue_rows=queue_rows
        )
        self.answers = []

    def submit(self, name, shard, numbers, table="ledger", owner=None, wait_s=0.0) -> None:
        columns = {
            "grp": [name] * len(numbers), "topic": ["t"] * len(numbers), "part": list(numbers),
            "ver": [1] * len(numbers), "epoch": [0] * len(numbers), "id": [f"{name}{n}" for n in numbers],
            "off": list(numbers),
        }  # fmt: skip
        self.delivery.submit(
            Job(
                owner if owner is not None else self,
                FactRows(self.shards.tables[table], shard, columns),
                lambda refused, reason: self.answers.append((name, list(refused))),
                wait_s=wait_s,
            )
        )

    async def advance(self, delta_s) -> None:
        """Start the submitted inserts and let time pass."""
        await settle()
        await self.clock.advance(delta_s)

    def stored(self, shard, table="ledger"):
        return sorted((row["grp"], row["part"]) for row in self.shards.rows(table, shard))


@pytest.fixture
async def harness():
    made = DeliveryHarness()
    task = asyncio.ensure_future(made.delivery.run())
    yield made
    assert not task.done(), task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_rows_are_stored_before_their_owner_gets_an_answer(harness):
    """The owner deletes the pending effect on this answer."""
    harness.shards.faults[0].slow_s = 3.0
    harness.submit("a", 0, [1, 2])
    await harness.advance(2.9)
    assert harness.answers == []
    await harness.advance(0.2)
    assert harness.answers == [("a", [])]
    assert harness.stored(0) == [("a", 1), ("a", 2)]
    assert harness.delivery.idle


@pytest.mark.parametrize("fault", ["down", "busy"])
async def test_a_failing_shard_delays_only_its_own_rows(harness, fault):
    """The insert is repeated until the shard accepts it."""
    setattr(harness.shards.faults[0], fault, True)
    harness.submit("a", 0, [1])
    harness.submit("b", 1, [1])
    await harness.advance(30)
    assert harness.answers == [("b", [])]
    assert harness.delivery.room() == [19, 20]
    setattr(harness.shards.faults[0], fault, False)
    await harness.advance(10)
    assert harness.answers == [("b", []), ("a", [])]


async def test_an_interrupted_insert_is_repeated_completely(harness):
    """A part of its rows may be stored: a repeated insert is idempotent."""
    harness.shards.faults[0].fail_after_rows = 1
    harness.submit("a", 0, [1, 2, 3])
    await harness.advance(5)
    assert harness.stored(0) == [("a", 1), ("a", 2), ("a", 3)]
    assert harness.answers == [("a", [])]


async def test_refused_rows_are_reported_to_their_owners(harness):
    """The row indexes of an insert cover several owners; each owner gets its own."""
    harness.shards.faults[0].slow_s = 1.0
    harness.submit("first", 0, [0])
    harness.shards.faults[0].refuse = lambda table, row: row["part"] in (5, 6, 9)
    for name, numbers in (("a", [4, 5, 6]), ("b", [7, 8]), ("c", [9])):
        harness.submit(name, 0, numbers)
    await harness.advance(5)
    assert harness.answers == [("first", []), ("a", [1, 2]), ("b", []), ("c", [0])]
    assert harness.stored(0) == [("a", 4), ("b", 7), ("b", 8), ("first", 0)]


async def test_commits_of_several_tables_share_inserts_and_the_tables_take_turns(
    harness, monkeypatch
):
    """ClickHouse accepts one table per insert, and memory is bounded in rows. Forty commits a
    second, each with a ledger row beside its windows, must not make eighty inserts.
    """
    seen = []
    insert = harness.shards.insert

    async def watched(shard, chunks):
        seen.append(({chunk.table for chunk in chunks}, sum(map(len, chunks))))
        await insert(shard, chunks)

    monkeypatch.setattr(harness.shards, "insert", watched)
    for number, table in enumerate(["ledger", "dead_letters"] * 3 + ["ledger"] * 2):
        harness.submit(f"j{number}", 0, range(4), table)
    await harness.advance(1)
    assert seen == [
        ({"ledger"}, 8), ({"dead_letters"}, 8), ({"ledger"}, 8), ({"dead_letters"}, 4), ({"ledger"}, 4),
    ]  # fmt: skip


async def test_a_job_larger_than_a_batch_goes_alone(harness):
    """It cannot be split and must not wait without end."""
    harness.submit("large", 0, range(25))
    assert harness.delivery.room() == [0, 20], "the room is never negative"
    await harness.advance(1)
    assert harness.answers == [("large", [])]


async def test_rows_of_a_forgotten_owner_are_neither_inserted_nor_answered(harness):
    """Their partition has another owner; a running insert may end without an answer."""
    owner = object()
    harness.shards.faults[0].down = True
    harness.submit("gone", 0, [1], owner=owner)
    await harness.advance(1)
    harness.submit("queued", 0, [2], owner=owner)
    harness.submit("kept", 0, [3])
    harness.delivery.forget(owner)
    harness.shards.faults[0].down = False
    await harness.advance(30)
    assert harness.answers == [("kept", [])]
    assert harness.stored(0) == [("kept", 3)]
    assert harness.delivery.idle


async def test_an_empty_job_is_answered_at_once(harness):
    """A count-down over shards must not wait for a shard without rows."""
    harness.submit("none", 0, [])
    assert harness.answers == [("none", [])]
    await harness.advance(1)
    assert harness.answers == [("none", [])], "answered exactly once"


async def test_an_insert_is_repeated_for_the_remaining_owners(harness):
    """One partition leaves while the shard is away, and its rows share an insert with another's. An
    early answer would make the other owner delete rows that no shard has.
    """
    leaving, staying = object(), object()
    harness.shards.faults[0].down = True
    harness.submit("leaving", 0, [1], owner=leaving)
    harness.submit("staying", 0, [2], owner=staying)
    await harness.advance(1)
    harness.delivery.forget(leaving)
    await harness.advance(1)
    assert harness.answers == []
    harness.shards.faults[0].down = False
    await harness.advance(10)
    assert harness.answers == [("staying", [])]
    assert ("staying", 2) in harness.stored(0)


async def test_outcomes_of_rows_are_counted(harness):
    """Dashboards and alerts use these metrics to see shards that refuse or fail."""
    harness.shards.faults[0].fail_after_rows = 0
    harness.shards.faults[0].slow_s = 0.5
    harness.shards.faults[0].refuse = lambda table, row: row["part"] in (1, 2)
    harness.submit("a", 0, [0, 1, 2, 3, 4])
    await harness.advance(5)
    value = harness.metrics.registry.get_sample_value
    assert value("dia_sink_rows_total", {"shard": "0", "table": "ledger"}) == 3
    assert value("dia_rows_refused_total", {"table": "ledger"}) == 2
    failed = {"shard": "0", "code": ShardUnavailable.code}
    assert value("dia_sink_errors_total", failed) == 1
    assert value("dia_sink_insert_seconds_count", {"shard": "0"}) == 1
    assert value("dia_sink_insert_seconds_sum", {"shard": "0"}) == pytest.approx(0.5)


async def test_jobs_that_fill_a_batch_exactly_go_in_one_insert(harness, monkeypatch):
    """Each insert makes a part on the shard, so a batch is filled up to its bound."""
    inserts = []
    insert = harness.shards.insert

    async def counted(shard, batches):
        inserts.append(sum(len(rows) for rows in batches))
        await insert(shard, batches)

    monkeypatch.setattr(harness.shards, "insert", counted)
    for name, count in (("a", 1), ("b", 9), ("c", 5)):
        harness.submit(name, 0, range(count))
    await harness.advance(1)
    assert inserts == [10, 5]


class Away:
    """Shards that never answer; records the times of the attempts."""

    def __init__(self, clock) -> None:
        self.count = 1
        self.clock = clock
        self.asked_at = []

    async def insert(self, shard, batches) -> None:
        self.asked_at.append(self.clock.monotonic())
        raise ShardUnavailable("away")


async def test_attempts_at_an_absent_shard_back_off_to_five_seconds():
    """Pauses start at 0.1 s and double, with half of each randomised: a shard that comes back is
    neither flooded nor left waiting.
    """
    pauses: list[list[float]] = [[] for _ in range(9)]
    for seed in range(40):
        clock = VirtualClock()
        shards = Away(clock)
        delivery = Delivery(shards, clock, Metrics(), batch_rows=10, queue_rows=20, seed=seed)
        running = asyncio.ensure_future(delivery.run())
        delivery.submit(
            Job(
                object(),
                FactRows(app.clickhouse_tables["ledger"], 0, {"grp": ["g"]}),
                lambda *_: None,
            )
        )
        for _ in range(10):
            await settle()
            await clock.advance((clock.next_deadline() or 0.0) - clock.monotonic())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for drawn, (one, next_one) in zip(pauses, pairwise(shards.asked_at), strict=False):
            drawn.append(next_one - one)
    for drawn, pause_s in zip(pauses, (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0), strict=True):
        assert 0.5 * pause_s <= min(drawn) < 0.6 * pause_s
        assert 1.4 * pause_s < max(drawn) <= 1.5 * pause_s


async def test_room_is_the_free_space_of_the_queue(harness):
    """Owners ask for room before they submit; a queue above its bound has 0."""
    assert (harness.delivery.room(), harness.delivery.idle) == ([20, 20], True)
    harness.submit("a", 0, range(15))
    assert (harness.delivery.room(), harness.delivery.idle) == ([5, 20], False)
    harness.submit("b", 0, range(10))
    assert harness.delivery.room() == [0, 20]
    await harness.advance(0)
    assert (harness.delivery.room(), harness.delivery.idle) == ([20, 20], True)


async def test_an_owner_that_leaves_frees_only_its_own_room(harness):
    """A lost partition, with or without rows here, takes no room of other owners."""
    leaving = object()
    harness.submit("leaving", 0, [1, 2, 3], owner=leaving)
    harness.submit("staying", 0, [4])
    harness.submit("staying", 1, [5])
    harness.delivery.forget(leaving)
    assert harness.delivery.room() == [19, 19]
    await harness.advance(1)
    assert sorted(harness.answers) == [("staying", []), ("staying", [])]
    assert (harness.stored(0), harness.stored(1)) == ([("staying", 4)], [("staying", 5)])


@pytest.fixture
def inserts(harness, monkeypatch):
    """Start time, table and rows of each insert."""
    seen, insert = [], harness.shards.insert

    async def watched(shard, chunks):
        seen.append((harness.clock.monotonic(), chunks[0].table, sum(map(len, chunks))))
        await insert(shard, chunks)

    monkeypatch.setattr(harness.shards, "insert", watched)
    return seen


async def test_rows_that_may_wait_share_an_insert(harness, inserts):
    """An insert costs a shard as much as thousands of rows, so a backlog is sent in few large ones.
    The oldest row waits no longer than its limit.
    """
    began = harness.clock.monotonic()
    for name in "abcd":
        harness.submit(name, 0, [1, 2], wait_s=2.0)
        await harness.advance(0.6)
    assert [(round(at - began, 1), rows) for at, _, rows in inserts] == [(2.0, 8)]
    assert [name for name, _ in harness.answers] == ["a", "b", "c", "d"]


async def test_rows_that_fill_an_insert_are_sent_at_once(harness, inserts):
    """A full insert gains nothing by waiting."""
    harness.submit("a", 0, range(6), wait_s=60.0)
    await harness.advance(1)
    assert inserts == []
    harness.submit("b", 0, range(4), wait_s=60.0)
    await harness.advance(0)
    assert [rows for _, _, rows in inserts] == [10]


async def test_urgent_rows_take_waiting_rows_along(harness, inserts):
    """A partition that has caught up shows its rows at once, whatever backlog other owners read."""
    harness.submit("waits", 0, [1], wait_s=60.0)
    harness.submit("another table", 0, [1], table="dead_letters", wait_s=60.0)
    await harness.advance(1)
    harness.submit("in a hurry", 0, [2])
    await harness.advance(0)
    assert [(table, rows) for _, table, rows in inserts] == [("ledger", 2)]
    await harness.advance(60)
    assert [name for name, _ in harness.answers] == ["waits", "in a hurry", "another table"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_workers_share_the_inserts_of_a_backlog(workers):
    """Workers split the rows and make inserts as large as a single worker: a second worker must not
    double the load of the shards.
    """
    harnesses = [DeliveryHarness() for _ in range(workers)]
    running = [asyncio.ensure_future(harness.delivery.run()) for harness in harnesses]
    for _ in range(20):
        for harness in harnesses:
            harness.submit("a", 0, range(10 // workers), wait_s=2.0)
            await harness.advance(1.0)
    inserts = "dia_sink_insert_seconds_count"
    counts = [
        harness.metrics.registry.get_sample_value(inserts, {"shard": "0"}) for harness in harnesses
    ]
    assert sum(counts) == 20
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_rows_of_an_owner_that_has_caught_up_are_sent_at_once(harness, inserts):
    """The owner may have no later commit with rows for this shard."""
    for shard in (0, 1):
        harness.submit("caught up", shard, [1], owner="one", wait_s=60.0)
    harness.submit("reads on", 1, [2], owner="other", wait_s=60.0)
    harness.submit("reads on", 0, [2], table="dead_letters", owner="other", wait_s=60.0)
    await harness.advance(1)
    assert inserts == []
    harness.delivery.caught_up("one")
    await harness.advance(0)
    assert sorted(rows for _, _, rows in inserts) == [1, 2]
    assert {table for _, table, _ in inserts} == {"ledger"}


async def test_a_queue_smaller_than_an_insert_is_sent_when_half_full():
    """A full queue has no room, so waiting would block the owners that could fill the insert."""
    harness = DeliveryHarness(batch_rows=50, queue_rows=20)
    task = asyncio.ensure_future(harness.delivery.run())
    harness.submit("a", 0, range(9), wait_s=60.0)
    await harness.advance(1)
    assert harness.answers == []
    harness.submit("b", 0, range(3), wait_s=60.0)
    await harness.advance(1)
    assert [name for name, _ in harness.answers] == ["a", "b"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_tables_that_fill_the_queue_together_are_sent_at_once(harness, inserts):
    """No table fills an insert, but together they fill the queue. Partitions at rest ask for room
    first, so they would show no rows until the oldest row has waited its limit.
    """
    harness.submit("a", 0, range(6), wait_s=60.0)
    await harness.advance(1)
    assert inserts == []
    harness.submit("b", 0, range(8), table="dead_letters", wait_s=60.0)
    await harness.advance(0)
    assert [(table, rows) for _, table, rows in inserts] == [("dead_letters", 8)]
    assert harness.delivery.room() == [14, 20]


async def test_an_owner_that_leaves_takes_its_urgency_along(harness, inserts):
    """The remaining rows wait up to their limit again."""
    leaving = object()
    harness.submit("leaving", 0, [1], owner=leaving, wait_s=1.0)
    harness.submit("staying", 0, [2], wait_s=5.0)
    harness.delivery.forget(leaving)
    await harness.advance(4)
    assert inserts == []
    await harness.advance(2)
    assert harness.answers == [("staying", [])]
