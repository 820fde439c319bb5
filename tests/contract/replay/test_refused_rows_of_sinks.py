"""Rows that an app's sink refused, replayed into that sink, on every broker."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pytest

from streams.core.errors import SinkUnavailable
from streams.core.rows.built_in_tables import RowsRefused
from streams.core.rows.row_json import row_json
from streams.core.rows.row_sink import REPLAYED_PART, DeclaredSink, RowBatch
from streams.operate.replay.journal.journal import Disposed
from streams.operate.replay.journal.owner import QueueOwner
from tests.contract.replay.test_refused_rows import bury_value


@dataclass
class MemorySink:
    """A sink in memory that is idempotent by batch name."""

    kept: dict[str, RowBatch] = field(default_factory=dict)
    refuses: bool = False
    failures: int = 0
    opened: int = 0
    closed: int = 0
    writes: int = 0

    def open(self, declared, settings):
        self.opened += 1
        return self

    async def write(self, batch):
        if self.failures:
            self.failures -= 1
            raise OSError("the disk is full")
        if self.refuses:
            raise RowsRefused([0], "too loud")
        self.kept[batch.name] = batch
        self.writes += 1

    async def close(self):
        self.closed += 1

    @property
    def rows(self):
        return [row for batch in self.kept.values() for row in batch.rows()]


@pytest.fixture
def shelf(lot):
    shelf = MemorySink()
    columns = {"word": str, "n": float, "by": "Map(UInt64, String)"}
    declared = DeclaredSink(name="shelf", columns=columns, open=shelf.open)
    lot.targets = replace(lot.targets, sinks={"shelf": declared})
    return shelf


def row(**other):
    return {"word": "a", "n": 1.5, "by": {7: "x"}, "ver": 9, "at": 1_760_000_050_000, **other}


async def bury(lot, *rows):
    for number, one in enumerate(rows):
        await bury_value(lot, row_json("shelf", one), f"{lot.source.name}.changelog/0/3/{number}")
    await lot.read(lot.source.dlq, len(rows))


async def test_a_refused_row_comes_back_as_a_batch_of_its_own(lot, shelf):
    """Under its old batch's name it would replace the rows that the sink holds of that batch."""
    await bury(lot, row())
    draft = await lot.plan()
    assert draft.lines[0].replay == 1
    result = await lot.run(draft.plan)
    assert (result.replayed, result.finished) == (1, True)
    assert shelf.rows == [row()]
    (batch,) = shelf.kept.values()
    assert (batch.version, batch.source.topic) == (9, lot.source.name)
    assert batch.part >= REPLAYED_PART
    assert await lot.read(lot.source.name) == []
    assert (shelf.opened, shelf.closed) == (1, 1)


async def test_two_equal_rows_are_both_stored(lot, shelf):
    """Sinks keep every row: the dead letters' ids distinguish them."""
    await bury(lot, row(), row())
    assert (await lot.run((await lot.plan()).plan)).replayed == 2
    assert shelf.rows == [row(), row()]


@pytest.mark.on_kafka
async def test_a_row_stored_before_a_crash_is_retried_under_the_same_name(lot, shelf, monkeypatch):
    """The sink stores the row before the transaction commits: a crash between them must leave one
    copy."""
    await bury(lot, row())
    plan = (await lot.plan()).plan
    commit = QueueOwner.commit

    async def crash(self, entries, records=()):
        if any(isinstance(entry, Disposed) for entry in entries):
            raise _CrashedError
        await commit(self, entries, records)

    with monkeypatch.context() as patched:
        patched.setattr(QueueOwner, "commit", crash)
        with pytest.raises(_CrashedError):
            await lot.run(plan)
    assert shelf.writes == 1
    assert (await lot.run(plan, resume=True)).finished
    assert shelf.writes == 2
    assert shelf.rows == [row()]


class _CrashedError(Exception):
    pass


async def test_numbers_without_a_json_form_are_restored(lot, shelf):
    """An infinity is a likely reason for the refusal."""
    await bury(lot, row(n=math.inf), row(n=math.nan))
    await lot.run((await lot.plan()).plan)
    (first, second) = shelf.rows
    assert first["n"] == math.inf
    assert math.isnan(second["n"])


async def test_a_row_that_the_sink_refuses_again_stays(lot, shelf):
    """The plan names the sink's reason."""
    shelf.refuses = True
    await bury(lot, row())
    result = await lot.run((await lot.plan()).plan)
    assert (result.replayed, result.left) == (0, 1)
    assert "row_refused: sink shelf refuses the row again: too loud" in result.reasons[0]


async def test_an_unavailable_sink_is_waited_for(lot, shelf):
    """As for a shard, the dead letter is not the cause."""
    shelf.failures = 1
    await bury(lot, row())
    assert (await lot.run((await lot.plan()).plan)).replayed == 1


async def test_a_row_of_an_undeclared_sink_stays_with_the_reason(lot):
    """Once the sink is declared again, the row is replayed."""
    await bury(lot, row())
    draft = await lot.plan()
    assert draft.lines[0].replay == 0
    assert draft.lines[0].excluded == {"still_fails": 1}


async def test_without_shards_window_rows_stay_and_sink_rows_are_replayed(lot, shelf):
    """An operator without access to ClickHouse can still replay rows of sinks."""
    await bury(lot, row())
    await bury_value(
        lot, b'{"table":"models","tenant":"t","model":"m","card":"{}","ver":9}', "b/0/3/x"
    )
    await lot.read(lot.source.dlq, 2)
    lot.shards = None
    result = await lot.run((await lot.plan()).plan)
    assert (result.replayed, result.left) == (1, 1)
    assert "no ClickHouse shard is known" in result.reasons[0]


def test_the_error_of_an_unavailable_sink_is_transient():
    """So a run retries, and exits with code 4 in the end."""
    assert SinkUnavailable.exit_code == 4
