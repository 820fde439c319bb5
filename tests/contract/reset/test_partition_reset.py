"""Each way a partition stops, and the way out of it: on both brokers, with real workers."""

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
    """A worker's whole life: produce, count, stop."""
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


@pytest.mark.parametrize("folder", ["kept", "new"])
@pytest.mark.parametrize("code", STOPS)
async def test_a_stopped_partition_is_reset_and_goes_on(
    line: Any, code: str, folder: str, tmp_path: Path
) -> None:
    """Every message of a stop names this command: it must lead out, with and without the old
    state folder, and what comes after must count exactly once."""
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
async def test_a_changelog_that_cannot_be_opened_is_left_by_a_reset(
    line: Any, where: str, folder: str, tmp_path: Path
) -> None:
    """The reset reads the batch that stopped the partition: it must pass it. Only the broker in
    memory can spoil one."""
    if not isinstance(line.broker, MemoryBroker):
        pytest.skip("a real broker's log is not spoilt from outside")
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
async def test_an_offset_moved_back_by_hand_counts_nothing_twice(line: Any, offset: int) -> None:
    """The chain says up to where records were counted; a reset of the group does not undo that."""
    if not isinstance(line.broker, MemoryBroker):
        pytest.skip("offsets are moved inside the broker")
    await run_to(line, 20)
    await line.tear_changelog()
    moved = {line.source: CommittedOffset(offset, "")}
    line.broker._cluster.commit_offsets(line.agent.group, moved)
    assert (await line.reset()).link.next_offset == 20
    await line.start()
    await line.produce(5)
    await line.count(25)


async def test_a_dead_letter_of_a_new_topic_stands_beside_that_of_the_old(line: Any) -> None:
    """Both lie at offset 0: the fact of the new one must not replace the fact of the old one."""
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
    """A reset costs windows and dedupe: a slip of the hand must not."""
    await run_to(line, 5)
    with pytest.raises(RefusedBySafety, match="nothing stops"):
        await line.planned()


async def test_an_epoch_that_no_version_can_hold_is_not_opened(line: Any, monkeypatch) -> None:
    """Its rows would be taken for those of another epoch: refused before anything changes."""
    await run_to(line, 5)
    await line.lose_changelog()
    monkeypatch.setattr("streams.operate.reset.reset.EPOCH_END", 1)
    with pytest.raises(RefusedBySafety, match="epoch 1 does not fit"):
        await line.planned()


async def test_a_worker_that_takes_the_partition_back_wins(line: Any) -> None:
    """Fencing decides between a reset and a live worker; the loser changes nothing."""
    await run_to(line, 5)
    await line.lose_changelog()
    agreed = await line.planned()

    class Rival:
        """The broker as the reset sees it: a worker's A1 comes just before its commit."""

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


async def test_a_partition_that_moved_since_is_not_reset(line: Any) -> None:
    """The operator agreed to what was shown, not to what is there now."""
    await run_to(line, 5)
    await line.lose_changelog()
    agreed = await line.planned()
    await line.reset()
    await line.tear_changelog()
    with pytest.raises(RefusedBySafety, match="moved"):
        await reset(line.broker, line.clock, agreed)


async def test_records_that_are_gone_are_given_up_only_when_told(line: Any) -> None:
    """Skipping unread records is a loss: it takes --resume-at-start, and is named."""
    await run_to(line, 5)
    await line.truncate_source()
    with pytest.raises(RefusedBySafety, match="offsets 5 to 7 were never consumed"):
        await line.planned()
    told = consequences(await line.planned(resume_at_start=True), line.settings)
    assert any("Offsets 5 to 7 are gone" in sentence for sentence in told)


async def test_reading_again_what_was_counted_is_named(line: Any) -> None:
    """--resume-at-start on a source that is still whole counts it twice: an operator may want
    that after emptying ClickHouse, and must know."""
    await run_to(line, 5)
    await line.lose_changelog()
    told = consequences(await line.planned(resume_at_start=True), line.settings)
    assert any("Offsets 0 to 4 were counted before" in sentence for sentence in told)


async def test_a_second_reset_raises_the_epoch_again(line: Any) -> None:
    """The epoch outlives the changelog in the committed offset: two losses, two epochs."""
    await run_to(line, 5)
    for epoch in (1, 2):
        await line.lose_changelog()
        assert (await line.reset()).link.epoch == epoch
    await line.start()
    await line.produce(5)
    await line.count(10)
    assert line.visible(epoch=2) == 5


async def test_a_void_store_that_fits_the_new_log_by_accident_is_discarded(line: Any) -> None:
    """Offsets of a recreated changelog begin at 0 again: an old store may end exactly where the
    new log does, and must still not be believed."""
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
