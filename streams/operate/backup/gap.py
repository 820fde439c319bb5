"""What the log has that a restored backup does not show: per partition, a range of source offsets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from streams.core.types import Admin, TopicPartition
from streams.engine.runtime.offsets.commit_mark import epoch_of
from streams.operate.backup.manifest import BackupManifest


@dataclass(frozen=True, slots=True)
class OffsetGap:
    """Rows of the offsets from ``first`` to ``until`` - 1 of ``epoch`` may be missing. ``until`` None: the
    group has committed nothing that the broker knows."""

    group: str
    topic: str
    partition: int
    epoch: int
    first: int
    until: int | None

    @property
    def offsets(self) -> int | None:
        return None if self.until is None else max(0, self.until - self.first)


async def gaps(
    manifest: BackupManifest, admin: Admin, sources: Iterable[tuple[str, str]]
) -> list[OffsetGap]:
    """From the ledger of the newest epoch of each partition to the committed offset; all of the log where
    the backup has nothing of a partition, or a reset began a later epoch. ``sources``: groups and the
    topics that they read. Raises `BrokerUnavailable`."""
    newest = {(one.group, one.topic, one.partition): one for one in manifest.ledger}
    topics = await admin.describe_topics()
    read = {
        (group, topic, number)
        for group, topic in sources
        if topic in topics
        for number in range(topics[topic].partitions)
    }
    places = sorted(read | newest.keys())
    asked: dict[str, list[TopicPartition]] = {}
    for group, topic, partition in places:
        asked.setdefault(group, []).append(TopicPartition(topic, partition))
    told = {group: await admin.committed(group, tps) for group, tps in asked.items()}
    found = []
    for place in places:
        group, topic, partition = place
        known = newest.get(place)
        committed = told[group].get(TopicPartition(topic, partition))
        if known is None and committed is None:
            continue  # nothing was ever read
        epoch = epoch_of(committed)
        if known is None or epoch > known.epoch:
            first = 0
        else:
            first, epoch = known.next_offset, known.epoch
        until = committed.offset if committed is not None else None
        found.append(OffsetGap(group, topic, partition, epoch, first, until))
    return found
