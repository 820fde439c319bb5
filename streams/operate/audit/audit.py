"""One audit: snapshot, comparison, and in a deep audit the log.

Rows follow their commits, so differences are checked again for at most ``wait_s``. A partition that
commits between two reads is left to the deep audit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from streams.core.clock import Clock
from streams.core.records.bad_records import KeyMisplaced, TenantOverQuota, UnknownSchemaVersion
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.core.types import Broker, LogReader, TopicPartition
from streams.core.words.moments import iso_s
from streams.engine.agents.job_agent import Agent
from streams.engine.agents.window_agent import WindowAgent
from streams.engine.engine_tables import MINUTE_WINDOWS
from streams.operate.audit import placement
from streams.operate.audit.compare import compare
from streams.operate.audit.finding import AuditFinding, shortened, span
from streams.operate.audit.minute_recount import MinuteRecount, recount_minutes
from streams.operate.audit.recount import Recount
from streams.operate.audit.reference_decoder import Rules
from streams.operate.audit.shards import Shards
from streams.operate.audit.snapshot import AuditSnapshot, PartitionSnapshot, ShedRange
from streams.operate.audit.snapshot_reader import SnapshotReader
from streams.operate.audit.window_audit import (
    WindowAudit,
    beyond_recounting,
    not_judged,
    whole_range,
)
from streams.operate.audit.windows import compare_counters, compare_dead, compare_windows, put_back

_POLL_S = 2.0
_FOREVER_S = 1 << 31
_SAID_ELSEWHERE = frozenset({UnknownSchemaVersion.code, KeyMisplaced.code, TenantOverQuota.code})
"""Refusals for reasons outside the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """``from_s`` and ``to_s`` bound the windows of a deep audit; None: all that are retained."""

    deep: bool
    from_s: int | None
    to_s: int | None
    wait_s: float


@dataclass(slots=True)
class AuditReport:
    """``not_recounted``: parts that the deep audit could not check; a clean report proves nothing
    about them."""

    books: list[AuditSnapshot] = field(default_factory=list)
    findings: list[AuditFinding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_recounted: list[str] = field(default_factory=list)
    records_read_again: int = 0
    windows_judged: int = 0

    @property
    def clean(self) -> bool:
        return not self.findings


async def audit(
    options: AuditOptions,
    agents: Sequence[Agent],
    settings: Settings,
    broker: Broker,
    clock: Clock,
    say: Callable[[str], None],
) -> AuditReport:
    """Raises `DependencyUnreachable`, `BrokerUnavailable` and `UnknownTopic` (all exit code 4)."""
    async with AsyncExitStack() as opened:
        shards = Shards(settings)
        opened.callback(shards.close)
        reader = await broker.reader()
        opened.push_async_callback(reader.close)
        admin = await broker.admin()
        opened.push_async_callback(admin.close)
        reading = SnapshotReader(settings, clock, shards, reader, admin)
        run = _Audit(options, settings, clock, shards, reader, reading, AuditReport(), say)
        for agent in agents:
            await run.one(agent)
        return run.report


@dataclass(slots=True)
class _Audit:
    options: AuditOptions
    settings: Settings
    clock: Clock
    shards: Shards
    reader: LogReader
    reading: SnapshotReader
    report: AuditReport
    say: Callable[[str], None]
    _elsewhere: set[bytes] = field(default_factory=set)
    """keys of the current topic in wrong partitions"""

    async def one(self, agent: Agent) -> None:
        self.say(f"comparing the books of {agent.source.name} ({agent.group})")
        deadline_s = self.clock.monotonic() + self.options.wait_s
        books = await self.reading.books(agent)
        while (findings := compare(books)) and self.clock.monotonic() < deadline_s:
            self.say(f"{len(findings)} differences; checking again, rows may be in flight")
            await self.clock.sleep(_POLL_S)
            before, books = books, await self.reading.books(agent)
            books = replace(books, moving=before.moving | _moved(before, books))
        self.report.books.append(books)
        self.report.findings += findings
        self._remark(books)
        if self.options.deep and MINUTE_WINDOWS in agent.tables:
            for partition in books.partitions:
                if partition.ledger:
                    await self._deep(agent.source, books, partition)
            await self._placement(agent.source, books)
            return
        await self._sample_keys(books)
        if self.options.deep and isinstance(agent, WindowAgent):
            await self._app_windows(agent, books)
        elif self.options.deep:
            self.report.not_recounted.append(
                f"{books.topic}: what the agent {agent.name} makes of its events comes of a function of "
                f"the app, which an audit does not run again"
            )

    async def _sample_keys(self, books: AuditSnapshot) -> None:
        found = await placement.sample(self.reader, books.topic, len(books.partitions))
        if found:
            self.report.notes.append(placement.sample_note(books.topic, found))

    async def _placement(self, source: Topic, books: AuditSnapshot) -> None:
        keys, self._elsewhere = sorted(self._elsewhere), set()
        if not keys:
            return
        doubled = placement.DoubledIds(frozenset(keys), self._rules(source))
        for partition in books.partitions:
            if partition.ledger:
                await doubled.read(self.reader, books.topic, partition)
        if doubled.ids:
            self.report.findings.append(placement.finding(books.topic, keys, doubled))
        else:
            read = "" if doubled.whole else " that could be read"
            self.report.notes.append(
                f"{books.topic}: {len(keys)} keys lie in partitions that murmur2 does not name, no "
                f"id of them{read} was counted twice: {placement.ADVICE}"
            )

    def _rules(self, source: Topic) -> Rules:
        settings = self.settings
        return Rules(
            source=source,
            future_max_ms=settings.future_max_s * 1000,
            late_max_ms=settings.late_max_s * 1000,
            dedupe_ttl_ms=settings.dedupe_ttl_s * 1000,
        )

    def _remark(self, books: AuditSnapshot) -> None:
        notes = self.report.notes
        notes += [_shed_note(books.topic, one) for p in books.partitions for one in p.shed]
        if books.moving:
            notes.append(
                f"{books.topic}: partitions {sorted(books.moving)} commit while they are read: their "
                f"ledger was not compared with rows and offsets; --deep judges their windows"
            )
        if books.lag:
            notes.append(f"{books.topic}: {books.lag} records are not consumed yet")
        if lost := books.dead.trimmed - books.dead.unreadable.keys():
            notes.append(
                f"{books.topic}.dlq has lost its oldest records in partitions {sorted(lost)}: they "
                f"are not compared"
            )
        notes += [f"{books.topic}.dlq: {why}" for why in books.dead.unreadable.values()]
        if books.expired_events:
            notes.append(
                f"{books.topic}: minutes have expired, so events in rows are compared in total, "
                f"not per partition"
            )

    async def _deep(
        self, source: Topic, books: AuditSnapshot, partition: PartitionSnapshot
    ) -> None:
        self.say(f"reading {books.topic}/{partition.partition} again")
        # One day more than rows are certainly retained: older windows have no minute rows.
        oldest_s = self.reading.kept_s() + 86_400
        from_s, to_s = self._bounds_s(oldest_s)
        tp = TopicPartition(books.topic, partition.partition)
        codes = books.dead.codes(tp).items()
        refused = {place for place, code in codes if code in _SAID_ELSEWHERE}
        counted = await recount_minutes(
            self.reader, books.topic, partition, self._rules(source), from_s, to_s, refused
        )
        number, of = partition.partition, len(books.partitions)
        self._elsewhere |= placement.elsewhere(counted.keys, number, of)
        windows = await self._windows(books, counted)
        self._compare_counts(books, partition, counted)
        self.report.findings += windows

    def _bounds_s(self, oldest_s: int) -> tuple[int, int]:
        options = self.options
        to_s = options.to_s if options.to_s is not None else _FOREVER_S
        return max(oldest_s, options.from_s or 0), to_s

    def _compare_counts(
        self, books: AuditSnapshot, partition: PartitionSnapshot, counted: Recount
    ) -> None:
        topic, number = books.topic, partition.partition
        whole = number not in books.dead.trimmed
        self.report.findings += [
            *shortened(compare_counters(topic, counted, partition.ledger)),
            *shortened(compare_dead(topic, counted, books.dead.in_dlq, whole=whole)),
        ]
        self.report.records_read_again += counted.records
        self.report.not_recounted += [f"{topic}/{number}: {note}" for note in counted.notes]

    async def _app_windows(self, agent: WindowAgent, books: AuditSnapshot) -> None:
        report = self.report
        report.not_recounted += beyond_recounting(agent)
        auditing = WindowAudit(
            self._bounds_s(0), self.options.wait_s, self._rules(agent.source), self.settings, self.clock,
            self.shards, self.reader, self.reading,
        )  # fmt: skip
        for partition in books.partitions:
            if not partition.ledger:
                continue
            tp = TopicPartition(books.topic, partition.partition)
            self.say(f"reading {tp} again")
            counted = await auditing.recount(agent, books, partition)
            kept_s = [auditing.kept_s(one) for one in agent.windows]
            report.not_recounted += whole_range(agent, tp, counted, kept_s)
            self._compare_counts(books, partition, counted)
            for declared in () if counted.overfull or counted.unsteady else agent.windows:
                compared = await auditing.compare(declared, agent, books, counted)
                report.findings += shortened(compared.findings)
                report.windows_judged += compared.judged
                report.not_recounted += not_judged(declared, tp, counted, compared)

    async def _windows(self, books: AuditSnapshot, counted: MinuteRecount) -> list[AuditFinding]:
        topic = books.topic
        deadline_s = self.clock.monotonic() + self.options.wait_s
        while True:
            bounds = counted.judged_from_s, counted.to_s
            stored = await self.shards.windows(counted.partition, *bounds)
            put_back(books.refused.of(counted.partition), stored)
            compared = await asyncio.to_thread(compare_windows, topic, counted, stored)
            if not compared.findings or self.clock.monotonic() >= deadline_s:
                break
            await self.clock.sleep(_POLL_S)
        self.report.windows_judged += compared.judged
        if compared.in_motion:
            self.report.not_recounted.append(
                f"{topic}/{counted.partition}: {compared.in_motion} windows changed meanwhile"
            )
        return shortened(compared.findings)


def _shed_note(topic: str, shed: ShedRange) -> str:
    offsets = span(shed.first, shed.until - 1)
    return (
        f"{topic}/{shed.partition}: offsets {offsets} ({shed.until - shed.first}) were not "
        f"processed, by order {shed.order} of {shed.actor} ({iso_s(shed.at_ms // 1000)}): {shed.reason}"
    )


def _moved(before: AuditSnapshot, now: AuditSnapshot) -> frozenset[int]:
    was = {books.partition: books.committed_offset for books in before.partitions}
    return frozenset(
        books.partition
        for books in now.partitions
        if books.committed_offset != was.get(books.partition)
    )
