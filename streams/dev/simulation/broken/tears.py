"""Engines that ignore torn transactions (streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

from collections.abc import Mapping

from streams.core.types import CommittedOffset, LogReader, TopicPartition
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.runtime import assignment
from streams.operate.replay import owner


async def _never_torn(
    _reader: LogReader, _log: TopicPartition, _committed: CommittedOffset, _last: object
) -> bool:
    """An offset without its link always proves a loss."""
    return False


BROKEN_TEARS: Mapping[str, Variant] = {
    "torn_commit_taken_for_loss": replaced(assignment, is_torn=_never_torn),
    "torn_decision_taken_for_loss": replaced(owner, _is_torn=_never_torn),
}
