"""Engines that do not expect a transaction to be carried out in part (streams/simulation/broken.py)."""

from __future__ import annotations

from collections.abc import Mapping

from streams.replay import owner
from streams.runtime import assignment
from streams.runtime.commit_mark import is_of
from streams.simulation.variant import Variant, replaced
from streams.types import CommittedOffset, LogReader, TopicPartition
from tables.changelog import unpack


async def _never_torn(
    _reader: LogReader, _log: TopicPartition, _committed: CommittedOffset
) -> bool:
    """An offset without its link proves a loss, whatever the log holds."""
    return False


async def _any_attempt(
    reader: LogReader, changelog: TopicPartition, committed: CommittedOffset
) -> bool:
    """An aborted attempt is taken for the one that was committed, and then lost."""
    at, end = await reader.beginning_offset(changelog), await reader.high_watermark(changelog)
    while at < end:
        batch = await reader.read_all(changelog, at)
        at = max(batch.end, at + 1)
        if any(is_of(committed, unpack(value or b"")[0]) for value in batch.values):
            return True
    return False


BROKEN_TEARS: Mapping[str, Variant] = {
    "torn_commit_taken_for_loss": replaced(assignment, is_torn=_never_torn),
    "torn_decision_taken_for_loss": replaced(owner, _is_torn=_never_torn),
    "any_attempt_taken_for_torn": replaced(assignment, is_torn=_any_attempt),
}
