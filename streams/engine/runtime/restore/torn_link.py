"""Whether a partition may continue without the link of its group's offset, because it was aborted.

A commit that Kafka carried out in part (streams/connect/broker/torn_commit.py), and a commit that
the changelog lost, both leave the group's offset ahead of the chain. The first is recognised by the
link of that attempt as an aborted record, which would be next in the chain, or whose number the
chain has from another attempt.

An aborted link that opens an epoch does not count: the loss behind that reset still exists.
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
    """Whether the link of ``committed`` is aborted, and the chain that ends with ``last`` (None:
    empty) lacks nothing before it.

    Raises `BrokerUnavailable` if that is undecided.
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
    return (link.epoch, link.secret) == (last.epoch, last.secret) and link.seq <= last.seq
