"""A3: apply the changelog from the store's offset to its last stable offset.

It checks the chain: the parts of a link are consecutive and complete; a link's ``seq`` is that of
its predecessor + 1, its ``from_offset`` the predecessor's ``next_offset``, its ``secret`` the same.
A trimmed log begins with part 0 of a link, at or below the last link's ``base_offset``. A link that
opens an epoch (``reset``) follows any link of a lower epoch.
"""

from __future__ import annotations

from streams.connect.broker.log_range import behind, read_range
from streams.core.errors import BatchUnreadable, ChangelogGap, ChangelogLost
from streams.core.types import LogReader, OffsetOutOfRange, RecordBatch, TopicPartition
from streams.engine.runtime.restore.state import PartitionState
from streams.engine.state.changelog import Link, unpack
from streams.engine.state.table import Entry

_READ_RECORDS = 500


async def restore(state: PartitionState, reader: LogReader, chained: bool) -> int:
    """Apply what the store lacks; the number of changelog records read. ``chained``: the first link
    must follow the store's.

    Raises `OffsetOutOfRange` if the log begins behind the store's offset, or inside a link (a
    fenced process may have trimmed it); `ChangelogGap` for a hole or an unreadable batch;
    `ChangelogLost` if the log ends before the store or begins behind a live entry;
    `BrokerUnavailable` if it cannot be read to its last stable offset.
    """
    log = state.changelog
    end = await reader.last_stable_offset(log)
    if state.changelog_offset > end:
        raise ChangelogLost(
            f"the local state of {state.tp} follows {log} up to offset {state.changelog_offset}, "
            f"but the log ends at {end}. If it was deleted or recreated, an operator decides: "
            f"`dia tables reset`."
        )
    chain = _Chain(state, chained)
    read = 0
    offset = state.changelog_offset
    try:
        async for batch in read_range(reader, log, offset, end, _READ_RECORDS):
            chain.apply(batch)
            read += len(batch)
            offset = batch.end
    except BatchUnreadable as error:
        raise ChangelogGap(
            f"{unreadable(log, error, behind(error, end))} An operator decides: `dia tables reset`."
        ) from error
    chain.finish(offset)
    start = await reader.beginning_offset(log)
    if read and start > state.link.base_offset:
        raise ChangelogLost(
            f"{log} begins at offset {start}, but state of {state.tp} from "
            f"{state.link.base_offset} on is still live. An operator decides: `dia tables reset`."
        )
    return read


def follows(before: Link, link: Link) -> bool:
    """Whether ``link`` may be the successor of ``before``."""
    if link.reset:
        return link.epoch > before.epoch
    return (link.epoch, link.secret, link.seq, link.from_offset) == (
        before.epoch,
        before.secret,
        before.seq + 1,
        before.next_offset,
    )


def hole(changelog: TopicPartition, offset: int, before: Link, link: Link) -> str:
    return (
        f"{changelog} has a hole before offset {offset}: commit {before.seq} of epoch "
        f"{before.epoch} ends at source offset {before.next_offset}, commit {link.seq} of epoch "
        f"{link.epoch} goes on at {link.from_offset}."
    )


def unreadable(changelog: TopicPartition, error: BatchUnreadable, until: int) -> str:
    return (
        f"{changelog} cannot be opened at offsets {error.offset} to {until - 1}: {error.why}. "
        f"What was committed there is unknown."
    )


class _Chain:
    def __init__(self, state: PartitionState, chained: bool) -> None:
        self._state = state
        self._last: Link | None = state.link if chained else None
        state.live.written_bytes = state.link.written_bytes
        self._parts: list[Entry] = []
        self._expected = 0
        self._first_offset = 0

    def apply(self, batch: RecordBatch) -> None:
        for offset, value in zip(batch.offsets, batch.values, strict=True):
            link, entries = unpack(value or b"")
            if link.part != self._expected:
                self._broken(offset, link)
            if link.part == 0:
                self._check(offset, link)
                self._first_offset = offset
            self._parts += entries
            self._expected += 1
            if self._expected == link.parts:
                self._complete(link, offset + 1)

    def finish(self, end: int) -> None:
        if self._expected:
            raise ChangelogGap(
                f"{self._state.changelog} ends inside a commit, after {self._expected} parts. "
                "Kafka does not split a transaction: another program may have written the log."
            )
        self._state.changelog_offset = max(self._state.changelog_offset, end)

    def _complete(self, link: Link, next_offset: int) -> None:
        if self._last is None:
            self._state.live.written_bytes = link.written_bytes
        self._state.applied(link, self._first_offset, next_offset, self._parts)
        self._last = link
        self._parts, self._expected = [], 0

    def _check(self, offset: int, link: Link) -> None:
        last = self._last
        if last is None:
            return
        if not follows(last, link):
            raise ChangelogGap(
                f"{hole(self._state.changelog, offset, last, link)} An operator decides: "
                f"`dia tables reset`."
            )

    def _broken(self, offset: int, link: Link) -> None:
        if self._last is None and not self._expected:
            raise OffsetOutOfRange(self._state.changelog, offset)
        raise ChangelogGap(
            f"{self._state.changelog} has part {link.part} at offset {offset} instead of part "
            f"{self._expected}. An operator decides: `dia tables reset`."
        )
