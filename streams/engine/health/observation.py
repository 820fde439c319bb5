"""What was observed of the pipeline at one moment. None always means: could not be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from streams.core.topics.topology import DeclaredSource
from streams.core.types import GroupDescription, LogBounds, TopicPartition
from streams.engine.health.live_workers import LiveWorker

Stalls: TypeAlias = Mapping[tuple[str, TopicPartition], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceObservation:
    """One declared source.

    ``logs`` by partition; {} for a topic that does not exist. ``committed`` has no entry for a
    partition without a committed offset. ``why`` says what could not be asked.
    """

    source: DeclaredSource
    logs: Mapping[int, LogBounds] | None = None
    committed: Mapping[int, int] | None = None
    group: GroupDescription | None = None
    why: str = ""

    def lag(self, partition: int) -> int | None:
        """Offsets between the group's next record and the last stable offset.

        A partition without a committed offset is read from its start.
        """
        if self.logs is None or self.committed is None:
            return None
        log = self.logs[partition]
        return max(0, log.stable_end - max(log.begin, self.committed.get(partition, 0)))

    def owner(self, partition: int) -> str | None:
        """The member that holds the partition; None while there is none, or it is unknown."""
        if self.group is None:
            return None
        member = self.group.owners().get(TopicPartition(self.source.topic, partition))
        return None if member is None else member.instance_id or member.member_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """``workers`` are the processes known here: all of this host, and those that the console is
    configured to ask. There may be others."""

    at_ms: int
    sources: Sequence[SourceObservation]
    workers: Sequence[LiveWorker] = ()
    local_members: str | None = None
    """What member ids of this host's workers begin with (`member_prefix`); None where none ran."""
    stalls: Stalls = field(default_factory=dict)
    """Seconds that a partition with unread records has not moved; {} without a history."""
