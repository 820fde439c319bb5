"""Rows of facts that Kafka says and ClickHouse lacks: dead letters, and the ledger of the last epochs.

Both come out as the engine and the replay write them, with versions that the next commit and the next
decision outrank, so a row that its writer still sends changes nothing. Facts that only the events could
give again are named, not invented.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from streams.core.clock import Clock
from streams.core.rows.built_in_tables import FactRows, ShardSet
from streams.core.rows.operational_tables import DEAD_LETTERS, LEDGER
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import Admin, LogReader, TopicPartition
from streams.engine.agents.job_agent import Agent
from streams.engine.runtime.effects.effects import ledger_columns, rows_by_shard
from streams.engine.runtime.restore.newest_link import newest_link
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.dlq.dialects import DIA
from streams.operate.dlq.scan import bounds, scan
from streams.operate.replay.journal.decided import readable_entries
from streams.operate.replay.journal.dispositions import Dispositions
from streams.operate.replay.journal.journal import Disposed, QueueReplaced
from streams.operate.replay.journal.status import PartitionStatus
from streams.operate.replay.run.rows import decisions, letter_columns

LedgerKey: TypeAlias = tuple[str, str, int, int]
"""group, topic, partition, epoch"""


class FactStore(Protocol):
    """What the shards hold. Raises as `WindowStore`."""

    async def ledger(self) -> Mapping[LedgerKey, int]:
        """The next offset of each row."""
        ...

    async def dead_letters(self, topic: str) -> Mapping[str, int]:
        """The version of each row, by id."""
        ...


@dataclass(slots=True)
class FactsReport:
    """Rows that were written, or would be."""

    ledger: int = 0
    dead_letters: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsRebuild:
    """``journals``: of each source topic, by partition. ``dry``: nothing is written. ``check`` raises
    when another process took the lock."""

    agents: Sequence[Agent]
    topology: Topology
    reader: LogReader
    admin: Admin
    shards: ShardSet
    store: FactStore
    journals: Mapping[Topic, Sequence[PartitionStatus]]
    clock: Clock
    check: Callable[[], None]
    dry: bool = False

    async def run(self) -> FactsReport:
        """Raises errors of the broker and the shards: then run it again."""
        await self.shards.learn(certain=True)
        report = FactsReport(notes=(self._left_out(),))
        partitions = {
            name: found.partitions for name, found in (await self.admin.describe_topics()).items()
        }
        held = await self.store.ledger()
        for agent in self.agents:
            for number in range(partitions.get(agent.source.name, 0)):
                report.ledger += await self._ledger(agent, number, held)
        for source in self.topology.topics:
            if source.dlq in partitions:
                report.dead_letters += await self._dead_letters(source, partitions[source.dlq])
        return report

    async def _ledger(self, agent: Agent, number: int, held: Mapping[LedgerKey, int]) -> int:
        """The row of the partition's last commit."""
        tp = TopicPartition(agent.source.name, number)
        changelog = TopicPartition(agent.source.changelog(agent.group), number)
        link = await newest_link(self.reader, changelog)
        if link is None:
            return 0
        if held.get((agent.group, tp.topic, number, link.epoch), -1) >= link.next_offset:
            return 0
        columns = ledger_columns(agent.group, tp, link, self.clock.now_ms())
        await self._write(rows_by_shard(LEDGER, columns, self.shards.shard_of_key))
        return 1

    async def _dead_letters(self, source: Topic, partitions: int) -> int:
        held = await self.store.dead_letters(source.name)
        standings = self.journals.get(source, ())
        written = 0
        for span in await bounds(self.reader, source.dlq, partitions):
            known = (
                standings[span.tp.partition].dispositions
                if span.tp.partition < len(standings)
                else Dispositions()
            )
            async for page in scan(self.reader, [span], self.topology):
                own = [letter for letter in page if letter.dialect is DIA]
                at = np.array([letter.offset for letter in own], np.int64)
                versions = dict(zip(at.tolist(), known.versions(at).tolist(), strict=True))
                missing = [one for one in own if held.get(one.id, 0) < versions[one.offset]]
                if missing:
                    rows = await self._rows(source, span.tp, missing, known, versions)
                    await self._write(rows)
                    written += len(missing)
        return written

    async def _rows(
        self,
        source: Topic,
        dlq: TopicPartition,
        missing: Sequence[DeadLetterRecord],
        known: Dispositions,
        versions: Mapping[int, int],
    ) -> list[FactRows]:
        decided = {one.offset for one in missing if versions[one.offset] > 1}
        said: dict[int, Disposed] = {}
        if decided:
            journal = TopicPartition(source.journal, dlq.partition)
            said = await _last_said(self.reader, journal, decided)
        columns = letter_columns(missing)
        entries_of = [said.get(one.offset) for one in missing]
        columns |= {
            "disposition": [known.of(one.offset).word for one in missing],
            "actor": [entry.actor if entry is not None else "" for entry in entries_of],
            "ver": [versions[one.offset] for one in missing],
            "at": [
                entry.at_ms if entry is not None else one.failed_ms
                for entry, one in zip(entries_of, missing, strict=True)
            ],
        }
        return rows_by_shard(DEAD_LETTERS, columns, self.shards.shard_of_key)

    async def _write(self, rows: Iterable[FactRows]) -> None:
        for facts in rows if not self.dry else ():
            self.check()
            await self.shards.insert(facts.shard, [facts])

    def _left_out(self) -> str:
        others = sorted(set(self.topology.targets.tables) - {LEDGER.name, DEAD_LETTERS.name})
        return (
            "not rebuilt, because only the agents' code or an operator could say them again: "
            f"{', '.join(others)}; and the ledger of epochs before a reset."
        )


async def _last_said(
    reader: LogReader, journal: TopicPartition, wanted: set[int]
) -> dict[int, Disposed]:
    """The last entry about each dead letter, by offset in the DLQ."""
    found: dict[int, Disposed] = {}
    async for entry in readable_entries(reader, journal):
        if isinstance(entry, QueueReplaced):
            found = {at: one for at, one in found.items() if at < entry.kept}
        if isinstance(entry, Disposed):
            found |= dict.fromkeys(wanted & decisions(entry).keys(), entry)
    return found
