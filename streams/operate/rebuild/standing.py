"""What the changelog of a partition says: its last commit, and the incarnations that are live."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.core.command_errors import RebuildRefused
from streams.core.errors import ShardMapChanged
from streams.core.rows.built_in_tables import WindowRows, version_of
from streams.core.rows.dated_map import DatedMap
from streams.core.topics.topic import Topic
from streams.core.types import LogReader, TopicPartition
from streams.engine.engine_tables import MINUTE_WINDOWS
from streams.engine.runtime.restore.survey import survey
from streams.engine.state.changelog import Link
from streams.engine.state.placements import unknown
from streams.engine.windows.minutes.known_series import SeriesQuota
from streams.engine.windows.minutes.minute_windows import MinuteWindows, WindowPolicy


@dataclass(frozen=True, slots=True)
class PartitionStanding:
    """``live``: the state of each incarnation that is not evicted. Its owner sends its row; every
    other incarnation that began below ``link.next_offset`` was acknowledged by its shard."""

    tp: TopicPartition
    link: Link
    live: tuple[WindowRows, ...]

    @property
    def beyond(self) -> int:
        """The lowest ``inc`` of an incarnation that began after the last commit was read."""
        return version_of(self.link.epoch, self.link.next_offset + 1)

    @property
    def live_incarnations(self) -> NDArray[np.uint64]:
        """Their ``inc``, with repeats: one record may begin incarnations of no more than one
        window."""
        return np.concatenate([np.zeros(0, np.uint64), *(rows.inc for rows in self.live)])


async def standing_of(
    reader: LogReader, source: Topic, group: str, partition: int, maps: tuple[DatedMap, ...]
) -> PartitionStanding | None:
    """None for a partition without a commit.

    Raises `RebuildRefused` for a broken chain, `ShardMapChanged` for one that names an unknown map,
    and errors of the reader."""
    tp = TopicPartition(source.name, partition)
    changelog = TopicPartition(source.changelog(group), partition)
    found = await survey(reader, changelog, tables=(MINUTE_WINDOWS.prefix,))
    if found.faults:
        raise RebuildRefused(
            f"{tp}: {found.faults[0]} A partition that stands still is reset first: `dia tables reset`."
        )
    if found.last is None:
        return None
    other = unknown(found.last.later_maps, maps)
    if other is not None:
        raise ShardMapChanged(
            f"the changelog of {tp} names {other.description}. `dia shards list`."
        )
    skip = len(MINUTE_WINDOWS.prefix)
    table = MinuteWindows(
        partition, found.last.epoch, maps[0].shards, maps[0].shard_of,
        WindowPolicy(series=SeriesQuota(1 << 40)),
    )  # fmt: skip
    for taken, later in zip(found.last.later_maps, maps[1:], strict=False):
        days = taken.first_day, taken.last_day
        table.add_map(*days, later.shards, later.shard_of, taken.since)
    table.load(
        (key[skip:], value)
        for key, value in sorted(found.wanted.items())
        if key.startswith(MINUTE_WINDOWS.prefix)
    )
    return PartitionStanding(tp, found.last, tuple(rows for _, rows in table.snapshot()))
