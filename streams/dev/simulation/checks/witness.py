"""Invariants that hold at every moment, checked from outside the processes.

- The changelog is one unbroken chain, and its watermark never decreases.
- A group's committed offset is the end of its chain: one transaction holds both.
- No window row reaches a shard before its records are committed, and its versions have its
  partition's epoch and an offset of its log.
- Owed roll-ups stay owed until they are done (`owed_roll_ups`).
- A changelog is trimmed only as far as the trimming process's store allows after a kill (F3 of
  `streams.engine.runtime.restore.trim`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streams.core.rows.built_in_tables import Rows, WindowRows, epoch_of, offset_of
from streams.core.topics.topic import Topic
from streams.core.types import TopicPartition
from streams.dev.simulation.checks.owed_roll_ups import OwedRollUps
from streams.dev.simulation.world import Difference, World
from streams.engine.runtime.effects.effects import RollUp
from streams.engine.runtime.restore.state import read_meta
from streams.engine.state.changelog import Link, unpack
from streams.engine.state.memory import MemoryStore
from streams.engine.state.memory_files import MemoryFiles


class Witness:
    """`look` raises `Difference`."""

    def __init__(self, world: World, source: Topic, group: str) -> None:
        self._world = world
        self._source = source
        self._group = group
        self._next: dict[int, int] = {}
        self._seen: Difference | None = None
        self._owed = OwedRollUps()
        self.links: dict[int, Link] = {}
        """the last committed link of each partition"""
        world.shards.watch(self)
        world.broker.trim_watcher = self

    def look(self, *, over: bool = False) -> None:
        """``over``: torn commits are repaired by now."""
        for partition in range(self._world.partitions):
            self._follow(partition)
            self._compare_offset(partition, over=over)
        if self._seen is not None:
            raise self._seen

    def _follow(self, partition: int) -> None:
        log = self._world.broker.log(TopicPartition(self._source.changelog(self._group), partition))
        position = self._next.get(partition, 0)
        if position < log.start_offset:
            # trimmed between two calls, so its predecessor is unknown
            self.links.pop(partition, None)
            self._owed.forget(partition)
            position = log.start_offset
        batch = log.read_committed(position, 1 << 20, log.decided_offset)
        self._next[partition] = batch.end
        for value in batch.values:
            link, entries = unpack(value or b"")
            before = self.links.get(partition)
            if before is not None and not _follows(before, link):
                self._note(f"{log.tp}: {link} does not follow {before}")
            self.links[partition] = link
            if (wrong := self._owed.follow(partition, entries)) is not None:
                self._note(wrong)

    def _compare_offset(self, partition: int, *, over: bool) -> None:
        tp = TopicPartition(self._source.name, partition)
        if not over and self._world.broker.is_torn(self._group, tp):
            return
        committed = self._world.broker.committed(self._group, tp)
        link = self.links.get(partition)
        if link is None and self._next[partition]:
            return
        first = self._world.first_offset
        reached = link.next_offset if link is not None else first
        if (committed.offset if committed is not None else first) != reached:
            self._note(f"{tp}: committed {committed}, the state has folded up to {reached}")

    def recomputing(self, bucket: RollUp) -> Callable[[], None]:
        """Call the result at the end of the roll-up."""
        for partition in range(self._world.partitions):
            self._follow(partition)
        return self._owed.recomputing(bucket)

    def inserted(self, chunks: Sequence[Rows]) -> None:
        for rows in chunks:
            if not isinstance(rows, WindowRows) or not len(rows):
                continue
            self._follow(rows.part)
            link = self.links.get(rows.part)
            newest = max(map(offset_of, rows.ver.tolist()))
            epochs = {epoch_of(version) for version in (*rows.ver.tolist(), *rows.inc.tolist())}
            if link is not None and epochs != {link.epoch}:
                self._note(
                    f"rows of partition {rows.part} name epochs {epochs}, it is in {link.epoch}"
                )
            if link is not None and newest >= link.next_offset:
                self._note(
                    f"a row of partition {rows.part} holds offset {newest}, committed is only "
                    f"{link.next_offset}"
                )

    def trimming(self, log: TopicPartition, before: int) -> None:
        of_source = log.topic == self._source.changelog(self._group)
        if not of_source or before <= self._world.broker.log(log).start_offset:
            return
        for disk in self._world.disks.values():
            left = disk.left_by_a_kill(TopicPartition(self._source.name, log.partition))
            if left is None:
                continue
            meta = read_meta(MemoryStore(left, MemoryFiles()))
            if meta is None or meta.changelog_offset < before:
                self._note(f"{log} is trimmed to {before}, a kill now leaves a store at {meta}")

    def _note(self, text: str) -> None:
        self._seen = self._seen or Difference(text)


def _follows(before: Link, after: Link) -> bool:
    if after.part:
        return (after.seq, after.part) == (before.seq, before.part + 1)
    return (
        after.seq == before.seq + 1
        and before.part == before.parts - 1
        and after.from_offset == before.next_offset
        and after.watermark_ms >= before.watermark_ms
    )
