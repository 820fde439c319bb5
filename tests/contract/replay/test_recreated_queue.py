"""A DLQ topic that was deleted and recreated, on every broker."""

from __future__ import annotations

import json

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.errors import TopicRecreated
from streams.operate.replay.journal.control import journals
from streams.operate.replay.journal.decided import history
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.journal.renewal import renew


async def decide_and_purge(lot) -> None:
    """Replay three letters, then recreate the DLQ under the same name."""
    await lot.bury(lot.event(1), lot.event(2), lot.event(3))
    assert (await lot.run((await lot.plan()).plan)).replayed == 3
    await lot.recreate_dlq()


@pytest.mark.parametrize("letters", [0, 2, 3, 5])
async def test_decisions_of_a_deleted_queue_are_not_inherited(lot, letters):
    """New letters at the offsets of replayed ones would count as replayed and never be offered."""
    await decide_and_purge(lot)
    await lot.bury(*[lot.event(10 + n) for n in range(letters)])
    with pytest.raises(TopicRecreated, match=r"dia dlq renew --topic"):
        await lot.plan()


@pytest.mark.on_kafka
async def test_after_a_renewal_every_new_letter_is_open_and_is_replayed_once(lot):
    """The command in the error message must solve the problem."""
    await decide_and_purge(lot)
    await lot.bury(lot.event(11), lot.event(12))
    [renewed] = await renew(lot.broker, lot.clock, lot.topology, lot.source, "ann", "purged")
    draft = await lot.plan()
    assert draft.plan.letters == 2
    assert (await lot.run(draft.plan)).replayed == 2
    assert (await lot.run((await lot.plan()).plan)).planned == 0
    [first, _] = await lot.letters()
    standing = await lot.standing(renewed)
    assert standing.dispositions.of(first.offset) is ReplayDisposition.REPLAYED
    reader = await lot.broker.reader()
    decisions = await history(reader, lot.topology, first)
    await reader.close()
    assert [decision.plan for decision in decisions] in ([], [draft.plan.id])


@pytest.mark.on_kafka
async def test_a_plan_of_a_deleted_queue_does_not_run_on_the_recreated_one(lot):
    """Its offsets hold other letters, which no operator has seen in the plan."""
    await lot.bury(lot.event(1), lot.event(2))
    old = (await lot.plan()).plan
    await lot.recreate_dlq()
    await lot.bury(lot.event(11), lot.event(12), lot.event(13))
    with pytest.raises(TopicRecreated):
        await lot.run(old)
    assert await lot.read(lot.source.name) == []


async def test_renewal_is_refused_for_a_queue_that_was_not_recreated(lot):
    """A command run by mistake must not reopen letters that were replayed."""
    await lot.bury(lot.event(1))
    await lot.run((await lot.plan()).plan)
    assert await renew(lot.broker, lot.clock, lot.topology, lot.source, "ann") == []
    [standings] = (await journals(lot.broker, [lot.source])).values()
    assert sum(standing.mark is not None for standing in standings) == 1


async def test_a_damaged_letter_does_not_stop_the_decisions_on_others(lot):
    """The last decided letter cannot be compared; that does not prove a recreated topic."""
    if not isinstance(lot.broker, MemoryBroker):
        pytest.skip("a real broker's log cannot be damaged by a test")
    await lot.bury(lot.event(1))
    [decided] = await lot.letters()
    await lot.run((await lot.plan()).plan)
    await lot.bury(lot.event(2))
    lot.broker.log(decided.dlq).spoil(decided.offset, decided.offset + 1)
    assert (await lot.run((await lot.plan()).plan)).replayed == 1


async def test_letters_before_a_truncated_end_stay_decided(lot):
    """An unclean leader election lost the newest letters. Those before them were replayed:
    reopened, they would be replayed twice."""
    if not isinstance(lot.broker, MemoryBroker):
        pytest.skip("a real broker's log cannot be truncated by a test")
    await lot.bury(lot.event(1), lot.event(2))
    assert (await lot.run((await lot.plan()).plan)).replayed == 2
    await lot.bury(lot.event(3))
    assert (await lot.run((await lot.plan()).plan)).replayed == 1
    first, second, third = await lot.letters()
    lot.broker.log(third.dlq).lose_tail(third.offset)
    lot.purged = 1
    await lot.bury(lot.event(4), lot.event(5))
    with pytest.raises(TopicRecreated):
        await lot.plan()

    [number] = await renew(
        lot.broker, lot.clock, lot.topology, lot.source, "ann", "unclean election"
    )
    standing = await lot.standing(number)
    assert standing.dispositions.of(first.offset) is ReplayDisposition.REPLAYED
    assert standing.dispositions.of(second.offset) is ReplayDisposition.REPLAYED
    assert (await lot.run((await lot.plan()).plan)).replayed == 2
    sent = [json.loads(value)["event_id"] for _, _, value, _ in await lot.read(lot.source.name)]
    assert sent == ["e1", "e2", "e3", "e4", "e5"]
    assert await renew(lot.broker, lot.clock, lot.topology, lot.source, "ann") == []
