"""Rows on their way: a shard holds back only its own, and nobody waits for ever."""

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


class Desk:
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
        """Let what was submitted begin now, and time pass."""
        await settle()
        await self.clock.advance(delta_s)

    def stored(self, shard, table="ledger"):
        return sorted((row["grp"], row["part"]) for row in self.shards.rows(table, shard))


@pytest.fixture
async def desk():
    made = Desk()
    task = asyncio.ensure_future(made.delivery.run())
    yield made
    assert not task.done(), task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_rows_are_stored_before_their_owner_is_told(desk):
    """An answer deletes the obligation: it must be true."""
    desk.shards.faults[0].slow_s = 3.0
    desk.submit("a", 0, [1, 2])
    await desk.advance(2.9)
    assert desk.answers == []
    await desk.advance(0.2)
    assert desk.answers == [("a", [])]
    assert desk.stored(0) == [("a", 1), ("a", 2)]
    assert desk.delivery.idle


@pytest.mark.parametrize("fault", ["down", "busy"])
async def test_a_failing_shard_holds_back_only_its_own(desk, fault):
    """And is tried again until it takes them."""
    setattr(desk.shards.faults[0], fault, True)
    desk.submit("a", 0, [1])
    desk.submit("b", 1, [1])
    await desk.advance(30)
    assert desk.answers == [("b", [])]
    assert desk.delivery.room() == [19, 20]
    setattr(desk.shards.faults[0], fault, False)
    await desk.advance(10)
    assert desk.answers == [("b", []), ("a", [])]


async def test_a_broken_insert_is_repeated_whole(desk):
    """Half of it may be there: inserting again what is there is harmless."""
    desk.shards.faults[0].fail_after_rows = 1
    desk.submit("a", 0, [1, 2, 3])
    await desk.advance(5)
    assert desk.stored(0) == [("a", 1), ("a", 2), ("a", 3)]
    assert desk.answers == [("a", [])]


async def test_refused_rows_are_told_to_whose_they_are(desk):
    """Their indexes count over a whole insert of many owners; each hears of its own."""
    desk.shards.faults[0].slow_s = 1.0
    desk.submit("first", 0, [0])
    desk.shards.faults[0].refuse = lambda table, row: row["part"] in (5, 6, 9)
    for name, numbers in (("a", [4, 5, 6]), ("b", [7, 8]), ("c", [9])):
        desk.submit(name, 0, numbers)
    await desk.advance(5)
    assert desk.answers == [("first", []), ("a", [1, 2]), ("b", []), ("c", [0])]
    assert desk.stored(0) == [("a", 4), ("b", 7), ("b", 8), ("first", 0)]


async def test_commits_of_several_tables_share_inserts_and_the_tables_take_turns(desk, monkeypatch):
    """ClickHouse takes one table an insert, and memory is bounded by rows. Forty commits a second
    that each bring a ledger row beside their windows must not be eighty inserts."""
    seen = []
    insert = desk.shards.insert

    async def watched(shard, chunks):
        seen.append(({chunk.table for chunk in chunks}, sum(map(len, chunks))))
        await insert(shard, chunks)

    monkeypatch.setattr(desk.shards, "insert", watched)
    for number, table in enumerate(["ledger", "dead_letters"] * 3 + ["ledger"] * 2):
        desk.submit(f"j{number}", 0, range(4), table)
    await desk.advance(1)
    assert seen == [
        ({"ledger"}, 8), ({"dead_letters"}, 8), ({"ledger"}, 8), ({"dead_letters"}, 4), ({"ledger"}, 4),
    ]  # fmt: skip


async def test_a_job_larger_than_a_batch_goes_alone(desk):
    """It cannot be cut, and must not wait for ever."""
    desk.submit("large", 0, range(25))
    assert desk.delivery.room() == [0, 20], "never below zero"
    await desk.advance(1)
    assert desk.answers == [("large", [])]


async def test_the_forgotten_are_neither_inserted_nor_told(desk):
    """Their partition is someone else's now; what is under way may end, unheard."""
    owner = object()
    desk.shards.faults[0].down = True
    desk.submit("gone", 0, [1], owner=owner)
    await desk.advance(1)
    desk.submit("queued", 0, [2], owner=owner)
    desk.submit("kept", 0, [3])
    desk.delivery.forget(owner)
    desk.shards.faults[0].down = False
    await desk.advance(30)
    assert desk.answers == [("kept", [])]
    assert desk.stored(0) == [("kept", 3)]
    assert desk.delivery.idle


async def test_no_rows_are_answered_at_once(desk):
    """A countdown over shards must not wait for one that has nothing to store."""
    desk.submit("none", 0, [])
    assert desk.answers == [("none", [])]
    await desk.advance(1)
    assert desk.answers == [("none", [])], "and once"


async def test_an_insert_is_repeated_for_those_who_still_wait(desk):
    """One partition leaves while the shard is away. The rows of the other one share its insert: told
    that they are stored, it would forget rows that no shard has."""
    leaving, staying = object(), object()
    desk.shards.faults[0].down = True
    desk.submit("leaving", 0, [1], owner=leaving)
    desk.submit("staying", 0, [2], owner=staying)
    await desk.advance(1)
    desk.delivery.forget(leaving)
    await desk.advance(1)
    assert desk.answers == []
    desk.shards.faults[0].down = False
    await desk.advance(10)
    assert desk.answers == [("staying", [])]
    assert ("staying", 2) in desk.stored(0)


async def test_what_became_of_rows_is_counted(desk):
    """Boards and alerts live on it: a shard that refuses or fails must not look like one that is
    well."""
    desk.shards.faults[0].fail_after_rows = 0
    desk.shards.faults[0].slow_s = 0.5
    desk.shards.faults[0].refuse = lambda table, row: row["part"] in (1, 2)
    desk.submit("a", 0, [0, 1, 2, 3, 4])
    await desk.advance(5)
    value = desk.metrics.registry.get_sample_value
    assert value("dia_sink_rows_total", {"shard": "0", "table": "ledger"}) == 3
    assert value("dia_rows_refused_total", {"table": "ledger"}) == 2
    failed = {"shard": "0", "code": ShardUnavailable.code}
    assert value("dia_sink_errors_total", failed) == 1
    assert value("dia_sink_insert_seconds_count", {"shard": "0"}) == 1
    assert value("dia_sink_insert_seconds_sum", {"shard": "0"}) == pytest.approx(0.5)


async def test_jobs_that_fill_a_batch_exactly_go_in_one_insert(desk, monkeypatch):
    """Each insert costs the shard a part: a batch is full at its bound, not below it."""
    inserts = []
    insert = desk.shards.insert

    async def counted(shard, batches):
        inserts.append(sum(len(rows) for rows in batches))
        await insert(shard, batches)

    monkeypatch.setattr(desk.shards, "insert", counted)
    for name, count in (("a", 1), ("b", 9), ("c", 5)):
        desk.submit(name, 0, range(count))
    await desk.advance(1)
    assert inserts == [10, 5]


class Away:
    """Shards of which none answers; remembers when each was asked."""

    def __init__(self, clock) -> None:
        self.count = 1
        self.clock = clock
        self.asked_at = []

    async def insert(self, shard, batches) -> None:
        self.asked_at.append(self.clock.monotonic())
        raise ShardUnavailable("away")


async def test_a_shard_that_is_away_is_asked_ever_less_often_and_every_five_seconds_at_least():
    """From a tenth of a second on, each pause doubles, half of it up or down by chance: a shard
    that comes back is neither stormed nor left waiting."""
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


async def test_room_is_what_the_queue_still_takes(desk):
    """Whoever hands over rows asks first; a queue that is over its bound has none, and not less."""
    assert (desk.delivery.room(), desk.delivery.idle) == ([20, 20], True)
    desk.submit("a", 0, range(15))
    assert (desk.delivery.room(), desk.delivery.idle) == ([5, 20], False)
    desk.submit("b", 0, range(10))
    assert desk.delivery.room() == [0, 20]
    await desk.advance(0)
    assert (desk.delivery.room(), desk.delivery.idle) == ([20, 20], True)


async def test_who_leaves_frees_its_own_room_and_takes_nothing_of_others(desk):
    """A partition that is lost, with or without rows here, must cost its neighbours none."""
    leaving = object()
    desk.submit("leaving", 0, [1, 2, 3], owner=leaving)
    desk.submit("staying", 0, [4])
    desk.submit("staying", 1, [5])
    desk.delivery.forget(leaving)
    assert desk.delivery.room() == [19, 19]
    await desk.advance(1)
    assert sorted(desk.answers) == [("staying", []), ("staying", [])]
    assert (desk.stored(0), desk.stored(1)) == ([("staying", 4)], [("staying", 5)])


@pytest.fixture
def inserts(desk, monkeypatch):
    """When each insert began, its table, and its rows."""
    seen, insert = [], desk.shards.insert

    async def watched(shard, chunks):
        seen.append((desk.clock.monotonic(), chunks[0].table, sum(map(len, chunks))))
        await insert(shard, chunks)

    monkeypatch.setattr(desk.shards, "insert", watched)
    return seen


async def test_rows_that_may_wait_share_an_insert(desk, inserts):
    """An insert costs a shard as much as thousands of rows: of a backlog it takes few large ones. The
    oldest row waits no longer than it may."""
    began = desk.clock.monotonic()
    for name in "abcd":
        desk.submit(name, 0, [1, 2], wait_s=2.0)
        await desk.advance(0.6)
    assert [(round(at - began, 1), rows) for at, _, rows in inserts] == [(2.0, 8)]
    assert [name for name, _ in desk.answers] == ["a", "b", "c", "d"]


async def test_rows_that_fill_an_insert_wait_for_nothing(desk, inserts):
    """More would only wait for the next one."""
    desk.submit("a", 0, range(6), wait_s=60.0)
    await desk.advance(1)
    assert inserts == []
    desk.submit("b", 0, range(4), wait_s=60.0)
    await desk.advance(0)
    assert [rows for _, _, rows in inserts] == [10]


async def test_rows_in_a_hurry_take_those_along_that_wait(desk, inserts):
    """A partition that has caught up shows its rows at once, whoever else reads a backlog."""
    desk.submit("waits", 0, [1], wait_s=60.0)
    desk.submit("another table", 0, [1], table="dead_letters", wait_s=60.0)
    await desk.advance(1)
    desk.submit("in a hurry", 0, [2])
    await desk.advance(0)
    assert [(table, rows) for _, table, rows in inserts] == [("ledger", 2)]
    await desk.advance(60)
    assert [name for name, _ in desk.answers] == ["waits", "in a hurry", "another table"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_workers_share_the_inserts_of_a_backlog(workers):
    """Each gets its part of the rows, and fills inserts as large as one worker alone would: a second
    worker must not double what the shards pay."""
    desks = [Desk() for _ in range(workers)]
    running = [asyncio.ensure_future(desk.delivery.run()) for desk in desks]
    for _ in range(20):
        for desk in desks:
            desk.submit("a", 0, range(10 // workers), wait_s=2.0)
            await desk.advance(1.0)
    inserts = "dia_sink_insert_seconds_count"
    counts = [desk.metrics.registry.get_sample_value(inserts, {"shard": "0"}) for desk in desks]
    assert sum(counts) == 20
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_rows_of_an_owner_that_has_caught_up_go_at_once(desk, inserts):
    """It may have none that would take them along: its last commits may be of other shards."""
    for shard in (0, 1):
        desk.submit("caught up", shard, [1], owner="one", wait_s=60.0)
    desk.submit("reads on", 1, [2], owner="other", wait_s=60.0)
    desk.submit("reads on", 0, [2], table="dead_letters", owner="other", wait_s=60.0)
    await desk.advance(1)
    assert inserts == []
    desk.delivery.caught_up("one")
    await desk.advance(0)
    assert sorted(rows for _, _, rows in inserts) == [1, 2]
    assert {table for _, table, _ in inserts} == {"ledger"}


async def test_a_queue_that_holds_less_than_an_insert_goes_when_it_is_half_full():
    """A full queue has no room: waiting for more rows would only stop those that bring them."""
    desk = Desk(batch_rows=50, queue_rows=20)
    task = asyncio.ensure_future(desk.delivery.run())
    desk.submit("a", 0, range(9), wait_s=60.0)
    await desk.advance(1)
    assert desk.answers == []
    desk.submit("b", 0, range(3), wait_s=60.0)
    await desk.advance(1)
    assert [name for name, _ in desk.answers] == ["a", "b"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_tables_that_fill_a_queue_together_wait_for_nothing(desk, inserts):
    """No table fills an insert, and all of them leave no room: partitions at rest, whose rows ask for room
    first, would show nothing until the oldest row has waited."""
    desk.submit("a", 0, range(6), wait_s=60.0)
    await desk.advance(1)
    assert inserts == []
    desk.submit("b", 0, range(8), table="dead_letters", wait_s=60.0)
    await desk.advance(0)
    assert [(table, rows) for _, table, rows in inserts] == [("dead_letters", 8)]
    assert desk.delivery.room() == [14, 20]


async def test_who_leaves_takes_its_hurry_with_it(desk, inserts):
    """Rows that stay may wait as long as they might before."""
    leaving = object()
    desk.submit("leaving", 0, [1], owner=leaving, wait_s=1.0)
    desk.submit("staying", 0, [2], wait_s=5.0)
    desk.delivery.forget(leaving)
    await desk.advance(4)
    assert inserts == []
    await desk.advance(2)
    assert desk.answers == [("staying", [])]
