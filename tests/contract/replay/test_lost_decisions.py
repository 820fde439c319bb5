"""A journal that has lost entries: nothing is decided until an operator goes on without them.

Only the broker in memory can lose or spoil a part of a log from outside."""

from __future__ import annotations

import msgspec
import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.errors import ChangelogGap, ChangelogLost, CommitInDoubt
from streams.core.types import TopicPartition
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.journal.journal import Disposed
from streams.operate.replay.journal.owner import owned
from streams.operate.replay.journal.renewal import give_up_lost


@pytest.fixture
async def decided(lot):
    """Three letters, two plans: the first replays one of them, the second the others. The number
    of the partition they are in, and its journal."""
    if not isinstance(lot.broker, MemoryBroker):
        pytest.skip("a real broker's log is not spoilt from outside")
    await lot.bury(lot.event(1))
    assert (await lot.run((await lot.plan()).plan)).replayed == 1
    await lot.bury(lot.event(2), lot.event(3))
    assert (await lot.run((await lot.plan()).plan)).replayed == 2
    [first, *_] = await lot.letters()
    number = first.dlq.partition
    return number, lot.broker.log(TopicPartition(lot.source.journal, number))


def disposals(log):
    """Offsets of the journal's entries that dispose of letters."""
    records = log.readable()
    rows = zip(records.offsets, records.values, strict=True)
    return [at for at, value in rows if msgspec.json.decode(value)["kind"] == "disposed"]


def lose_front(log):
    log.trim(disposals(log)[0] + 1)


def spoil_first(log):
    log.spoil(disposals(log)[0], disposals(log)[0] + 1)


def lose_end(log):
    log.lose_tail(disposals(log)[-1])


LOSSES = {"front": (lose_front, 1), "batch": (spoil_first, 1), "end": (lose_end, 2)}


@pytest.mark.parametrize("loss", LOSSES)
async def test_the_command_that_a_lost_decision_names_leads_out(lot, decided, loss):
    """Without it nothing in this partition could ever be replayed, parked or discarded."""
    number, log = decided
    lose, letters = LOSSES[loss]
    lose(log)
    await lot.bury(lot.event(4))
    if loss != "end":
        with pytest.raises(
            (ChangelogGap, ChangelogLost), match=r"dia dlq renew .*--lost-decisions"
        ):
            await lot.plan()
    assert await give_up_lost(lot.broker, lot.clock, lot.topology, lot.source, "ann", "disk") == [
        number
    ]
    assert await give_up_lost(lot.broker, lot.clock, lot.topology, lot.source, "ann", "disk") == []

    draft = await lot.plan()
    assert draft.plan.letters == letters + 1
    assert (await lot.run(draft.plan)).replayed == letters + 1
    standing = await lot.standing(number)
    assert standing.dispositions.counts() == {
        ReplayDisposition.REPLAYED: 4,
        ReplayDisposition.PARKED: 0,
        ReplayDisposition.DISCARDED: 0,
    }
    assert (await lot.run((await lot.plan()).plan)).planned == 0


async def test_a_decision_behind_a_lost_end_names_the_command(lot, decided):
    """The end of a journal is known from the offset that every decision commits."""
    number, log = decided
    lose_end(log)
    with pytest.raises(ChangelogLost, match="--lost-decisions"):
        async with owned(lot.broker, lot.clock, lot.topology, lot.source, number):
            pass


async def test_a_whole_journal_loses_nothing(lot, decided):
    """A slip of the hand must not open letters that were replayed."""
    _, log = decided
    end = log.high_watermark
    assert await give_up_lost(lot.broker, lot.clock, lot.topology, lot.source, "ann") == []
    assert log.high_watermark == end


async def test_a_decision_that_kafka_aborted_under_a_committed_number_is_open(lot):
    """Its number stands and its entry is aborted, with the replayed event: nothing is lost, and the
    letter can be decided on again, without an operator who gives up decisions."""
    if not isinstance(lot.broker, MemoryBroker):
        pytest.skip("a real coordinator does not tear transactions on request")
    await lot.bury(lot.event(1))
    [letter] = await lot.letters()
    entry = Disposed(at_ms=1, actor="ann", discarded=str(letter.offset), reason="x")
    async with owned(
        lot.broker, lot.clock, lot.topology, lot.source, letter.dlq.partition
    ) as owner:
        lot.broker.faults.tear_commit(offsets_stand=True)
        with pytest.raises(CommitInDoubt):
            await owner.commit([entry])
    assert (await lot.run((await lot.plan()).plan)).replayed == 1
    assert not lot.broker.faults.tears
