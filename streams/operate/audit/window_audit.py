"""The deep audit of one partition of an app's windows. Windows that it skips are listed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from streams.core.clock import Clock
from streams.core.rows.clickhouse_table import EPOCH, VERSION
from streams.core.settings import Settings
from streams.core.types import LogReader, TopicPartition
from streams.core.words.moments import iso_s
from streams.engine.agents.window_agent import WindowAgent
from streams.engine.streams.window_aggregates import CLOSED, END, PART, START, AggregatedWindows
from streams.operate.audit.aggregates import is_known
from streams.operate.audit.reference_decoder import Rules
from streams.operate.audit.refused import RefusedRows
from streams.operate.audit.shards import Shards
from streams.operate.audit.snapshot import AuditSnapshot, PartitionSnapshot
from streams.operate.audit.snapshot_reader import SnapshotReader
from streams.operate.audit.window_recount import HELD_MAX, WindowRecount, recount_windows
from streams.operate.audit.window_rows import (
    IN_DLQ,
    AppWindowKey,
    RowComparison,
    ShownRow,
    aggregate_columns,
    compare_rows,
)

_POLL_S = 2.0
_DAY_S = 86_400


class WindowAudit(NamedTuple):
    """``bounds_s``: first and end of the requested windows."""

    bounds_s: tuple[int, int]
    wait_s: float
    rules: Rules
    settings: Settings
    clock: Clock
    shards: Shards
    reader: LogReader
    reading: SnapshotReader

    async def recount(
        self, agent: WindowAgent, books: AuditSnapshot, partition: PartitionSnapshot
    ) -> WindowRecount:
        tp = TopicPartition(books.topic, partition.partition)
        idle_close_ms = int(self.settings.idle_close_s * 1000)
        return await recount_windows(
            self.reader, agent, partition, self.rules, self.bounds_s,
            books.dead.codes(tp), idle_close_ms,
        )  # fmt: skip

    async def compare(
        self,
        declared: AggregatedWindows,
        agent: WindowAgent,
        books: AuditSnapshot,
        recount: WindowRecount,
    ) -> RowComparison:
        """Rows follow their commits: compare until they agree, at most ``wait_s``."""
        from_s = max(recount.judged_from_s, self.kept_s(declared))
        bounds_ms = range(from_s * 1000, recount.to_s * 1000)
        deadline_s = self.clock.monotonic() + self.wait_s
        tp = TopicPartition(books.topic, recount.partition)
        while True:
            bounds = bounds_ms.start, bounds_ms.stop
            shown = await self.shards.app_windows(declared, tp.partition, *bounds)
            put_back(declared, books.refused, tp.partition, shown)
            committed = await self.reading.committed(agent, tp)
            moved = committed is not None and committed.offset > recount.next_offset
            now_ms = self.clock.now_ms()
            compared = await asyncio.to_thread(
                compare_rows, declared, recount, shown, bounds_ms, moved=moved, now_ms=now_ms
            )
            if not compared.findings or self.clock.monotonic() >= deadline_s:
                return compared
            await self.clock.sleep(_POLL_S)

    def kept_s(self, declared: AggregatedWindows) -> int:
        """Rows of windows from here on have certainly not expired."""
        if declared.ttl_days is None:
            return 0
        ahead_s = self.rules.future_max_ms // 1000
        return self.clock.now_ms() // 1000 - (declared.ttl_days - 1) * _DAY_S + ahead_s


def put_back(
    declared: AggregatedWindows,
    refused: RefusedRows,
    part: int,
    shown: dict[AppWindowKey, list[ShownRow]],
) -> None:
    """Add refused rows to ``shown`` for windows without a row."""
    names = aggregate_columns(declared)
    needed = {*declared.by, START, END, PART, CLOSED, EPOCH, VERSION, *names}
    newest: dict[AppWindowKey, tuple[int, ShownRow]] = {}
    for row in refused.rows(declared.table):
        if not needed <= row.keys():
            continue  # of a declaration without a column
        place = tuple(row[name] for name in declared.by), int(row[START]), int(row[EPOCH])
        version = int(row[VERSION])
        if row[PART] == part and (place not in newest or newest[place][0] < version):
            values = {name: row[name] for name in names}
            newest[place] = version, ShownRow(int(row[END]), bool(row[CLOSED]), values, IN_DLQ)
    for place, (_, kept) in newest.items():
        if place not in shown or (kept.closed and not any(one.closed for one in shown[place])):
            shown[place] = [kept]


def not_judged(
    declared: AggregatedWindows, tp: TopicPartition, recount: WindowRecount, compared: RowComparison
) -> Iterator[str]:
    where = f"{declared.name} of {tp}"
    if compared.open:
        yield f"{where}: {compared.open} windows are live, and have no row yet or one that is behind the log"
    if compared.doubtful:
        yield (
            f"{where}: the log does not decide {compared.doubtful} windows: a silence of the partition, "
            f"another grace, or a reset may have closed them before a record came"
        )
    if recount.late_by_other_grace:
        yield (
            f"{where}: {recount.late_by_other_grace} dead letters window_closed do not follow from "
            f"today's grace: either it was shorter then, or they are wrong"
        )


def whole_range(
    agent: WindowAgent, tp: TopicPartition, recount: WindowRecount, kept_s: Sequence[int]
) -> Iterator[str]:
    names = ", ".join(one.name for one in agent.windows)
    if recount.overfull:
        yield (
            f"{names} of {tp}: more than {HELD_MAX:,} records count in the range. Choose a smaller one "
            f"with --from and --to"
        )
    if recount.unsteady:
        yield (
            f"{names} of {tp}: {recount.unsteady} records are another event when they are read a second "
            f"time. The codec or an upcaster of {tp.topic} depends on more than the record: mend it"
        )
    if max(kept_s) > recount.judged_from_s:
        kept = iso_s(max(kept_s))
        yield f"{names} of {tp}: rows of windows before {kept} may have expired (ttl_days)"


def beyond_recounting(agent: WindowAgent) -> Iterator[str]:
    for one in agent.windows:
        if one.on_window_close is not None:
            yield f"{one.name}: what its on_window_close sends comes of a function of the app"
        for name, aggregate in one.fold.items():
            if not is_known(aggregate):
                yield f"{one.name}: column {name} is of an aggregator that is not dia's own"
