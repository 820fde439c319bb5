"""Each reason for which a partition stops, and its reset, on both brokers with real workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.errors import RefusedBySafety
from streams.core.types import CommittedOffset
from streams.engine.engine_tables import OUTBOX
from streams.engine.runtime.assignment import Opener, transactional_id
from streams.engine.runtime.effects.effects import ledger_key
from streams.engine.runtime.offsets.commit_mark import is_of
from streams.engine.runtime.restore.state import META_KEY, PLACE_PREFIX, read_meta
from streams.engine.state.rocksdb import RocksFolder
from streams.operate.reset.consequences import consequences
from streams.operate.reset.reset import reset


async def run_to(line: Any, events: int) -> None:
    """Start a worker, produce, wait for the rows, and stop it."""
    await line.start()
    await line.produce(events)
    await line.count(events)
    await line.stop()


STOPS = {
    "changelog_lost": "lose_changelog",
    "changelog_gap": "tear_changelog",
    "source_truncated": "truncate_source",
    "topic_recreated": "recreate_source",
}


@pytest.mark.parametrize("folder", ["kept", pytest.param("new", marks=pytest.mark.on_kafka)])
@pytest.mark.parametrize("code", STOPS)
async def test_a_stopped_partition_is_reset_and_goes_on(
    line: Any, code: str, folder: str, tmp_path: Path
) -> None:
    """Every stop message names this command: it must work with and without the old state folder,
    and later events must count exactly once."""
    await run_to(line, 20)
    await getattr(line, STOPS[code])()
    await line.start()
    assert await line.stopped() == code
    await line.stop()

    before = line.visible()
    opened = await line.reset(resume_at_start=code == "source_truncated")
    assert opened.standing.cause is not None
    assert opened.standing.cause.code == code
    assert opened.link.epoch == 1
    assert is_of(await line.committed(), opened.link)
    start = {"source_truncated": 23, "topic_recreated": 0}.get(code, 20)
    assert opened.link.next_offset == opened.link.start_offset == start

    await line.start(tmp_path / "other" if folder == "new" else None)
    await line.produce(10)
    fresh = 12 if code == "source_truncated" else 10
    await line.count(before + fresh)
    await line.stop()
    assert line.visible(epoch=1) == fresh
    ledger = line.ledger(epoch=1)
    assert ledger["applied"] == fresh
    assert ledger["next_offset"] - opened.link.start_offset == ledger["read"] + ledger["gaps"]
    assert line.ledger(epoch=0)["applied"] == 20
    assert (await line.survey()).faults == []


@pytest.mark.parametrize(("where", "folder"), [("first", "new"), ("last", "kept")])
async def test_a_reset_skips_a_changelog_batch_that_cannot_be_decoded(
    line: Any, where: str, folder: str, tmp_path: Path
) -> None:
    """The reset reads the batch that stopped the partition and must pass over it. Only the
    in-memory broker can damage a batch."""
    if not isinstance(line.broker, MemoryBroker):
        pytest.skip("a real broker's log cannot be damaged by a test")
    for events in (10, 20):
        await line.start()
        await line.produce(10)
        await line.count(events)
        await line.stop()
    log = line.broker.log(line.changelog)
    found = log.readable()
    spoilt = found.offsets[0 if where == "first" else -1]
    log.spoil(spoilt, spoilt + 1)
    await line.start(tmp_path / "other")
    assert await line.stopped() == "changelog_gap"
    await line.stop()

    assert [fault.code for fault in (await line.survey()).faults][:1] == ["changelog_gap"]
    opened = await line.reset()
    assert "cannot be opened" in str(opened.standing.cause)
    assert opened.link.next_offset == 20
    await line.start(tmp_path / "third" if folder == "new" else None)
    await line.produce(10)
    await line.count(30)
    await line.stop()
    assert line.visible(epoch=1) == 10
    assert (await line.survey()).faults == []


@pytest.mark.parametrize("offset", [0, 7])
async def test_an_offset_moved_back_by_an_operator_counts_nothing_twice(
    line: Any, offset: int
) -> None:
    """The chain records which offsets were counted; a reset of the group's offset does not undo it."""
    if not isinstance(line.broker, MemoryBroker):
        pytest.skip("the test moves offsets inside the in-memory broker")
    await run_to(line, 20)
    await line.tear_changelog()
    moved = {line.source: CommittedOffset(offset, "")}
    line.broker._cluster.commit_offsets(line.agent.group, moved)
    assert (await line.reset()).link.next_offset == 20
    await line.start()
    await line.produce(5)
    await line.count(25)


@pytest.mark.on_kafka
async def test_dead_letters_of_a_deleted_and_a_new_topic_are_both_kept(line: Any) -> None:
    """Both have offset 0: the row of the new one must not replace the row of the old one."""
    await line.start()
    await line.send(b"{")
    await line.until(lambda: line.settled and line.shards.rows("dead_letters"))
    await line.stop()
    await line.recreate_source()
    await line.reset()
    await line.start()
    await line.send(b'{"event_id": 1}')
    await line.until(lambda: line.settled and len(line.shards.rows("dead_letters")) == 2)
    await line.stop()
    name = f"{line.source.topic}/0/0"
    assert [row["id"] for row in line.shards.rows("dead_letters")] == [name, f"{name}/e1"]


async def test_a_healthy_partition_is_not_reset(line: Any) -> None:
    """A reset loses windows and dedupe state: a command run by mistake must be refused."""
    await run_to(line, 5)
    with pytest.raises(RefusedBySafety, match="nothing stops"):
        await line.planned()


async def test_an_epoch_out_of_range_is_refused(line: Any, monkeypatch) -> None:
    """Its rows would be taken for those of another epoch: the reset refuses before any change."""
    await run_to(line, 5)
    await line.lose_changelog()
    monkeypatch.setattr("streams.operate.reset.reset.EPOCH_END", 1)
    with pytest.raises(RefusedBySafety, match="epoch 1 does not fit"):
        await line.planned()


@pytest.mark.on_kafka
async def test_a_worker_that_takes_the_partition_back_wins(line: Any) -> None:
    """Fencing decides between a reset and a live worker; the loser changes nothing."""
    await run_to(line, 5)
    await line.lose_changelog()
    agreed = await line.planned()

    class Rival:
        """A broker on which a worker runs step A1 just before the reset commits."""

        def __init__(self) -> None:
            self.looks = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(line.broker, name)

        async def admin(self) -> Any:
            rival = line.broker.transactional_producer(
                transactional_id(line.agent.group, line.source)
            )
            await rival.start()
            await rival.close()
            return await line.broker.admin()

    with pytest.raises(RefusedBySafety, match=r"took .* back"):
        await reset(Rival(), line.clock, agreed)  # type: ignore[arg-type]
    assert (await line.survey()).last is None


async def test_a_partition_that_changed_since_the_plan_is_not_reset(line: Any) -> None:
    """The operator agreed to the state that the command showed."""
    await run_to(line, 5)
    await line.lose_changelog()
    agreed = await line.planned()
    await line.reset()
    await line.tear_changelog()
    with pytest.raises(RefusedBySafety, match="moved"):
        await reset(line.broker, line.clock, agreed)


async def test_deleted_records_are_skipped_only_with_resume_at_start(line: Any) -> None:
    """Skipping unread records is a loss: it needs the option, and the message names the offsets."""
    await run_to(line, 5)
    await line.truncate_source()
    with pytest.raises(RefusedBySafety, match="offsets 5 to 7 were never consumed"):
        await line.planned()
    sentences = consequences(await line.planned(resume_at_start=True), line.settings, line.agent)
    assert any("Offsets 5 to 7 are gone" in sentence for sentence in sentences)


async def test_the_message_warns_when_counted_records_are_read_again(line: Any) -> None:
    """--resume-at-start on a complete source counts it twice: an operator may want that after
    emptying ClickHouse, and must be told."""
    await run_to(line, 5)
    await line.lose_changelog()
    sentences = consequences(await line.planned(resume_at_start=True), line.settings, line.agent)
    assert any("Offsets 0 to 4 were counted before" in sentence for sentence in sentences)


@pytest.mark.on_kafka
async def test_a_second_reset_raises_the_epoch_again(line: Any) -> None:
    """The committed offset carries the epoch, so it survives the loss of the changelog: two losses
    raise it twice."""
    await run_to(line, 5)
    for epoch in (1, 2):
        await line.lose_changelog()
        assert (await line.reset()).link.epoch == epoch
    await line.start()
    await line.produce(5)
    await line.count(10)
    assert line.visible(epoch=2) == 5


async def test_a_stale_store_that_matches_the_new_log_by_accident_is_discarded(line: Any) -> None:
    """Offsets of a recreated changelog begin at 0 again: an old store may end at the same offset as
    the new log, and must still be discarded."""
    await run_to(line, 5)
    await line.lose_changelog()
    opened = await line.reset()
    end = (await line.survey()).end_offset
    store = RocksFolder(line.state, line.agent.group)(line.source, False)
    meta = read_meta(store)
    assert meta is not None
    forged = msgspec.structs.replace(meta, changelog_offset=end)
    store.write([(META_KEY, msgspec.msgpack.encode(forged))])
    store.close()
    opener = Opener(
        broker=line.broker,
        stores=RocksFolder(line.state, line.agent.group),
        clock=line.clock,
        settings=line.settings,
        shards=line.shards,
    )
    found = await opener.open(line.agent, line.source, lambda: None)
    state = found.partition.state
    assert (state.link.epoch, state.context.epoch) == (1, 1)
    assert state.link.seq == opened.link.seq
    keys = [key for key, _ in state.store.items() if key != META_KEY]
    owed = OUTBOX.prefix + ledger_key(1)
    assert keys == [PLACE_PREFIX + owed, owed]
    state.store.close()
    await found.producer.close()
