"""Reads the last commit of a changelog from its end.

A survey reads the whole log, which is as long as the live state: minutes, for a question that only the
last link answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streams.connect.broker.log_range import read_range
from streams.core.errors import BrokerUnavailable
from streams.core.types import LogReader, OffsetOutOfRange, TopicPartition
from streams.engine.state.changelog import Link, unpack

_ATTEMPTS: Final = 5
_FIRST_RECORDS: Final = 16
_WIDER: Final = 8


async def newest_link(reader: LogReader, changelog: TopicPartition) -> Link | None:
    """The link of the last whole commit below the last stable offset; None if the log has none.

    Breaks of the chain before it are left to the next owner. Raises `ChangelogGap` for bytes that are
    no commit, `UnknownFormat`, `BrokerUnavailable` where the log is trimmed `_ATTEMPTS` times
    meanwhile, and errors of the reader.
    """
    for _ in range(_ATTEMPTS):
        try:
            return await _newest(reader, changelog)
        except OffsetOutOfRange:
            continue
    raise BrokerUnavailable(
        f"{changelog} was trimmed {_ATTEMPTS} times while its end was read. Try again."
    )


async def _newest(reader: LogReader, changelog: TopicPartition) -> Link | None:
    begin = await reader.beginning_offset(changelog)
    end = await reader.last_stable_offset(changelog)
    records = _FIRST_RECORDS
    while begin < end:
        start = max(begin, end - records)
        values: list[bytes] = []
        async for batch in read_range(reader, changelog, start, end):
            values += [value or b"" for value in batch.values]
        if (found := _last_whole(values)) is not None or start == begin:
            return found
        records *= _WIDER
    return None


def _last_whole(values: Sequence[bytes]) -> Link | None:
    """Consecutive records; the first ones may be the end of a commit."""
    last, parts = None, 0
    for value in values:
        link, _ = unpack(value)
        parts = parts + 1 if link.part == parts else int(link.part == 0)
        if parts == link.parts:
            last, parts = link, 0
    return last
