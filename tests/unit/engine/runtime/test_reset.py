"""A reset repairs a partition with an unreadable changelog, as it does one with a gap."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agents.app import AGGREGATE_METRICS, DIA_GROUP, MODEL_METRICS, app
from streams import App, Count, Record
from streams.core.errors import ChangelogGap
from streams.core.types import TopicPartition
from streams.engine.state.memory import MemoryDisk
from streams.operate.reset.consequences import consequences
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


class _Visit(Record):
    user: str


async def test_an_operator_is_told_what_the_agents_state_loses(rig):
    """A reset of windows of a day named the windows of two minutes, and one of totals no table."""
    app_of = App("acme")
    visits = app_of.topic("visits", value_type=_Visit, key_field="user")
    app_of.windows("daily", of=visits, by=("user",), size="1d", grace="1h", fold={"n": Count()})
    clicks = app_of.topic("clicks", value_type=_Visit, key_field="user")
    totals = app_of.Table("totals", default=int)

    @app_of.agent(clicks)
    async def count(stream):
        async for click in stream:
            totals[click.user] += 1

    daily, counting = app_of.agents.values()
    await rig.open()
    await rig.commit_events(3)
    rig.broker.log(CHANGELOG).spoil(0, 1)
    found = await look(rig.broker, DIA_GROUP, MODEL_METRICS, 0, app.targets)
    opening = open_epoch(found, resume_at_start=False)
    told = {
        agent.name: " ".join(consequences(opening, rig.settings, agent))
        for agent in (AGGREGATE_METRICS, daily, counting)
    }
    at_ms = found.last_append_ms
    for agent, open_s in ((AGGREGATE_METRICS, 120), (daily, 25 * 3600)):
        first = datetime.fromtimestamp(at_ms / 1000 - open_s, UTC)
        assert f"Windows from {first:%Y-%m-%dT%H:%MZ} to" in told[agent.name]
    assert "Windows" not in told["count"]
    assert "All entries of the partition in totals are lost" in told["count"]
