"""Reads the snapshot of one source topic from Kafka and every shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streams.connect.broker.log_range import behind, decided_end, read_some
from streams.core.clock import Clock
from streams.core.errors import BatchUnreadable, UnknownTopic
from streams.core.records import headers
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.core.types import (
    Admin,
    CommittedOffset,
    Headers,
    LogReader,
    OffsetOutOfRange,
    TopicPartition,
)
from streams.engine.agents.job_agent import Agent
from streams.engine.agents.window_agent import windows_of
from streams.engine.engine_tables import MINUTE_WINDOWS
from streams.engine.runtime.effects.refused_close import WINDOW_STAGE
from streams.engine.runtime.offsets.commit_mark import epoch_of
from streams.operate.audit.refused import RefusedRows
from streams.operate.audit.shards import Shards
from streams.operate.audit.snapshot import (
    AuditSnapshot,
    DeadLetterCounts,
    LedgerRow,
    PartitionSnapshot,
    ShedRange,
)
from streams.operate.dlq.dead_letter import SINK_STAGE

_DAY_S = 86_400
_ROLL_UP_SLACK_S = 60


def over_s(settings: Settings, clock: Clock) -> int:
    """Windows before this moment are closed and rolled up, unless the pipeline lags."""
    open_s = settings.window_s + settings.grace_s + settings.idle_close_s + settings.late_hold_s
    lag_s = open_s + settings.rollup_interval_s + _ROLL_UP_SLACK_S
    return int(clock.now_ms() / 1000 - lag_s)


@dataclass(eq=False)
class SnapshotReader:
    _settings: Settings
    _clock: Clock
    _shards: Shards
    _reader: LogReader
    _admin: Admin

    def kept_s(self) -> int:
        """The start of the first UTC day without expired minutes."""
        now_s = self._clock.now_ms() // 1000
        return now_s // _DAY_S * _DAY_S - (self._settings.m1_retention_days - 1) * _DAY_S

    async def books(self, agent: Agent) -> AuditSnapshot:
        """Raises `UnknownTopic`."""
        books = await self.facts(agent)
        rows, expired, stale, refused = None, 0, [], books.refused
        if MINUTE_WINDOWS in agent.tables:
            kept_s = self.kept_s()
            rows = await self._shards.events(kept_s)
            for key, n in refused.events().items():
                rows[key] = rows.get(key, 0) + n
            expired = await self._shards.expired_events(kept_s)
            stale = await self._shards.stale(kept_s, over_s(self._settings, self._clock))
        return replace(books, rows=rows, expired_events=expired, stale=tuple(stale))

    async def facts(self, agent: Agent) -> AuditSnapshot:
        """Without what the window rows say. Raises `UnknownTopic`."""
        source, group = agent.source, agent.group
        topics = await self._admin.describe_topics()
        if source.name not in topics:
            raise UnknownTopic(f"topic {source.name} does not exist. Run `dia topics apply`.")
        ledger = await self._shards.ledger(group, source.name)
        shed = await self._shards.shed(group, source.name)
        numbers = range(topics[source.name].partitions)
        partitions = [await self._partition(agent, number, ledger, shed) for number in numbers]
        tables = frozenset(one.name for one in windows_of(agent))
        dead, refused = await self._dead(source, group, numbers, RefusedRows(tables))
        return AuditSnapshot(
            group=group,
            topic=source.name,
            partitions=tuple(partitions),
            dead=dead,
            refused=refused,
            rows=None,
            expired_events=0,
            stale=(),
        )

    async def _partition(
        self, agent: Agent, number: int, ledger: Sequence[LedgerRow], shed: Sequence[ShedRange]
    ) -> PartitionSnapshot:
        tp = TopicPartition(agent.source.name, number)
        committed = await self.committed(agent, tp)
        return PartitionSnapshot(
            partition=number,
            begin_offset=await self._reader.beginning_offset(tp),
            end_offset=await self._reader.last_stable_offset(tp),
            committed_offset=committed.offset if committed is not None else None,
            committed_epoch=epoch_of(committed) if committed is not None else None,
            ledger=tuple(row for row in ledger if row.partition == number),
            shed=tuple(one for one in shed if one.partition == number),
        )

    async def committed(self, agent: Agent, tp: TopicPartition) -> CommittedOffset | None:
        return (await self._admin.committed(agent.group, [tp])).get(tp)

    async def _dead(
        self, source: Topic, group: str, numbers: Sequence[int], refused: RefusedRows
    ) -> tuple[DeadLetterCounts, RefusedRows]:
        """The dead letters, and the refused rows among them that ClickHouse still lacks."""
        in_rows, replayed = await self._shards.dead_letters(source.name)
        dead = DeadLetterCounts(in_rows=in_rows)
        for number in numbers:
            tp = TopicPartition(source.dlq, number)
            offset = await self._reader.beginning_offset(tp)
            if offset > 0:
                dead.trimmed.add(number)
            end = await decided_end(self._reader, tp, self._clock)
            while offset < end:
                try:
                    batch = await read_some(self._reader, tp, offset, end)
                except BatchUnreadable as error:
                    offset = behind(error, end)
                    _unreadable(dead, number, error, offset)
                    continue
                except OffsetOutOfRange:
                    offset = await self._reader.beginning_offset(tp)
                    dead.trimmed.add(number)
                    continue
                offset = batch.end
                for found, value in zip(batch.headers, batch.values, strict=True):
                    if _said(found, "group") != group:
                        continue
                    code = _said(found, "error_code")
                    dead.in_dlq[_said(found, "id")] = code
                    stage = _said(found, "stage")
                    if stage == SINK_STAGE:
                        refused.add(_said(found, "id"), value)
                    elif stage != WINDOW_STAGE:
                        dead.records[number, code] += 1
        refused.forget(replayed)
        return dead, refused


def _unreadable(dead: DeadLetterCounts, number: int, error: BatchUnreadable, until: int) -> None:
    dead.trimmed.add(number)
    dead.unreadable[number] = (
        f"offsets {error.offset} to {until - 1} of partition {number} cannot be opened "
        f"({error.why}): letters of that partition that are missing are not compared"
    )


def _said(found: Headers, name: str) -> str:
    return (headers.last(found, headers.DLQ_PREFIX + name) or b"").decode(errors="replace")
