"""Rows on their way: a shard holds back only its own, and nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from streams.clock import VirtualClock, settle
from streams.rows import FactRows
from streams.sinks.delivery import Delivery, Job
from streams.sinks.memory import MemoryShards
from streams.telemetry.metrics import Metrics


class Desk:
    """A delivery over two shards, and the answers it gave."""

    def __init__(self, batch_rows=10, queue_rows=20) -> None:
        self.clock = VirtualClock()
        self.shards = MemoryShards(2, self.clock)
        self.delivery = Delivery(
            self.shards, self.clock, Metrics(), batch_rows=batch_rows, queue_rows=queue_rows
        )
        self.answers = []

    def submit(self, name, shard, numbers, table="ledger", owner=None) -> None:
        columns = {
            "grp": [name] * len(numbers), "topic": ["t"] * len(numbers), "part": list(numbers),
            "ver": [1] * len(numbers), "epoch": [0] * len(numbers), "id": [f"{name}{n}" for n in numbers],
            "off": list(numbers),
        }  # fmt: skip
        self.delivery.submit(
            Job(
                owner if owner is not None else self,
                FactRows(table, shard, columns),
                lambda refused, reason: self.answers.append((name, list(refused))),
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
