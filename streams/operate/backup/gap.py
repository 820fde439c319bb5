"""What the log has that a restored backup does not show: per partition, a range of source offsets."""

from __future__ import annotations

from dataclasses import dataclass

from streams.core.types import Admin, TopicPartition
from streams.operate.backup.manifest import BackupManifest


@dataclass(frozen=True, slots=True)
class OffsetGap:
    """Rows of the offsets from ``first`` to ``until`` - 1 may be missing. ``until`` None: the group has
    committed nothing that the broker knows."""

    group: str
    topic: str
    partition: int
    epoch: int
    first: int
    until: int | None

    @property
    def offsets(self) -> int | None:
        return None if self.until is None else max(0, self.until - self.first)


async def gaps(manifest: BackupManifest, admin: Admin) -> list[OffsetGap]:
    """From the ledger of the newest epoch of each partition to the committed offset."""
    newest = {(one.group, one.topic, one.partition): one for one in manifest.ledger}
    found = []
    for (group, topic, partition), one in sorted(newest.items()):
        tp = TopicPartition(topic, partition)
        committed = (await admin.committed(group, [tp])).get(tp)
        found.append(
            OffsetGap(
                group=group,
                topic=topic,
                partition=partition,
                epoch=one.epoch,
                first=one.next_offset,
                until=committed.offset if committed is not None else None,
            )
        )
    return found
