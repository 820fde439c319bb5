"""The windows of an app in an `AppTester`, recounted from its log and compared with its rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from streams.core.types import TopicPartition
from streams.dev.simulation.world import World
from streams.engine.agents.window_agent import WindowAgent
from streams.operate.audit.finding import AuditFinding
from streams.operate.audit.reference_decoder import Rules
from streams.operate.audit.snapshot import DeadLetterCounts, LedgerRow, PartitionSnapshot
from streams.operate.audit.window_recount import WindowRecount, recount_windows
from streams.operate.audit.window_rows import (
    AppWindowKey,
    RowComparison,
    ShownRow,
    aggregate_columns,
    compare_rows,
)
from streams.operate.audit.windows import compare_counters, compare_dead
from streams.testing import AppTester

FOREVER_S = 1 << 31


class Recounted(NamedTuple):
    """Over all partitions of one agent. ``notes`` name what the log does not contain any more."""

    findings: list[AuditFinding]
    judged: int
    open: int
    doubtful: int
    notes: list[str]
    unsteady: int
    late_by_other_grace: int


class SimulatedRun:
    """A world in which an app has run, with the interface that a recount needs."""

    def __init__(self, world: World) -> None:
        self.world = world

    def rows(self, name: str) -> list[Any]:
        """The rows of a table that ClickHouse shows."""
        return self.world.shards.rows(name)

    def letters(self, topic: str) -> Iterator[tuple[int, dict[str, str]]]:
        """Partition and provenance of each dead letter in a DLQ."""
        number = 0
        while (tp := TopicPartition(topic, number)) in frozenset(self.world.broker.partitions()):
            log = self.world.broker.log(tp)
            for headers in log.read_committed(log.start_offset, 1 << 30).headers:
                yield number, {k: v.decode() for k, v in headers if k.startswith("dia.dlq.")}
            number += 1


def recounted(tester: AppTester, agent: WindowAgent, from_s: int = 0) -> Recounted:
    """The result of a deep audit of one agent. A test may change rows in ``tester`` before."""
    return tester._run(recount_all(SimulatedRun(tester._world), agent, from_s))


async def recount_all(run: SimulatedRun, agent: WindowAgent, from_s: int = 0) -> Recounted:
    """The same for any run that has settled."""
    settings, world = run.world.settings, run.world
    rules = Rules(
        source=agent.source,
        future_max_ms=settings.future_max_s * 1000,
        late_max_ms=settings.late_max_s * 1000,
        dedupe_ttl_ms=settings.dedupe_ttl_s * 1000,
    )
    total = Recounted([], 0, 0, 0, [], 0, 0)
    for tp in [one for one in world.broker.partitions() if one.topic == agent.source.name]:
        books = await _books(run, agent, tp)
        if not books.ledger:
            continue
        letters = _letters(run, agent, tp)
        codes = DeadLetterCounts(in_dlq=letters).codes(tp)
        idle_ms = int(settings.idle_close_s * 1000)
        reader = await world.broker.reader()
        counted = await recount_windows(
            reader, agent, books, rules, (from_s, FOREVER_S), codes, idle_ms
        )
        await reader.close()
        compared = [
            _compare(run, declared, counted, moved=books.lag > 0) for declared in agent.windows
        ]
        total = Recounted(
            [
                *total.findings,
                *compare_counters(tp.topic, counted, books.ledger),
                *compare_dead(tp.topic, counted, letters),
                *(finding for one in compared for finding in one.findings),
            ],
            total.judged + sum(one.judged for one in compared),
            total.open + sum(one.open for one in compared),
            total.doubtful + sum(one.doubtful for one in compared),
            [*total.notes, *counted.notes],
            total.unsteady + counted.unsteady,
            total.late_by_other_grace + counted.late_by_other_grace,
        )
    return total


async def _books(run: SimulatedRun, agent: WindowAgent, tp: TopicPartition) -> PartitionSnapshot:
    names = ("epoch", "next_offset", "read", "applied", "duplicates", "dead", "gaps", "shed")
    rows = [
        LedgerRow(
            partition=tp.partition,
            dead_by_code=row["dead_by_code"],
            **{name: row[name] for name in names},
        )
        for row in run.rows("ledger")
        if (row["grp"], row["topic"], row["part"]) == (agent.group, *tp)
    ]
    reader = await run.world.broker.reader()
    begin, end = await reader.beginning_offset(tp), await reader.last_stable_offset(tp)
    await reader.close()
    return PartitionSnapshot(
        partition=tp.partition,
        begin_offset=begin,
        end_offset=end,
        committed_offset=max((row.next_offset for row in rows), default=None),
        committed_epoch=max((row.epoch for row in rows), default=None),
        ledger=tuple(sorted(rows, key=lambda row: row.epoch)),
    )


def _letters(run: SimulatedRun, agent: WindowAgent, tp: TopicPartition) -> dict[str, str]:
    return {
        said["dia.dlq.id"]: said["dia.dlq.error_code"]
        for number, said in run.letters(agent.source.dlq)
        if number == tp.partition and said["dia.dlq.stage"] != "sink"
    }


def _compare(run: SimulatedRun, declared, counted: WindowRecount, *, moved: bool) -> RowComparison:
    shown: defaultdict[AppWindowKey, list[ShownRow]] = defaultdict(list)
    for row in run.rows(declared.name):
        if row["part"] == counted.partition:
            place = tuple(row[name] for name in declared.by), row["w"], row["epoch"]
            values = {name: row[name] for name in aggregate_columns(declared)}
            shown[place].append(ShownRow(row["w_end"], row["closed"], values, 0))
    bounds_ms = range(counted.judged_from_s * 1000, counted.to_s * 1000)
    return compare_rows(
        declared, counted, shown, bounds_ms, moved=moved, now_ms=run.world.clock.now_ms()
    )
