"""Engines that do not expect a transaction to be carried out in part (streams/simulation/broken.py)."""

from __future__ import annotations

from collections.abc import Mapping

from streams.replay import owner
from streams.runtime import assignment
from streams.simulation.variant import Variant, replaced
from streams.types import CommittedOffset, LogReader, TopicPartition


async def _never_torn(
    _reader: LogReader, _log: TopicPartition, _committed: CommittedOffset, _last: object
) -> bool:
    """An offset without its link proves a loss, whatever the log holds."""
    return False


BROKEN_TEARS: Mapping[str, Variant] = {
    "torn_commit_taken_for_loss": replaced(assignment, is_torn=_never_torn),
    "torn_decision_taken_for_loss": replaced(owner, _is_torn=_never_torn),
}
