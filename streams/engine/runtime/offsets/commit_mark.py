"""What a commit leaves beside the group's offset: a witness that outlives the changelog.

The metadata of a committed offset reads ``epoch=E seq=N at=O``: the epoch and the number of the
link that was written in the same transaction, and the changelog offset of its first part. So the
end of a changelog can be checked: a chain that ends below the mark has lost links that were
committed, unless the transaction was torn (runtime/restore/torn_link.py).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from streams.core.types import CommittedOffset
from streams.engine.state.changelog import Link

_MARK = re.compile(r"epoch=(\d{1,18}) seq=(\d{1,18})(?: at=(\d{1,18}))?")


class _Mark(NamedTuple):
    epoch: int
    seq: int


def committed_offset(link: Link, at: int) -> CommittedOffset:
    """What the commit of ``link``, whose first part landed at changelog offset ``at``, tells the
    group coordinator."""
    return CommittedOffset(link.next_offset, f"epoch={link.epoch} seq={link.seq} at={at}")


def is_of(committed: CommittedOffset | None, link: Link) -> bool:
    """Whether ``committed`` is what the commit of ``link`` left."""
    return (
        committed is not None
        and committed.offset == link.next_offset
        and _mark(committed) == (link.epoch, link.seq)
    )


def landed_at(committed: CommittedOffset) -> int | None:
    """The changelog offset that its link was written to; None where the metadata does not say."""
    found = _MARK.fullmatch(committed.metadata)
    return int(found[3]) if found and found[3] else None


def epoch_of(committed: CommittedOffset | None) -> int:
    """The epoch it was written in; 0 where nothing, or something else, was written."""
    return _mark(committed).epoch


def lost_links(last: Link, committed: CommittedOffset | None) -> str | None:
    """Why a chain that ends with ``last`` is not the whole of what was committed, as the rest of a
    sentence about the changelog; None where it is.

    An offset of the same epoch that is ahead of the chain counts too, whatever its metadata says.
    """
    if committed is None:
        return None
    mark = _mark(committed)
    if (last.epoch, last.seq) < mark:
        return (
            f"ends with commit {last.seq} of epoch {last.epoch}, but commit {mark.seq} of epoch "
            f"{mark.epoch} was made: its end is lost"
        )
    if last.epoch == mark.epoch and last.next_offset < committed.offset:
        return (
            f"ends at source offset {last.next_offset}, but offset {committed.offset} is "
            f"committed: its end is lost, or the group's offset was moved by hand (then move it "
            f"back: `kafka-consumer-groups --reset-offsets --to-offset {last.next_offset}`)"
        )
    return None


def _mark(committed: CommittedOffset | None) -> _Mark:
    found = _MARK.fullmatch(committed.metadata) if committed is not None else None
    return _Mark(int(found[1]), int(found[2])) if found else _Mark(0, 0)
