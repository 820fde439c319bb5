"""What is known of a source partition: committed offset, last link, shed ranges, lost dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streams.core.errors import DiaError, UnknownTopic
from streams.core.rows.operational_tables import DEAD_LETTERS, SHED_RANGES
from streams.core.types import Admin, CommittedOffset, LogReader, TopicPartition
from streams.engine.agents.job_agent import Agent
from streams.engine.runtime.offsets.commit_mark import is_of, landed_at
from streams.operate.trace.covering_link import WrittenLink, link_at
from streams.operate.trace.shown_rows import ShownRows, Where

_SHED = ("epoch", "from_offset", "to_offset", "order_id", "actor", "reason")


@dataclass(slots=True)
class PartitionFacts:
    """``last``: the link of the committed offset. ``shed``: rows of `SHED_RANGES`. ``doubts``: what
    could not be read, each a sentence."""

    committed: CommittedOffset | None
    last: WrittenLink | None
    shed: list[dict[str, Any]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def committed_offset(self) -> int:
        """All below it is committed; 0 before the first commit."""
        return 0 if self.committed is None else self.committed.offset

    def epoch_of(self, offset: int) -> int:
        """The epoch in which the partition read an offset, as far as the last link says."""
        if self.last is None:
            return 0
        link = self.last.link
        return link.epoch if offset >= link.start_offset else link.epoch - 1

    def is_shed(self, offset: int) -> bool:
        epoch = self.epoch_of(offset)
        return any(
            int(one["epoch"]) == epoch and int(one["from_offset"]) <= offset < int(one["to_offset"])
            for one in self.shed
        )


async def partition_facts(
    admin: Admin, reader: LogReader, agent: Agent, tp: TopicPartition, shown: ShownRows | None
) -> PartitionFacts:
    """Raises `BrokerUnavailable` and `UnknownFormat`. ``shown`` None: shed ranges are not known."""
    committed = (await admin.committed(agent.group, [tp])).get(tp)
    facts = PartitionFacts(committed, None)
    changelog = TopicPartition(agent.source.changelog(agent.group), tp.partition)
    landed = landed_at(committed) if committed is not None else None
    if landed is not None:
        try:
            end = await reader.last_stable_offset(changelog)
            last = await link_at(reader, changelog, landed, end)
        except UnknownTopic:
            last = None
        if last is not None and is_of(committed, last.link):
            facts.last = last
        else:
            facts.doubts.append(
                f"the changelog {changelog} does not hold the commit that set the committed offset "
                f"{facts.committed_offset}: `dia audit` compares the two"
            )
    elif committed is not None:
        facts.doubts.append(
            f"another program than dia set the committed offset {committed.offset} of {tp}: the state "
            f"of the partition may be elsewhere, `dia tables list` shows where"
        )
    counted_shed = facts.last is None or facts.last.link.counters.shed > 0
    if counted_shed and facts.committed_offset:
        await _shed(facts, agent, tp, shown)
    return facts


async def _shed(
    facts: PartitionFacts, agent: Agent, tp: TopicPartition, shown: ShownRows | None
) -> None:
    where = [
        Where("grp", agent.group),
        Where("topic", tp.topic),
        Where("part", tp.partition),
    ]
    why = "no ClickHouse shard is known"
    if shown is not None:
        try:
            columns = {name: f"`{name}`" for name in _SHED}
            facts.shed = await shown.rows(SHED_RANGES.name, columns, where)
        except DiaError as error:
            why = str(error)
        else:
            return
    if facts.last is not None:
        facts.doubts.append(f"offsets of {tp} were skipped by order, and which is not known: {why}")


async def lost_letters(ids: Mapping[str, int], shown: ShownRows) -> dict[int, str]:
    """Error code by offset of the records whose dead letters ClickHouse knows. ``ids``: the offset
    of each possible id. Raises as `ShownRows.rows`."""
    found = {}
    for name, offset in ids.items():
        columns = {"error_code": "toString(error_code)"}
        for row in await shown.rows(DEAD_LETTERS.name, columns, [Where("id", name)]):
            found[offset] = str(row["error_code"])
    return found
