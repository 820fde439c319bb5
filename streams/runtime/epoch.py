"""The epoch as it stands beside a committed offset: a witness that outlives the changelog."""

from __future__ import annotations

from streams.types import CommittedOffset

_PREFIX = "epoch="


def committed_offset(next_offset: int, epoch: int) -> CommittedOffset:
    """What a commit of that epoch tells the group coordinator."""
    return CommittedOffset(next_offset, f"{_PREFIX}{epoch}")


def epoch_of(committed: CommittedOffset | None) -> int:
    """The epoch it was written with; 0 where nothing, or something else, was written."""
    text = committed.metadata.removeprefix(_PREFIX) if committed is not None else ""
    return int(text) if text.isdecimal() else 0
