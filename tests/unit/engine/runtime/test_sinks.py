"""Rows of agents on their way to an app's sinks: in the outbox from the commit until the sink
stores them.
"""

from __future__ import annotations

import json

import pytest

from streams.core.records.bad_records import RowUnfit
from streams.core.rows.built_in_tables import RowsRefused
from streams.core.rows.row_json import read_row
from streams.core.rows.row_sink import DeclaredSink, RowBatch
from tests.unit.engine.runtime.conftest import DLQ, SOURCE
from tests.unit.engine.runtime.rig_worker import running


class FaultySink:
    """A sink in memory, with injectable faults."""

    def __init__(self) -> None:
        self.heard: list[RowBatch] = []
        self.fails = 0
        self.silent = False
        self.refuses: list[int] = []
        self.closed = False

    async def write(self, batch: RowBatch) -> None:
        if self.fails:
            self.fails -= 1
            raise OSError("the disk is full")
        self.heard.append(batch)
        if self.silent:
            raise TimeoutError("stored, but the answer is lost")
        if self.refuses:
            raise RowsRefused(self.refuses, "too loud")

    async def close(self) -> None:
        self.closed = True

    @property
    def rows(self) -> list[dict[str, object]]:
        """The rows of each batch once, as a sink with deduplication by batch name stores them."""
        last = {batch.name: batch for batch in self.heard}
        return [row for batch in last.values() for row in batch.rows()]


@pytest.fixture
def ear():
    return FaultySink()


@pytest.fixture
def sink(rig, ear):
    declared = DeclaredSink(name="ear", columns={"word": str, "n": int}, open=lambda *_: ear)
    rig.sinks = {"ear": declared}
    return declared


async def owe(rig, sink, *words) -> None:
    """The state after an agent wrote rows and its commit, and nothing else."""
    await rig.open()
    await rig.produce_events(1)
    await rig.fold()
    for n, word in enumerate(words):
        rig.partition.fact(sink, {"word": word, "n": n})
    await rig.commit()


async def test_a_sink_gets_the_rows_of_a_commit_with_its_version(rig, sink, ear):
    """The worker closes the sink when it ends."""
    await owe(rig, sink, "a", "b")
    async with running(rig, sinks=rig.sinks):
        await rig.clock.advance(3)
    assert [(row["word"], row["n"]) for row in ear.rows] == [("a", 0), ("b", 1)]
    assert {row["ver"] for row in ear.rows} == {1}
    assert ear.heard[0].name == f"dia-group.{SOURCE.topic}-0-{1:014x}-0"
    assert ear.closed


async def test_rows_whose_answer_was_lost_come_again_as_the_same_batch(rig, sink, ear):
    """Deduplication removes the second copy: the batch has the same name in every process."""
    await owe(rig, sink, "a")
    ear.silent = True
    async with running(rig, sinks=rig.sinks):
        await rig.clock.advance(1)
    assert ear.heard
    ear.silent = False
    async with running(rig, sinks=rig.sinks):
        await rig.clock.advance(3)
    heard = len(ear.heard)
    async with running(rig, sinks=rig.sinks):
        await rig.clock.advance(3)
    assert len(ear.heard) == heard, "acknowledged rows are still in the outbox"
    assert {batch.name for batch in ear.heard} == {ear.heard[0].name}
    assert [row["word"] for row in ear.rows] == ["a"]


async def test_a_failing_sink_delays_only_its_own_rows(rig, sink, ear):
    """Rows for ClickHouse go on. The sink gets all its rows in order when it is back."""
    await owe(rig, sink, "a")
    ear.fails = 3
    async with running(rig, sinks=rig.sinks) as worker:
        await rig.clock.advance(0.5)
        assert not ear.heard
        await rig.clock.advance(1)
        assert rig.shards.rows("ledger")
        await rig.clock.advance(10)
        assert [row["word"] for row in ear.rows] == ["a"]
        (held,) = [p for g in worker.groups for p in g.partitions.values() if p.tp == SOURCE]
        assert not held.partition.outbox
    assert rig.metrics.sink.named_errors.labels("ear")._value.get() == 3


async def test_a_row_that_a_sink_refuses_is_a_dead_letter(rig, sink, ear):
    """The row is kept in the DLQ, and the other rows are stored."""
    await owe(rig, sink, "a", "b")
    ear.refuses = [1]
    async with running(rig, sinks=rig.sinks):
        await rig.clock.advance(5)
    [letter] = rig.contents(DLQ).values
    assert json.loads(letter)["word"] == "b"
    headers = dict(rig.contents(DLQ).headers[0])
    assert headers["dia.dlq.error_code"] == b"row_refused"


async def test_equal_rows_that_a_sink_refuses_are_one_dead_letter_each(rig, sink, ear):
    """With one shared id, the second dead letter would be listed, decided and replayed as the
    first.
    """
    await owe(rig, sink)
    for _ in range(2):
        rig.partition.fact(sink, {"word": "a", "n": 1})
    await rig.commit()
    ear.refuses = [0, 1]
    async with running(rig, sinks=rig.sinks):
        await rig.clock.advance(5)
    ids = [dict(headers)["dia.dlq.id"] for headers in rig.contents(DLQ).headers]
    assert len(ids) == len(set(ids)) == 2


async def test_the_dead_letter_of_a_refused_row_keeps_numbers_beyond_json(rig, ear):
    """As JSON null, an infinity could neither be shown nor replayed."""
    declared = DeclaredSink(name="ear", columns={"word": str, "n": float}, open=lambda *_: ear)
    rig.sinks = {"ear": declared}
    await rig.open()
    await rig.produce_events(1)
    await rig.fold()
    rig.partition.fact(declared, {"word": "a", "n": float("inf")})
    await rig.commit()
    ear.refuses = [0]
    async with running(rig, sinks=rig.sinks):
        await rig.clock.advance(5)
    [letter] = rig.contents(DLQ).values
    assert read_row(declared.types, letter)["n"] == float("inf")


async def test_a_sink_that_the_app_no_longer_declares_stops_the_partition(rig, sink, ear):
    """The rows are kept: the sink gets them when the app declares it again."""
    await owe(rig, sink, "a")
    async with running(rig) as worker:
        await rig.clock.advance(3)
        (held,) = [p for g in worker.groups for p in g.partitions.values() if p.tp == SOURCE]
        assert (held.phase, held.stopped_by.code) == ("stopped", "unknown_target")
        assert "'ear'" in str(held.stopped_by)
    async with running(rig, sinks=rig.sinks):
        await rig.clock.advance(3)
    assert [row["word"] for row in ear.rows] == ["a"]


async def test_a_row_that_does_not_fit_is_refused_before_the_commit(rig, sink):
    """After the commit the error could not be handled."""
    await rig.open()
    with pytest.raises(RowUnfit, match="column 'n' of ear: expected an integer, got str 'one'"):
        rig.partition.fact(sink, {"word": "a", "n": "one"})
