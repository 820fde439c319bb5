"""A1 to A4: what a partition goes on from, and when it refuses to."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS
from streams.connect.broker.memory.faults import COORDINATOR_REFUSALS, SpoiledRead
from streams.connect.sinks.memory import MemoryShards
from streams.core.clock import settle
from streams.core.errors import (
    BrokerUnavailable,
    ChangelogGap,
    ChangelogLost,
    ProducerFenced,
    ShardMapChanged,
    SourceTruncated,
    StoreUnusable,
    TopicRecreated,
    UnknownFormat,
)
from streams.core.rows.dated_map import MapIdentity
from streams.core.types import CommittedOffset, OutboundRecord, TopicPartition
from streams.engine.runtime.restore.state import META_KEY
from streams.engine.state.memory import MemoryDisk

SOURCE = TopicPartition(MODEL_METRICS.name, 0)
CHANGELOG = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), 0)


async def test_a_new_group_begins_at_the_start_of_the_log(rig):
    """Not at zero, and not at the end: by our own decision, never the client's."""
    await rig.produce_events(5)
    rig.log(SOURCE).trim(3)
    partition = await rig.open()
    assert partition.progress.fold_offset == 3
    assert not partition.has_changes()


async def test_a_restart_goes_on_where_the_last_commit_ended(rig):
    """What was folded after it is folded again; nothing of it had become true."""
    await rig.open()
    await rig.commit_events(4)
    await rig.produce_events(2)
    await rig.fold()
    partition = await rig.open()
    assert partition.progress.fold_offset == 4
    assert partition.progress.applied == 4
    assert len(partition.windows) == 1


async def test_an_empty_folder_restores_the_same_state(rig):
    """The changelog holds everything: the local store is only its cache."""
    await rig.open()
    for _ in range(6):
        await rig.commit_events(3)
        rig.log(CHANGELOG).trim(rig.partition.state.link.base_offset)
    local = await rig.open()
    remote = await rig.open(MemoryDisk())
    assert remote.state.link == local.state.link
    assert remote.progress == local.progress
    assert dict(remote.state.store.items()) == dict(local.state.store.items())
    assert remote.state.live.log_bytes == local.state.live.log_bytes


async def test_opening_fences_the_previous_owner(rig):
    """A zombie may fold what it likes: none of it becomes true."""
    await rig.open()
    zombie = rig.opened.producer
    told = []
    await rig.open(fenced=lambda: told.append("restoring"))
    assert told == ["restoring"], "A1 is over"
    await rig.produce_events(1)
    await rig.fold()
    with pytest.raises(ProducerFenced):
        await rig.commit(zombie)
    await rig.open()
    assert rig.partition.progress.fold_offset == 0


async def test_an_open_transaction_of_the_dead_owner_is_aborted(rig):
    """Its half of a commit must neither be read nor hold the log's stable end back."""
    await rig.open()
    await rig.commit_events(1)
    dead = rig.opened.producer
    await dead.begin()
    await (await dead.send(OutboundRecord(CHANGELOG, None, b"half")))
    partition = await rig.open()
    assert partition.progress.fold_offset == 1
    assert len(rig.contents(CHANGELOG)) == 1


async def test_a_spoiled_store_is_left_for_a_fresh_one(rig):
    """Corrupt or locked: the changelog knows better than the folder."""
    await rig.open()
    await rig.commit_events(3)
    rig.disk.unusable.add(SOURCE)
    partition = await rig.open()
    assert partition.progress.applied == 3
    assert rig.opened.restored_records == 1


async def test_a_store_older_than_the_changelogs_start_is_left_too(rig):
    """Another host trimmed the log meanwhile; reading on from here would miss commits."""
    await rig.open()
    await rig.commit_events(1)
    elsewhere = MemoryDisk()
    await rig.open(elsewhere)
    for _ in range(40):
        await rig.commit_events(1, event_id="again")
        rig.log(CHANGELOG).trim(rig.partition.state.link.base_offset)
    assert rig.log(CHANGELOG).start_offset > 2, "else this shows nothing"
    partition = await rig.open()
    assert (partition.progress.read, partition.progress.applied) == (41, 2)


async def test_a_deleted_changelog_with_local_state_is_refused(rig):
    """The store is ahead of the log: whose truth it holds nobody can tell."""
    await rig.open()
    await rig.commit_events(2)
    await rig.recreate(CHANGELOG.topic)
    with pytest.raises(ChangelogLost, match="dia tables reset"):
        await rig.open()


async def test_a_deleted_changelog_without_local_state_is_refused(rig):
    """An empty state would count everything again: the committed offset says there was one."""
    await rig.open()
    await rig.commit_events(2)
    await rig.recreate(CHANGELOG.topic)
    with pytest.raises(ChangelogLost, match="committed offset 2"):
        await rig.open(MemoryDisk())


async def _lose(rig, commits):
    """The last ``commits`` commits fall out of the changelog, as by an unclean election."""
    last = [*rig.contents(CHANGELOG).offsets][-commits:]
    rig.log(CHANGELOG).lose_tail(last[0])


@pytest.mark.parametrize("disk", [MemoryDisk, lambda: None], ids=["another host", "the same"])
async def test_a_changelog_without_its_end_is_refused(rig, disk):
    """An older state would count again what the group has committed."""
    await rig.open()
    for _ in range(3):
        await rig.commit_events(2)
    await _lose(rig, commits=2)
    with pytest.raises(ChangelogLost, match="dia tables reset"):
        await rig.open(disk())


async def test_a_lost_commit_without_records_is_noticed_too(rig):
    """It moved no offset; what it owed would be forgotten, and the next one take its number."""
    await rig.open()
    await rig.commit_events(2)
    await rig.produce(b"{")
    await rig.fold()
    await rig.commit()
    await rig.commit()
    await _lose(rig, commits=1)
    with pytest.raises(ChangelogLost, match="ends with commit 2 of epoch 0, but commit 3"):
        await rig.open(MemoryDisk())


async def test_an_offset_moved_by_hand_is_refused_with_the_way_back(rig):
    """The group's offset is a witness: the message tells the two cases apart."""
    await rig.open()
    await rig.commit_events(2)
    rig.broker._cluster.commit_offsets(DIA_GROUP, {SOURCE: CommittedOffset(9, "")})
    with pytest.raises(ChangelogLost, match="--to-offset 2"):
        await rig.open(MemoryDisk())


@pytest.mark.parametrize("code", [*COORDINATOR_REFUSALS])
async def test_a_coordinator_without_an_answer_is_not_a_group_without_offsets(rig, code):
    """The guard of a lost changelog hangs on it: the partition opens later, or stops."""
    await rig.open()
    await rig.commit_events(2)
    await rig.recreate(CHANGELOG.topic)
    rig.broker.faults.refuse_offsets(code, 3600.0)
    opening = asyncio.ensure_future(rig.open(MemoryDisk()))
    await settle()
    await rig.clock.advance(60.0)
    with pytest.raises(BrokerUnavailable, match=code):
        await opening
    rig.broker.faults.heal()
    with pytest.raises(ChangelogLost):
        await rig.open(MemoryDisk())


@pytest.mark.parametrize("topic", [CHANGELOG, SOURCE], ids=["changelog", "source"])
async def test_a_leader_that_is_behind_is_not_believed(rig, topic):
    """A3 would end in an older state, A4 take the source for another one."""
    await rig.open()
    for _ in range(3):
        await rig.commit_events(2)
    rig.broker.faults.spoil_reads(SpoiledRead(), times=topic == SOURCE)
    rig.broker.faults.spoil_reads(SpoiledRead(behind=3), times=2)
    with pytest.raises(BrokerUnavailable, match=f"{topic} returns nothing"):
        await rig.open(MemoryDisk())
    assert (await rig.open(MemoryDisk())).progress.fold_offset == 6


async def test_a_changelog_trimmed_into_live_state_is_refused(rig):
    """Someone set a retention on it: part of what counts is gone."""
    await rig.open()
    for _ in range(3):
        await rig.commit_events(1)
    rig.log(CHANGELOG).trim(rig.log(CHANGELOG).high_watermark - 2)
    with pytest.raises(ChangelogLost, match="still live"):
        await rig.open(MemoryDisk())


async def test_a_hole_in_the_chain_is_refused(rig):
    """A commit that is not there was counted once, and would be lost in silence."""
    await rig.open()
    for _ in range(3):
        await rig.commit_events(1)
    log = rig.log(CHANGELOG)
    log._entries[2].delivered = False
    with pytest.raises(ChangelogGap, match="hole before offset 4"):
        await rig.open(MemoryDisk())


async def test_a_record_by_someone_else_in_the_changelog_is_refused(rig):
    """Whatever wrote there may have trimmed or overwritten more."""
    await rig.open()
    await rig.commit_events(1)
    producer = rig.broker.transactional_producer("intruder")
    await producer.start()
    await producer.begin()
    await (await producer.send(OutboundRecord(CHANGELOG, None, b"hello")))
    await producer.commit()
    with pytest.raises(ChangelogGap, match="no header of dia"):
        await rig.open()


async def test_state_of_a_newer_version_is_refused_wherever_it_lies(rig):
    """Going back after an upgrade must not read what it cannot understand."""
    await rig.open()
    await rig.commit_events(1)
    rig.partition.state.store.close()
    folder = rig.disk.folders[SOURCE]
    meta = bytearray(folder[META_KEY])
    meta[1] += 1
    folder[META_KEY] = bytes(meta)
    with pytest.raises(UnknownFormat, match="local state"):
        await rig.open()
    entry = rig.log(CHANGELOG)._entries[0]
    entry.value = entry.value[:2] + bytes([entry.value[2] + 1]) + entry.value[3:]
    with pytest.raises(UnknownFormat):
        await rig.open(MemoryDisk())


@pytest.mark.parametrize("disk", [None, MemoryDisk()], ids=["store", "changelog"])
async def test_another_shard_map_than_the_chains_is_refused(rig, disk):
    """Live windows have rows where the old map placed them; the new one would write them again."""
    await rig.shards.ping(0)
    await rig.open()
    await rig.commit_events(1)
    rig.shards = MemoryShards(3, rig.clock)
    with pytest.raises(ShardMapChanged, match=r"placed by 2 shards by hash .* has 3 shards"):
        await rig.open(disk)


async def test_a_map_that_no_server_confirmed_is_in_no_link(rig):
    """A mistake in the settings, made while ClickHouse is away, must not stop the right process."""
    servers, rig.shards = rig.shards, MemoryShards(3, rig.clock)
    await rig.open()
    await rig.commit_events(1)
    assert rig.opened.partition.state.link.shard_map == ""
    rig.shards = servers
    await rig.open()
    await rig.shards.ping(0)
    await rig.commit_events(1)
    link = rig.opened.partition.state.link
    assert MapIdentity.parse(link.shard_map) == servers.identity


async def test_a_store_of_an_older_format_is_left_for_a_fresh_one(rig):
    """An upgrade costs a restore and nobody's attention: the changelog has it all."""
    await rig.open()
    await rig.commit_events(3)
    rig.partition.state.store.close()
    folder = rig.disk.folders[SOURCE]
    meta = bytearray(folder[META_KEY])
    meta[1] = 1
    folder[META_KEY] = bytes(meta)
    partition = await rig.open()
    assert partition.progress.applied == 3
    assert rig.opened.restored_records == 1


async def test_a_source_trimmed_below_the_next_offset_is_refused_by_range(rig):
    """Retention overtook the group: an operator must know which records are gone."""
    await rig.open()
    await rig.commit_events(2)
    await rig.produce_events(6)
    rig.log(SOURCE).trim(5)
    with pytest.raises(SourceTruncated, match="offsets 2 to 4"):
        await rig.open()


async def test_a_source_trimmed_up_to_the_next_offset_is_fine(rig):
    """Only what was consumed is gone, as retention intends."""
    await rig.open()
    await rig.commit_events(4)
    rig.log(SOURCE).trim(4)
    assert (await rig.open()).progress.fold_offset == 4


@pytest.mark.parametrize("records", [0, 1, 3, 9])
async def test_a_recreated_source_is_refused_however_long_it_is(rig, records):
    """Its offsets name other records: going on would skip them, or count them wrongly."""
    await rig.open()
    await rig.commit_events(3)
    await rig.recreate(SOURCE.topic)
    await rig.clock.advance(1)
    await rig.produce_events(records)
    with pytest.raises(TopicRecreated, match="dia tables reset"):
        await rig.open()


async def test_every_failed_opening_leaves_nothing_open(rig):
    """A refusal is repeated for as long as nobody acts: it must not pile up stores."""
    await rig.open()
    await rig.commit_events(2)
    stores = []

    def disk(tp, fresh):
        stores.append(rig.disk(tp, fresh))
        return stores[-1]

    rig.log(SOURCE).trim(2)
    await rig.recreate(SOURCE.topic)
    with pytest.raises(TopicRecreated):
        await rig.open(disk)
    for store in stores:
        with pytest.raises(StoreUnusable, match="closed"):
            store.get(b"")


@pytest.mark.parametrize("call", ["start", "admin", "read"])
async def test_a_broker_that_fails_meanwhile_is_tried_again(rig, call):
    """Nothing was decided yet: the same opening succeeds later."""
    await rig.open()
    await rig.commit_events(2)
    rig.broker.faults.fail(call, BrokerUnavailable("scripted"))
    with pytest.raises((BrokerUnavailable, Exception), match="scripted"):
        await rig.open(MemoryDisk())
    assert (await rig.open(MemoryDisk())).progress.applied == 2
