"""The commit that covers a source offset: the first link of the changelog behind it."""

from __future__ import annotations

from typing import NamedTuple

from streams.connect.broker.log_range import behind, read_some
from streams.core.errors import BatchUnreadable, ChangelogGap
from streams.core.types import LogReader, OffsetOutOfRange, TopicPartition
from streams.engine.state.changelog import Link, unpack

CLOCK_SLACK_MS = 60_000
"""The broker stamps the record, the worker its commit: their clocks may differ by as much."""


class WrittenLink(NamedTuple):
    """``at``: the changelog offset of its part that was read; ``written_ms``: its timestamp."""

    at: int
    link: Link
    written_ms: int


class CoveringLink(NamedTuple):
    """``before`` is the link before it; None where the changelog no longer holds one."""

    found: WrittenLink
    before: WrittenLink | None

    @property
    def kept(self) -> bool:
        """Whether it is the record's own commit, and not a later one of a trimmed changelog."""
        return (
            self.before is not None or self.found.link.from_offset == self.found.link.start_offset
        )

    def covers(self, offset: int) -> bool:
        link = self.found.link
        return link.from_offset <= offset < link.next_offset


async def link_at(
    reader: LogReader, changelog: TopicPartition, at: int, end: int
) -> WrittenLink | None:
    """The first link at or behind changelog offset ``at``; None without one below ``end``.

    Raises `UnknownFormat`, `ChangelogGap`, and as `LogReader`.
    """
    while at < end:
        try:
            batch = await read_some(reader, changelog, at, end, 1)
        except BatchUnreadable as error:
            at = behind(error, end)
            continue
        if len(batch) and batch.offsets[0] < end:
            link, _ = unpack(batch.values[0] or b"")
            return WrittenLink(batch.offsets[0], link, batch.timestamps[0])
        at = batch.end
    return None


async def covering_link(
    reader: LogReader, changelog: TopicPartition, offset: int, epoch: int, append_ms: int
) -> CoveringLink | None:
    """The link that carried the partition past ``offset`` in ``epoch``; None where the changelog
    has none. Some twenty reads, whatever the length of the log.

    Raises `UnknownFormat` for a link of a newer version, and as `LogReader`.
    """
    bounds = (await reader.bounds([changelog]))[changelog]
    begin, end = bounds.begin, bounds.stable_end

    def reaches(one: WrittenLink | None) -> bool:
        return one is None or (one.link.epoch, one.link.next_offset) > (epoch, offset)

    async def look(at: int) -> WrittenLink | None:
        return await link_at(reader, changelog, at, end)

    since = (await reader.offsets_since([changelog], append_ms - CLOCK_SLACK_MS))[changelog]
    low, high, before = begin, end, None
    try:
        if begin < since < end and not reaches(earlier := await look(since)):
            low, before = since, earlier
        found: WrittenLink | None = None
        while low < high:
            middle = (low + high) // 2
            one = await look(middle)
            if reaches(one):
                found, high = one if one is not None else found, middle
            else:
                assert one is not None, "no link at all reaches every offset"
                before, low = one, one.at + 1
        found = await look(low)
    except (OffsetOutOfRange, ChangelogGap):
        # Trimmed meanwhile, or written by another program: nothing is known of the link.
        return None
    if found is None or not reaches(found):
        return None
    return CoveringLink(
        found, before if before is not None and before.link.epoch == epoch else None
    )
