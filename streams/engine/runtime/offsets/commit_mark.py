"""The metadata of a group's committed offset: ``epoch=E seq=N at=O``.

E and N identify the link written in the same transaction, O is the changelog offset of its first
part. A chain that ends before that link lost commits, unless the transaction was torn
(runtime/restore/torn_link.py).
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
    """The group's offset for the commit of ``link``, whose first part is at changelog offset
    ``at``."""
    return CommittedOffset(link.next_offset, f"epoch={link.epoch} seq={link.seq} at={at}")


def is_of(committed: CommittedOffset | None, link: Link) -> bool:
    """Whether the commit of ``link`` wrote ``committed``."""
    return (
        committed is not None
        and committed.offset == link.next_offset
        and _mark(committed) == (link.epoch, link.seq)
    )


def landed_at(committed: CommittedOffset) -> int | None:
    """The changelog offset of its link; None if the metadata has none."""
    found = _MARK.fullmatch(committed.metadata)
    return int(found[3]) if found and found[3] else None


def epoch_of(committed: CommittedOffset | None) -> int:
    """The epoch of its commit; 0 without a mark."""
    return _mark(committed).epoch


def is_past(committed: CommittedOffset | None, offset: int, epoch: int | None = None) -> bool:
    """Whether an owner of the partition, and no other program, has committed past ``offset``.
    With ``epoch``: of that epoch, or in a later one."""
    if committed is None or landed_at(committed) is None:
        return False
    found = epoch_of(committed)
    return (found, committed.offset) > (found if epoch is None else epoch, offset)


def lost_links(last: Link, committed: CommittedOffset | None) -> str | None:
    """How the chain that ends with ``last`` falls short of ``committed``, as the end of a sentence
    about the changelog; None if it does not.

    An offset ahead of the chain in the same epoch counts too, whatever its metadata.
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
