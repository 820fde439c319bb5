"""Rows that a sink of the app refused, brought back to it, on every broker."""

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
class Shelf:
    """A sink in memory that goes by the name of a batch."""

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
    shelf = Shelf()
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
    """Under the name of its old batch it would replace the rows that the sink has of that."""
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


async def test_two_equal_rows_come_back_as_two(lot, shelf):
    """A sink keeps what it is given: the id of the letter tells them apart."""
    await bury(lot, row(), row())
    assert (await lot.run((await lot.plan()).plan)).replayed == 2
    assert shelf.rows == [row(), row()]


async def test_a_row_that_was_stored_and_not_recorded_comes_again_under_one_name(
    lot, shelf, monkeypatch
):
    """The row comes before the transaction: a crash between the two must leave one copy."""
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


async def test_numbers_that_json_has_not_come_back(lot, shelf):
    """An infinity is the likely reason of the refusal."""
    await bury(lot, row(n=math.inf), row(n=math.nan))
    await lot.run((await lot.plan()).plan)
    (first, second) = shelf.rows
    assert first["n"] == math.inf
    assert math.isnan(second["n"])


async def test_a_row_that_the_sink_refuses_again_stays(lot, shelf):
    """And the plan says who refused it."""
    shelf.refuses = True
    await bury(lot, row())
    result = await lot.run((await lot.plan()).plan)
    assert (result.replayed, result.left) == (0, 1)
    assert "row_refused: sink shelf refuses the row again: too loud" in result.reasons[0]


async def test_a_sink_that_is_away_for_a_while_is_waited_for(lot, shelf):
    """As a shard is: the letter is not to blame."""
    shelf.failures = 1
    await bury(lot, row())
    assert (await lot.run((await lot.plan()).plan)).replayed == 1


async def test_a_row_of_an_undeclared_sink_is_left_with_the_reason(lot):
    """Declared again, it passes."""
    await bury(lot, row())
    draft = await lot.plan()
    assert draft.lines[0].replay == 0
    assert draft.lines[0].excluded == {"still_fails": 1}


async def test_a_row_without_a_shard_is_left_and_one_of_a_sink_is_not(lot, shelf):
    """Whoever has no ClickHouse at hand can mend sinks."""
    await bury(lot, row())
    await bury_value(
        lot, b'{"table":"models","tenant":"t","model":"m","card":"{}","ver":9}', "b/0/3/x"
    )
    await lot.read(lot.source.dlq, 2)
    lot.shards = None
    result = await lot.run((await lot.plan()).plan)
    assert (result.replayed, result.left) == (1, 1)
    assert "no ClickHouse shard is known" in result.reasons[0]


def test_the_error_of_a_sink_that_is_away_is_one_that_passes():
    """So a run tries again, and says exit code 4 in the end."""
    assert SinkUnavailable.exit_code == 4
