"""An observation of the pipeline. None always means: could not be asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from streams.core.topics.topology import DeclaredSource
from streams.core.types import GroupDescription, LogBounds, TopicPartition
from streams.engine.health.live_workers import LiveWorker

Stalls: TypeAlias = Mapping[tuple[str, TopicPartition], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceObservation:
    """One declared source.

    ``logs`` by partition; {} if the topic does not exist. ``committed`` lacks partitions without a
    committed offset. ``why``: what could not be asked.
    """

    source: DeclaredSource
    logs: Mapping[int, LogBounds] | None = None
    committed: Mapping[int, int] | None = None
    group: GroupDescription | None = None
    why: str = ""

    def lag(self, partition: int) -> int | None:
        """Offsets from the group's next record to the last stable offset.

        A partition without a committed offset is read from its start.
        """
        if self.logs is None or self.committed is None:
            return None
        log = self.logs[partition]
        return max(0, log.stable_end - max(log.begin, self.committed.get(partition, 0)))

    def owner(self, partition: int) -> str | None:
        """The member that holds the partition; None if there is none, or unknown."""
        if self.group is None:
            return None
        member = self.group.owners().get(TopicPartition(self.source.topic, partition))
        return None if member is None else member.instance_id or member.member_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """``workers``: known processes, of this host and of the console's settings. There may be
    others."""

    at_ms: int
    sources: Sequence[SourceObservation]
    workers: Sequence[LiveWorker] = ()
    local_members: str | None = None
    """Prefix of member ids of this host's workers (`member_prefix`); None if none ran."""
    stalls: Stalls = field(default_factory=dict)
    """Seconds since a partition with unread records last moved; {} without a history."""

    @property
    def held(self) -> Iterator[tuple[LiveWorker, Mapping[str, Any]]]:
        """Each partition of each worker, as its owner reports it."""
        for worker in self.workers:
            for held in worker.partitions:
                yield worker, held
