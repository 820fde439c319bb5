"""Steps C2 to C4: a commit is atomic."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS
from streams.core.clock import settle
from streams.core.errors import BrokerUnavailable, CommitInDoubt, PartitionRestart
from streams.core.types import TopicPartition
from streams.engine.state.changelog import unpack

SOURCE = TopicPartition(MODEL_METRICS.name, 0)
CHANGELOG = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), 0)
DLQ = TopicPartition(MODEL_METRICS.dlq, 0)


async def _folded(rig):
    """A partition after one commit that has since folded a valid and an invalid record."""
    await rig.open()
    await rig.commit_events(2)
    await rig.produce_events(3)
    await rig.produce(b"{")
    await rig.fold()


def _visible(rig):
    """All state of the partition that another process can observe."""
    return (
        len(rig.contents(CHANGELOG)),
        len(rig.contents(DLQ)),
        rig.broker.committed(DIA_GROUP, SOURCE),
        dict(rig.disk.folders[SOURCE]),
    )


async def test_a_commit_makes_state_dead_letters_and_offset_true_together(rig):
    """They share one transaction; the store then applies the same bytes."""
    await _folded(rig)
    await rig.commit()
    link = unpack(rig.contents(CHANGELOG).values[-1])[0]
    assert (link.from_offset, link.next_offset, link.seq) == (2, 6, 2)
    assert rig.broker.committed(DIA_GROUP, SOURCE).offset == 6
    assert len(rig.contents(DLQ)) == 1
    assert rig.partition.state.link.next_offset == 6
    assert rig.partition.state.changelog_offset <= rig.log(CHANGELOG).high_watermark
    assert rig.partition.folded == 0


@pytest.mark.parametrize(
    "strike",
    [
        lambda faults: faults.refuse_send(nth=1),
        lambda faults: faults.refuse_send(nth=2),
        lambda faults: faults.fail("send", BrokerUnavailable("scripted")),
        lambda faults: faults.fail("send_offsets", BrokerUnavailable("scripted")),
        lambda faults: faults.fail("commit", BrokerUnavailable("scripted")),
        lambda faults: faults.doubt_commit(applied=False),
        lambda faults: faults.down(),
    ],
    ids=["first send", "second send", "send", "offsets", "commit", "not applied", "down"],
)
async def test_a_failed_commit_changes_nothing_anywhere(rig, strike):
    """The error causes the partition to reopen, and the log decides what was committed."""
    await _folded(rig)
    before = _visible(rig)
    strike(rig.broker.faults)
    with pytest.raises(PartitionRestart):
        await rig.commit()
    rig.broker.faults.up()
    assert _visible(rig) == before
    assert rig.partition.state.link.next_offset == 2
    assert (await rig.open()).progress.fold_offset == 2


async def test_a_commit_with_a_lost_answer_is_found_in_the_log(rig):
    """The commit took place: folding its records again would count them twice."""
    await _folded(rig)
    rig.broker.faults.doubt_commit(applied=True)
    with pytest.raises(CommitInDoubt):
        await rig.commit()
    assert rig.partition.state.link.next_offset == 2, (
        "the store must not apply a commit without an answer"
    )
    partition = await rig.open()
    assert partition.progress.fold_offset == 6
    assert partition.progress.applied == 5
    assert rig.opened.restored_records > 0


@pytest.mark.parametrize("call", ["send", "send_offsets", "commit"])
async def test_a_commit_has_a_deadline(rig, call):
    """A revoked partition waits for the commit within the session timeout."""
    await _folded(rig)
    rig.broker.faults.delay(call, 1000.0)
    task = asyncio.ensure_future(rig.commit())
    await settle()
    await rig.clock.advance(3.9)
    assert not task.done()
    await rig.clock.advance(0.2)
    with pytest.raises(CommitInDoubt, match="DIA_COMMIT_TIMEOUT_S=4"):
        await task
    assert rig.partition.state.link.next_offset == 2


async def test_a_negative_offset_counts_as_no_answer(rig, monkeypatch):
    """aiokafka returns -1 if the offset is unknown: the record may be lost."""
    await _folded(rig)

    async def unknown(record):
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(-1)
        return answer

    monkeypatch.setattr(rig.opened.producer, "send", unknown, raising=False)
    with pytest.raises(CommitInDoubt, match="without an offset"):
        await rig.commit()


async def test_records_folded_during_a_commit_belong_to_the_next(rig):
    """Folding continues during a commit, whose bytes are fixed at its start."""
    await _folded(rig)
    rig.broker.faults.delay("send", 1.0)
    task = asyncio.ensure_future(rig.commit())
    await settle()
    await rig.clock.advance(0.5)
    await rig.produce_events(4)
    await rig.fold()
    await rig.clock.advance(1.0)
    await task
    link = unpack(rig.contents(CHANGELOG).values[-1])[0]
    assert (link.next_offset, link.counters.read) == (6, 6)
    assert rig.partition.folded == 4
    await rig.commit()
    assert (await rig.open()).progress.applied == 9


async def test_a_large_commit_has_several_parts_and_one_link(rig):
    """A reader sees all parts or none, and the last part carries the link."""
    await rig.open()
    for number in range(40):
        await rig.produce_events(1, model_id=f"model-{number}" * 10)
    await rig.fold()
    await rig.commit()
    links = [unpack(value)[0] for value in rig.contents(CHANGELOG).values]
    assert len(links) > 1
    assert {(link.seq, link.parts) for link in links} == {(1, len(links))}
    assert [link.part for link in links] == list(range(len(links)))
    await rig.commit_events(1)
    assert (await rig.open()).progress.applied == 41
