"""A journal that lost entries: replay refuses every decision until an operator accepts the loss.

Only the in-memory broker can lose or damage a part of a log on request.
"""

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
    """Three dead letters, two plans: the first replays one letter, the second the others. Returns
    the partition's number and its journal."""
    if not isinstance(lot.broker, MemoryBroker):
        pytest.skip("a real broker's log cannot be damaged by a test")
    await lot.bury(lot.event(1))
    assert (await lot.run((await lot.plan()).plan)).replayed == 1
    await lot.bury(lot.event(2), lot.event(3))
    assert (await lot.run((await lot.plan()).plan)).replayed == 2
    [first, *_] = await lot.letters()
    number = first.dlq.partition
    return number, lot.broker.log(TopicPartition(lot.source.journal, number))


def disposals(log):
    """Offsets of the journal entries that decide on dead letters."""
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
async def test_the_command_in_the_error_recovers_from_a_lost_decision(lot, decided, loss):
    """Without it, no dead letter of this partition could be replayed, parked or discarded."""
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
    """Every decision commits the journal's end as an offset: the replay compares the two."""
    number, log = decided
    lose_end(log)
    with pytest.raises(ChangelogLost, match="--lost-decisions"):
        async with owned(lot.broker, lot.clock, lot.topology, lot.source, number):
            pass


async def test_a_complete_journal_refuses_the_recovery_command(lot, decided):
    """A command run by mistake must not reopen dead letters that were replayed."""
    _, log = decided
    end = log.high_watermark
    assert await give_up_lost(lot.broker, lot.clock, lot.topology, lot.source, "ann") == []
    assert log.high_watermark == end


@pytest.mark.on_kafka
async def test_an_aborted_decision_whose_offset_was_committed_leaves_the_letter_open(lot):
    """Kafka committed the offset but aborted the journal entry and the replayed event. So nothing
    is lost, and the letter can be decided again without --lost-decisions."""
    if not isinstance(lot.broker, MemoryBroker):
        pytest.skip("a real coordinator does not commit half a transaction on request")
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
