"""A reset repairs a partition with an unreadable changelog, as it does one with a gap."""

from __future__ import annotations

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS, app
from streams.core.errors import ChangelogGap
from streams.core.types import TopicPartition
from streams.engine.state.memory import MemoryDisk
from streams.operate.reset.reset import look, open_epoch, reset

CHANGELOG = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), 0)


@pytest.mark.parametrize("damaged", [0, 1, 3], ids=["first", "inner", "last"])
async def test_a_damaged_batch_of_a_changelog_counts_as_a_gap(rig, damaged):
    """A disk may damage a batch of any topic, and shedding does not apply to a changelog: without a
    reset the partition would stay stopped.
    """
    await rig.open()
    for _ in range(4):
        await rig.commit_events(3)
    offset = rig.contents(CHANGELOG).offsets[damaged]
    rig.broker.log(CHANGELOG).spoil(offset, offset + 1)
    with pytest.raises(ChangelogGap, match="`dia tables reset`"):
        await rig.open(MemoryDisk())

    opening = open_epoch(
        await look(rig.broker, DIA_GROUP, MODEL_METRICS, 0, app.targets),
        resume_at_start=False,
    )
    assert isinstance(opening.standing.cause, ChangelogGap)
    assert opening.link.next_offset == 12
    await reset(rig.broker, rig.clock, opening)
    partition = await rig.open(MemoryDisk())
    assert (partition.position, partition.state.link.epoch) == (12, 1)


async def test_a_damaged_batch_before_an_opened_epoch_is_ignored(rig, monkeypatch):
    """A trim may fail after a reset: batches before the opening link must not be needed again."""
    await rig.open()
    for _ in range(4):
        await rig.commit_events(3)
    offset = rig.contents(CHANGELOG).offsets[1]
    rig.broker.log(CHANGELOG).spoil(offset, offset + 1)
    opening = open_epoch(
        await look(rig.broker, DIA_GROUP, MODEL_METRICS, 0, app.targets),
        resume_at_start=False,
    )
    with monkeypatch.context() as untrimmed:
        untrimmed.setattr("streams.connect.broker.memory.log.Log.trim", lambda *_: None)
        await reset(rig.broker, rig.clock, opening)
    partition = await rig.open(MemoryDisk())
    assert (partition.position, partition.state.link.epoch) == (12, 1)
