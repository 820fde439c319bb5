"""Rebuilds the minute windows of a range from the source log (docs/protocols/rebuild.md).

I1  read the moves of the days and the highest generation of the rows; then of each partition the chain; then ledger, shed
    ranges and dead letters; then the stored rows
I2  fold the log again
I3  insert the rows that differ, those of one window together
I4  recompute the hours and days of what was written or differs, and compare them
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from streams.connect.broker.opened import opened
from streams.connect.sinks.rollup import DAY_S, WIDTH_S
from streams.core.clock import Clock
from streams.core.command_errors import RebuildRefused
from streams.core.derived_files import Files
from streams.core.errors import UsageError
from streams.core.rows.built_in_tables import (
    EPOCH_END,
    Bucket,
    RowsRefused,
    ShardSet,
    WindowRows,
)
from streams.core.settings import Settings
from streams.core.types import Broker, LogReader
from streams.core.words.moments import iso_s
from streams.engine.agents.agent import AgentSpec
from streams.engine.agents.job_agent import Agent
from streams.engine.state.disk_files import DiskFiles
from streams.engine.windows.minutes.names import SeriesNames
from streams.operate.audit.snapshot import AuditSnapshot
from streams.operate.audit.snapshot_reader import over_s
from streams.operate.rebuild.homes import Homes
from streams.operate.rebuild.plan import ReadPlan, read_plan, stop_s
from streams.operate.rebuild.refold import RangeWindows, WindowRange, refold
from streams.operate.rebuild.replacement import Replacement, known_rows, replacement
from streams.operate.rebuild.standing import PartitionStanding, standing_of
from streams.operate.rebuild.stored_rows import ExcessBucket, StaleBucket, StoredRows, WindowStore
from streams.operate.replay.run.pace import ReplayPace

_GENERATION_END = 1 << 16
_SAY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildOptions:
    """Windows that start in [``from_s``, ``to_s``). ``tenant`` "": of all. ``rate``: records read in
    a second; None: no limit. ``accepted``: as `read_plan`."""

    from_s: int
    to_s: int
    tenant: str = ""
    dry_run: bool = False
    rate: float | None = None
    accepted: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class PartitionReport:
    """Rows by what the log says of them."""

    partition: int
    records: int = 0
    right: int = 0
    changed: int = 0
    lost: int = 0
    emptied: int = 0
    touched: int = 0
    live: int = 0

    def add(self, found: Replacement) -> None:
        self.right += found.right
        self.changed += found.changed
        self.lost += found.lost
        self.emptied += found.emptied
        self.touched += found.touched


@dataclass(slots=True)
class RebuildReport:
    partitions: list[PartitionReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """rows that a shard refuses, by reason"""
    stale: list[StaleBucket] = field(default_factory=list)
    """hours and days that differ from their minutes: in a dry run before it; else after it, without
    those that owners still recompute"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildMeans:
    """``facts`` reads ledger, shed ranges and dead letters of an agent. ``check`` raises when another
    process took the lock."""

    settings: Settings
    broker: Broker
    shards: ShardSet
    store: WindowStore
    facts: Callable[[Agent], Awaitable[AuditSnapshot]]
    clock: Clock
    say: Callable[[str], None]
    check: Callable[[], None]


async def rebuild(options: RebuildOptions, agent: AgentSpec, means: RebuildMeans) -> RebuildReport:
    """Raises `UsageError` for a range that cannot be rebuilt, `RebuildRefused`, and errors of the
    broker and the shards: then run it again."""
    async with opened(means.broker.reader()) as reader:
        run = _Rebuild(_whole_minutes(options, means), agent, means, reader)
        await run.run()
        return run.report


def _whole_minutes(options: RebuildOptions, means: RebuildMeans) -> RebuildOptions:
    from_s, to_s = options.from_s // 60 * 60, stop_s(options.to_s * 1000)
    if from_s >= to_s:
        raise UsageError("--from is not before --to.")
    kept_days = means.settings.m1_retention_days - 2
    oldest_s = (means.clock.now_ms() // 1000 // DAY_S - kept_days + 1) * DAY_S
    if from_s < oldest_s:
        raise UsageError(
            f"minutes before {iso_s(oldest_s)} may have expired (DIA_M1_RETENTION_DAYS="
            f"{means.settings.m1_retention_days}): begin there. Hours and days before are kept as "
            "they are."
        )
    return replace(options, from_s=from_s, to_s=to_s)


@dataclass(slots=True)
class _Rebuild:
    options: RebuildOptions
    agent: AgentSpec
    means: RebuildMeans
    reader: LogReader
    report: RebuildReport = field(default_factory=RebuildReport)
    _written: set[int] = field(default_factory=set)
    """starts of the hours of written rows"""
    _stale: list[StaleBucket] = field(default_factory=list)
    _moves: tuple[tuple[str, frozenset[int]], ...] = ()
    """of the days, when the rows were read: each move, and which of the days it gave up"""
    _asked: dict[tuple[Bucket, int, int], list[ExcessBucket]] = field(default_factory=dict)

    async def run(self) -> None:
        options, means = self.options, self.means
        self._moves = await self._settled_moves()
        generation = await self._generation()
        await self._refuse_own_rows()
        standings = await self._standings()
        books = await means.facts(self.agent)
        self._refuse_lost_chains(standings, books)
        self._stale = await self._stale_buckets()
        for standing in standings:
            await self._partition(standing, books, generation)
        if options.dry_run:
            self.report.stale = self._stale
            return
        await self._roll_up()
        await self._refuse_moves()
        over = over_s(means.settings, means.clock)
        self.report.stale = [one for one in await self._stale_buckets() if not one.is_owed(over)]

    async def _settled_moves(self) -> tuple[tuple[str, frozenset[int]], ...]:
        """The moves of the days. Raises `RebuildRefused` while one of them moves: its mover copies rows
        that a rebuild would replace."""
        options, shards = self.options, self.means.shards
        await shards.learn(certain=True)
        days = range(options.from_s // DAY_S, (options.to_s - 1) // DAY_S + 1)
        found = []
        for version, one in enumerate(shards.maps, 1):
            its = [*filter(one.moves, days)]
            for day in its:
                if day in one.unfinished:
                    raise RebuildRefused(
                        f"windows of {iso_s(day * DAY_S)[:10]} are being moved to other shards. End that "
                        f"first: `dia shards move {version}`, or `dia shards cancel {version}`."
                    )
            if its:
                found.append((f"{version} {one.identity}", one.returned))
        return tuple(found)

    async def _refuse_moves(self) -> None:
        """A mover that began meanwhile took rows as they were before they are replaced."""
        if await self._settled_moves() != self._moves:
            raise RebuildRefused(
                "windows of these days were moved to other shards meanwhile. Rows that were written "
                "are right: run `dia rebuild` again."
            )

    async def _generation(self) -> int:
        """Above that of every row of the range, so that a rebuilt row wins."""
        options = self.options
        highest = await self.means.store.generation(options.from_s, options.to_s)
        generation = max(highest + 1, EPOCH_END)
        if generation >= _GENERATION_END:
            raise RebuildRefused(
                "these days were rebuilt too often: the version of their rows has no room"
            )
        return generation

    async def _refuse_own_rows(self) -> None:
        options = self.options
        if own := await self.means.store.own_rows(options.from_s, options.to_s):
            raise RebuildRefused(
                f"{own} windows of the range were too old for m1 when they opened, and stand in h1 "
                "and d1 only (DIA_M1_RETENTION_DAYS was raised): days with such windows are not "
                "rebuilt. Nothing was changed."
            )

    async def _standings(self) -> list[PartitionStanding]:
        """I1: all chains are read before the first row is written."""
        agent, maps = self.agent, tuple(self.means.shards.maps)
        async with opened(self.means.broker.admin()) as admin:
            topics = await admin.describe_topics()
        found = []
        for number in range(topics[agent.source.name].partitions):
            standing = await standing_of(self.reader, agent.source, agent.group, number, maps)
            if standing is not None:
                found.append(standing)
        return found

    def _refuse_lost_chains(
        self, standings: Sequence[PartitionStanding], books: AuditSnapshot
    ) -> None:
        found = {standing.tp.partition for standing in standings}
        for one in books.partitions:
            if one.ledger and one.partition not in found:
                raise RebuildRefused(
                    f"partition {one.partition} of {books.topic} has no commit in its changelog, and "
                    f"the ledger counts its records up to offset {one.ledger[-1].next_offset}: which "
                    "windows are live is unknown. Nothing was changed. Reset the partition first: "
                    "`dia tables reset`."
                )

    async def _refuse_cut_buckets(self, plan: ReadPlan) -> None:
        """An hour or day of which only a part is rebuilt is recomputed from what is there: it would
        lose what it counts beyond that."""
        options = self.options
        buckets: tuple[Bucket, ...] = ("h1", "d1")
        for table in buckets:
            width_s = WIDTH_S[table]
            cut = {at // width_s * width_s for at in (plan.from_s, options.to_s) if at % width_s}
            ranges = [(start_s, start_s + width_s) for start_s in sorted(cut)]
            if not plan.whole:
                ranges = [(plan.from_s, options.to_s)]
            for first_s, end_s in ranges:
                found = await self._excess(table, first_s, end_s)
                if found:
                    raise _cut(plan, found[0], len(found))

    async def _excess(self, table: Bucket, from_s: int, to_s: int) -> list[ExcessBucket]:
        """Of each range, the shards are asked once a run, before a row of it is written."""
        key = table, from_s, to_s
        if key not in self._asked:
            store, tenant = self.means.store, self.options.tenant
            self._asked[key] = await store.excess(table, from_s, to_s, tenant)
        return self._asked[key]

    async def _stale_buckets(self) -> list[StaleBucket]:
        options, store = self.options, self.means.store
        buckets: tuple[Bucket, ...] = ("h1", "d1")
        return [
            one
            for table in buckets
            for one in await store.stale(table, options.from_s, options.to_s, options.tenant)
        ]

    async def _partition(
        self, standing: PartitionStanding, books: AuditSnapshot, generation: int
    ) -> None:
        options, means = self.options, self.means
        report = PartitionReport(standing.tp.partition)
        self.report.partitions.append(report)
        plan = await read_plan(
            self.reader, means.settings, books, standing, options.from_s, options.accepted
        )
        self.report.notes += plan.notes
        if plan.from_s >= options.to_s:
            return
        await self._refuse_cut_buckets(plan)
        bounds = plan.from_s, options.to_s
        for rows in standing.live:
            report.live += int(((rows.w >= bounds[0]) & (rows.w < bounds[1])).sum())
        stored = await means.store.rows(standing.tp.partition, *bounds, options.tenant)
        report.live += int((stored.inc >= standing.beyond).sum())
        await self._fold(plan, standing, books, stored, generation, report)

    async def _fold(
        self, plan: ReadPlan, standing: PartitionStanding, books: AuditSnapshot, stored: StoredRows,
        generation: int, report: PartitionReport,
    ) -> None:  # fmt: skip
        options, means = self.options, self.means
        names = SeriesNames()
        chosen = WindowRange(
            first_minute=plan.from_s // 60,
            end_minute=options.to_s // 60,
            tenant=options.tenant or None,
        )
        link = standing.link
        homes = Homes(means.shards.maps, link.later_maps, link.maps_since)
        progress = _Progress(means, report, str(standing.tp), plan, options.rate)
        refused = [*books.refused.of(standing.tp.partition)]
        for log in plan.logs:
            known = known_rows(names, log, standing, stored, refused)
            windows = RangeWindows(
                names, chosen, known.incarnations, log, homes, means.settings.max_live_windows
            )
            with _scratch() as files:
                pieces = await refold(
                    self.reader, self.agent, log, means.settings, windows, files, progress.passed
                )
            found = replacement(names, log, known, stored, pieces, self._stale, homes, generation)
            report.add(found)
            if not options.dry_run:
                for batch in found.batches(means.settings.sink_batch_rows):
                    await self._write(batch)

    async def _write(self, rows: WindowRows) -> None:
        """I3."""
        self.means.check()
        await self._refuse_moves()
        try:
            await self.means.shards.insert(rows.shard, [rows])
        except RowsRefused as error:
            self.report.refused += [error.reason] * len(error.indexes)
        self._written |= set((rows.w // WIDTH_S["h1"] * WIDTH_S["h1"]).tolist())

    async def _roll_up(self) -> None:
        """I4."""
        stale: dict[Bucket, set[int]] = {"h1": set(), "d1": set()}
        for one in self._stale:
            stale[one.table].add(one.start_s)
        hours = self._written | stale["h1"]
        days = {hour // DAY_S * DAY_S for hour in hours} | stale["d1"]
        steps: Sequence[tuple[Bucket, set[int]]] = (("h1", hours), ("d1", days))
        for table, starts in steps:
            for start_s in sorted(starts):
                self.means.check()
                for shard in range(self.means.shards.count):
                    await self.means.shards.roll_up(shard, table, start_s)


def _cut(plan: ReadPlan, one: ExcessBucket, more: int) -> RebuildRefused:
    tp = plan.logs[0].tp if plan.logs else "a partition"
    end_s = one.start_s + WIDTH_S[one.table]
    what, parts = {"h1": ("hour", "minutes"), "d1": ("day", "hours")}[one.table]
    return RebuildRefused(
        f"{tp}: the {what} {iso_s(one.start_s)} of {one.tenant} {one.model} {one.metric} counts {one.n}, "
        f"its {parts} {one.parts_n}, and the log decides a part of it only, from "
        f"{iso_s(plan.from_s)} on ({more} such {what}s). Recomputed, it would lose the rest. Rows of "
        f"this partition were not changed. Rebuild the whole {what}, --from {iso_s(one.start_s)} --to "
        f"{iso_s(end_s)} or later; where the log does not reach back so far, begin behind it."
    )


class _Progress:
    """Bounds the rate of reading, and says how far it is."""

    def __init__(
        self, means: RebuildMeans, report: PartitionReport, name: str, plan: ReadPlan,
        rate: float | None,
    ) -> None:  # fmt: skip
        self._means = means
        self._report = report
        self._name = name
        self._whole = sum(log.stop - log.first for log in plan.logs)
        self._pace = ReplayPace(means.clock, rate)
        self._began_s = self._said_s = means.clock.monotonic()

    async def passed(self, records: int) -> None:
        self._report.records += records
        await self._pace.take(records)
        now_s = self._means.clock.monotonic()
        if now_s - self._said_s < _SAY_S or not self._report.records:
            return
        self._said_s = now_s
        left = max(0, self._whole - self._report.records)
        left_s = left * (now_s - self._began_s) / self._report.records
        share = self._report.records / max(1, self._whole)
        self._means.say(
            f"{self._name}: {share:.0%} of {self._whole:,} offsets, {left_s:.0f} s left"
        )


@contextmanager
def _scratch() -> Iterator[Files]:
    """A folder for remembered ids, deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="dia-rebuild-") as folder:
        files = DiskFiles(Path(folder))
        try:
            yield files
        finally:
            files.close()
