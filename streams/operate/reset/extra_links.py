"""Links that an operator's command adds to a partition's chain, in the same epoch: they consume nothing, and a
worker restores them like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from streams.core.errors import RefusedBySafety, UnknownTarget
from streams.core.types import OutboundRecord, TransactionalProducer
from streams.engine.runtime.offsets.commit_mark import committed_offset
from streams.engine.state.changelog import Link, entry_bytes, pack
from streams.engine.state.sized_parts import sized_parts
from streams.engine.state.table import Entry
from streams.operate.reset.reset import StoppedPartition

COMMIT_BYTES = 8 << 20
T = TypeVar("T")


def check_followed(standing: StoppedPartition) -> Link:
    """The link that the next one follows. Raises `RefusedBySafety` where the chain cannot go on."""
    last, cause = standing.survey.last, standing.cause
    if last is None or standing.torn or (cause and not isinstance(cause, UnknownTarget)):
        why = f"{cause.code}: {cause}" if cause else "its last commit was carried out in part"
        raise RefusedBySafety(
            f"{standing.tp} of {standing.group} cannot commit as it is: {why}. `dia tables reset` is the way out "
            f"of the first; a worker that holds the partition clears the second by itself."
        )
    return last


def in_commits(items: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """The items of each link: at most `COMMIT_BYTES`, or one."""
    return sized_parts(items, size_of, COMMIT_BYTES)


class ExtraLinks:
    """``link``: the last one of the chain."""

    def __init__(
        self, producer: TransactionalProducer, standing: StoppedPartition, link: Link
    ) -> None:
        self._producer = producer
        self._standing = standing
        self._last = link
        self._written_bytes = standing.survey.written_bytes

    def following(self) -> Link:
        return msgspec.structs.replace(
            self._last,
            seq=self._last.seq + 1,
            part=0,
            parts=1,
            from_offset=self._last.next_offset,
            written_bytes=self._written_bytes,
            reset=False,
        )

    async def commit(
        self, link: Link, entries: Sequence[Entry], letters: Sequence[OutboundRecord] = ()
    ) -> None:
        """One transaction: ``link`` with its entries, ``letters``, and the group's offset. Raises
        `ProducerFenced` and `CommitInDoubt`."""
        standing, producer = self._standing, self._producer
        changelog = standing.survey.changelog
        await producer.begin()
        records = [OutboundRecord(changelog, None, data) for data, _ in pack(link, entries)]
        offsets = await asyncio.gather(
            *[await producer.send(record) for record in [*records, *letters]]
        )
        committed = {standing.tp: committed_offset(link, offsets[0])}
        await producer.send_offsets(committed, standing.group)
        await producer.commit()
        self._last = link
        self._written_bytes += sum(entry_bytes(key, value) for key, value in entries)
