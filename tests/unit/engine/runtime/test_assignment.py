"""Steps A1 to A4: where a partition resumes, and when opening is refused."""

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
from streams.core.rows.row_sink import RowBatch
from streams.core.types import CommittedOffset, OutboundRecord, TopicPartition
from streams.engine.runtime.assignment import transactional_id
from streams.engine.runtime.restore.state import META_KEY
from streams.engine.state.memory import MemoryDisk

SOURCE = TopicPartition(MODEL_METRICS.name, 0)
CHANGELOG = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), 0)


def test_no_two_partitions_share_a_producer_or_a_batch_of_rows():
    """Groups and topics that join to one text fenced each other, and one's files replaced the other's."""
    places = [
        ("acme-audit", TopicPartition("eu-orders", 0)),
        ("acme-audit-eu", TopicPartition("orders", 0)),
        ("acme-audit", TopicPartition("eu-orders-0", 0)),
        ("acme-audit", TopicPartition("eu.orders", 0)),
    ]
    assert len({transactional_id(*place) for place in places}) == len(places)
    batches = [RowBatch("lines", *place, 1, 0, {}) for place in places]
    assert len({batch.name for batch in batches}) == len(places)


async def test_a_new_group_begins_at_the_start_of_the_log(rig):
    """The engine chooses the log start; the client's reset policy does not apply."""
    await rig.produce_events(5)
    rig.log(SOURCE).trim(3)
    partition = await rig.open()
    assert partition.progress.fold_offset == 3
    assert not partition.has_changes()


async def test_a_restart_goes_on_where_the_last_commit_ended(rig):
    """Records after the commit are folded again: their first fold had no effect."""
    await rig.open()
    await rig.commit_events(4)
    await rig.produce_events(2)
    await rig.fold()
    partition = await rig.open()
    assert partition.progress.fold_offset == 4
    assert partition.progress.applied == 4
    assert len(partition.windows) == 1


async def test_an_empty_folder_restores_the_same_state(rig):
    """The changelog holds all state; the local store is a cache."""
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
    """A zombie may go on folding, but its commits fail."""
    await rig.open()
    zombie = rig.opened.producer
    told = []
    await rig.open(fenced=lambda: told.append("restoring"))
    assert told == ["restoring"], "the opening has not passed A1"
    await rig.produce_events(1)
    await rig.fold()
    with pytest.raises(ProducerFenced):
        await rig.commit(zombie)
    await rig.open()
    assert rig.partition.progress.fold_offset == 0


async def test_an_open_transaction_of_a_dead_owner_is_aborted(rig):
    """Otherwise the open transaction holds back the last stable offset."""
    await rig.open()
    await rig.commit_events(1)
    dead = rig.opened.producer
    await dead.begin()
    await (await dead.send(OutboundRecord(CHANGELOG, None, b"half")))
    partition = await rig.open()
    assert partition.progress.fold_offset == 1
    assert len(rig.contents(CHANGELOG)) == 1


async def test_an_unreadable_store_is_replaced(rig):
    """A corrupt or locked store is replaced; the state comes from the changelog."""
    await rig.open()
    await rig.commit_events(3)
    rig.disk.unusable.add(SOURCE)
    partition = await rig.open()
    assert partition.progress.applied == 3
    assert rig.opened.restored_records == 1


async def test_a_store_older_than_the_changelogs_start_is_replaced(rig):
    """Another host trimmed the log meanwhile: the commits between store and log start are missing."""
    await rig.open()
    await rig.commit_events(1)
    elsewhere = MemoryDisk()
    await rig.open(elsewhere)
    for _ in range(40):
        await rig.commit_events(1, event_id="again")
        rig.log(CHANGELOG).trim(rig.partition.state.link.base_offset)
    assert rig.log(CHANGELOG).start_offset > 2, "the log must be trimmed for this test"
    partition = await rig.open()
    assert (partition.progress.read, partition.progress.applied) == (41, 2)


async def test_a_deleted_changelog_with_local_state_is_refused(rig):
    """The store is ahead of the log, so the right state is unknown."""
    await rig.open()
    await rig.commit_events(2)
    await rig.recreate(CHANGELOG.topic)
    with pytest.raises(ChangelogLost, match="dia tables reset"):
        await rig.open()


async def test_a_deleted_changelog_without_local_state_is_refused(rig):
    """The committed offset shows that there was a state; an empty one would count every record
    again.
    """
    await rig.open()
    await rig.commit_events(2)
    await rig.recreate(CHANGELOG.topic)
    with pytest.raises(ChangelogLost, match="committed offset 2"):
        await rig.open(MemoryDisk())


async def _lose_last(rig, commits):
    """Remove the last ``commits`` commits from the changelog, as an unclean election does."""
    last = [*rig.contents(CHANGELOG).offsets][-commits:]
    rig.log(CHANGELOG).lose_tail(last[0])


@pytest.mark.parametrize("disk", [MemoryDisk, lambda: None], ids=["another host", "the same"])
async def test_a_changelog_without_its_end_is_refused(rig, disk):
    """With an older state, records that the group has committed would count again."""
    await rig.open()
    for _ in range(3):
        await rig.commit_events(2)
    await _lose_last(rig, commits=2)
    with pytest.raises(ChangelogLost, match="dia tables reset"):
        await rig.open(disk())


async def test_a_lost_commit_without_records_is_noticed_too(rig):
    """The commit moved no offset. Without the check, its pending effects would be lost and its link
    number used again.
    """
    await rig.open()
    await rig.commit_events(2)
    await rig.produce(b"{")
    await rig.fold()
    await rig.commit()
    await rig.commit()
    await _lose_last(rig, commits=1)
    with pytest.raises(ChangelogLost, match="ends with commit 2 of epoch 0, but commit 3"):
        await rig.open(MemoryDisk())


async def test_an_offset_moved_by_hand_is_refused_with_a_remedy(rig):
    """The group's offset is independent evidence; the message distinguishes the two causes."""
    await rig.open()
    await rig.commit_events(2)
    rig.broker._cluster.commit_offsets(DIA_GROUP, {SOURCE: CommittedOffset(9, "")})
    with pytest.raises(ChangelogLost, match="--to-offset 2"):
        await rig.open(MemoryDisk())


@pytest.mark.parametrize("code", [*COORDINATOR_REFUSALS])
async def test_an_unanswered_request_for_offsets_does_not_count_as_no_offsets(rig, code):
    """The check for a lost changelog needs the group's offsets: without an answer the partition
    opens later, or stops.
    """
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
async def test_a_lagging_leader_is_not_trusted(rig, topic):
    """With its data A3 would restore an older state, and A4 would see another source."""
    await rig.open()
    for _ in range(3):
        await rig.commit_events(2)
    rig.broker.faults.spoil_reads(SpoiledRead(), times=topic == SOURCE)
    rig.broker.faults.spoil_reads(SpoiledRead(behind=3), times=2)
    with pytest.raises(BrokerUnavailable, match=f"{topic} returns nothing"):
        await rig.open(MemoryDisk())
    assert (await rig.open(MemoryDisk())).progress.fold_offset == 6


async def test_a_changelog_trimmed_into_live_state_is_refused(rig):
    """A retention setting on the changelog deleted live entries."""
    await rig.open()
    for _ in range(3):
        await rig.commit_events(1)
    rig.log(CHANGELOG).trim(rig.log(CHANGELOG).high_watermark - 2)
    with pytest.raises(ChangelogLost, match="still live"):
        await rig.open(MemoryDisk())


async def test_a_gap_in_the_changelog_is_refused(rig):
    """The effects of the missing commit would be lost without an error."""
    await rig.open()
    for _ in range(3):
        await rig.commit_events(1)
    log = rig.log(CHANGELOG)
    log._entries[2].delivered = False
    with pytest.raises(ChangelogGap, match="hole before offset 4"):
        await rig.open(MemoryDisk())


async def test_a_foreign_record_in_the_changelog_is_refused(rig):
    """A foreign writer may also have trimmed or overwritten entries."""
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
    """After a downgrade the older version must not read a format that it does not know."""
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
async def test_a_shard_map_that_differs_from_the_changelog_is_refused(rig, disk):
    """Open windows have rows on the shards of the old map; the new map would write them to other
    shards.
    """
    await rig.shards.ping(0)
    await rig.open()
    await rig.commit_events(1)
    rig.shards = MemoryShards(3, rig.clock)
    with pytest.raises(ShardMapChanged, match=r"placed by 2 shards by hash .* has 3 shards"):
        await rig.open(disk)


async def test_a_map_is_committed_only_after_a_server_confirmed_it(rig):
    """An invalid setting during an outage of ClickHouse must not stop workers with the right
    settings.
    """
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


async def test_a_store_of_an_older_format_is_replaced(rig):
    """After an upgrade the state is restored from the changelog without an operator."""
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
    """Retention overtook the group: the error names the lost records."""
    await rig.open()
    await rig.commit_events(2)
    await rig.produce_events(6)
    rig.log(SOURCE).trim(5)
    with pytest.raises(SourceTruncated, match="offsets 2 to 4"):
        await rig.open()


async def test_a_source_trimmed_up_to_the_next_offset_is_accepted(rig):
    """Retention removed only consumed records."""
    await rig.open()
    await rig.commit_events(4)
    rig.log(SOURCE).trim(4)
    assert (await rig.open()).progress.fold_offset == 4


@pytest.mark.parametrize("records", [0, 1, 3, 9])
async def test_a_recreated_source_of_any_length_is_refused(rig, records):
    """Its offsets name other records, which would be skipped or counted wrongly."""
    await rig.open()
    await rig.commit_events(3)
    await rig.recreate(SOURCE.topic)
    await rig.clock.advance(1)
    await rig.produce_events(records)
    with pytest.raises(TopicRecreated, match="dia tables reset"):
        await rig.open()


async def test_every_failed_opening_leaves_nothing_open(rig):
    """Refused openings repeat until an operator acts, so each must close its store."""
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
async def test_an_opening_is_repeated_after_a_broker_error(rig, call):
    """No decision was made yet: a repeated opening succeeds."""
    await rig.open()
    await rig.commit_events(2)
    rig.broker.faults.fail(call, BrokerUnavailable("scripted"))
    with pytest.raises((BrokerUnavailable, Exception), match="scripted"):
        await rig.open(MemoryDisk())
    assert (await rig.open(MemoryDisk())).progress.applied == 2
