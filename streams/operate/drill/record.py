"""Records of the last good drills, beside the backups: one of each procedure and shard."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streams.operate.backup.destination import BackupDestination


class DrillRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``rto_s``: seconds from an empty server to rows that were compared. ``rpo_s``: what was
    acknowledged in this time before the loss, and is not in the backup; windows of it come back by
    the rebuild. ``lost``: rows by table that did not.

    Of a region: ``restore_s`` is the time from the loss to the first event that the other region
    accepted, ``rpo_s`` the age of the oldest record that its mirror had not taken, and ``lost``
    these records by partition and offset; they came back with the lost region. Of a replica: how long another
    one took to be copied, how far it was behind, and rows that only the lost one had, by table."""

    procedure: str
    """``shard``, ``backup`` or ``region``"""
    shard: int | None
    """None: every shard, or a region"""
    backup: str
    """"" of a region and of a replica"""
    began_ms: int
    rows: int
    """of the copy; of a region, events"""
    restore_s: float
    rebuild_s: float
    rpo_s: float
    lost: dict[str, int]

    @property
    def name(self) -> str:
        return self.procedure if self.shard is None else f"{self.procedure}-{self.shard}"

    @property
    def rto_s(self) -> float:
        return self.restore_s + self.rebuild_s

    @property
    def s_per_million_rows(self) -> float:
        return self.rto_s * 1e6 / max(1, self.rows)


def keep(destination: BackupDestination, record: DrillRecord) -> None:
    """In the place of the one before. Raises `DependencyUnreachable`."""
    destination.keep_drill(record.name, msgspec.json.encode(record))


def kept(destination: BackupDestination) -> list[DrillRecord]:
    """By name. Another version's records, and damaged ones, count as none. Raises
    `DependencyUnreachable`."""
    found = []
    for name in destination.drills():
        try:
            found.append(msgspec.json.decode(destination.drill(name), type=DrillRecord))
        except (msgspec.MsgspecError, FileNotFoundError):
            continue
    return found


def newest_ms(records: Sequence[DrillRecord], procedure: str, now_ms: int) -> int | None:
    """One from the future, by a clock that was set back, counts as none."""
    began_ms = (one.began_ms for one in records if one.procedure == procedure)
    return max((one for one in began_ms if one <= now_ms), default=None)


def next_shard(
    records: Sequence[DrillRecord], shards: Sequence[int], now_ms: int, procedure: str = "shard"
) -> int:
    """The one of ``shards`` whose last good drill is oldest; one without a record, or with one from the future,
    before all."""
    began = {
        one.shard: one.began_ms
        for one in records
        if one.procedure == procedure and one.began_ms <= now_ms
    }
    return min(shards, key=lambda shard: (began.get(shard, 0), shard))
