"""A group's offset whose link was aborted: when a partition may go on without that link.

The offset of a commit that Kafka carried out in part (streams/connect/broker/torn_commit.py) lies ahead of the
chain, as does the offset of a commit that the changelog lost. Only the first may be set back. It is
the first where the changelog holds the link of that very attempt as an aborted record, and that link
would stand next in the chain, or the chain has a link of its number by now, of another attempt:
nothing between the chain's end and it was committed and lost.

An aborted link that opens an epoch is no such link: the reset was ordered because something was
lost, and that is as true as before. A second reset leads out.
"""

from __future__ import annotations

from streams.connect.broker.torn_commit import aborted_at
from streams.core.errors import ChangelogGap
from streams.core.types import CommittedOffset, LogReader, TopicPartition
from streams.engine.runtime.offsets.commit_mark import is_of, landed_at
from streams.engine.runtime.restore.restore import follows
from streams.engine.state.changelog import Link, unpack


async def is_torn(
    reader: LogReader, changelog: TopicPartition, committed: CommittedOffset, last: Link | None
) -> bool:
    """Whether the link that ``committed`` was written with is aborted, and the chain that ends with
    ``last`` lacks nothing before it (None: the chain is empty).

    Raises `BrokerUnavailable` where that is not decided.
    """
    at = landed_at(committed)
    part = await aborted_at(reader, changelog, at) if at is not None else None
    if part is None:
        return False
    try:
        link, _ = unpack(part)
    except ChangelogGap:
        return False
    if link.reset or not is_of(committed, link):
        return False
    if last is None:
        return link.seq == 1
    return follows(last, link) or _is_behind(last, link)


def _is_behind(last: Link, link: Link) -> bool:
    """Whether the chain that ends with ``last`` has a link of the number of ``link``."""
    return (link.epoch, link.secret) == (last.epoch, last.secret) and link.seq <= last.seq
