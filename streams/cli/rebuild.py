"""`dia rebuild`: folds the source log again and replaces the rows of minute windows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.invocation import Invocation, invocation
from streams.cli.terminal.operator import Yes, consent

if TYPE_CHECKING:
    from streams.connect.sinks.replica_group import ReplicaGroup
    from streams.core.rows.built_in_tables import ShardSet
    from streams.operate.rebuild.facts import FactsReport
    from streams.operate.rebuild.rebuild import RebuildOptions, RebuildReport

_LOCK = "rebuild"
_COLUMNS = ("partition", "records", "right", "changed", "lost", "emptied", "touched", "live")
_SHOWN = 10


def register(app: typer.Typer) -> None:
    app.command()(rebuild)


def rebuild(
    ctx: typer.Context,
    *,
    start: Annotated[
        str, typer.Option("--from", metavar="WHEN", help="First window: -6h, or ISO (UTC).")
    ],
    stop: Annotated[str, typer.Option("--to", metavar="WHEN", help="End of the windows.")],
    tenant: Annotated[str, typer.Option(metavar="T", help="Only windows of this tenant.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what differs; write nothing.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option(metavar="N", min=1, help="Records read in a second, at most.")
    ] = None,
    accept_gap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PARTITION:OFFSET",
            help="Go on where records below this offset are deleted: windows that need them stay "
            "as they are.",
        ),
    ] = None,
    facts: Annotated[
        bool,
        typer.Option(
            "--facts", help="Also write rows of dead letters and of the ledger that are lost."
        ),
    ] = False,
    yes: Yes = False,
) -> None:
    """Fold the source log again and replace the rows of minute windows that differ, with their
    hours and days.

    The way out after rows of a shard are lost, or were wrong: the log, the ledger and the dead
    letters say what the rows are. Facts that stay lost are named by --facts. Workers may run: a window whose incarnation is live is its
    owner's, and is left alone. A run that was stopped is run again: it writes what still differs.
    Exit code 3 when a shard refuses a row or an hour differs afterwards, 4 when a dependency does
    not answer, 5 when the log does not say for certain what the rows were.

    Example: dia rebuild --from 2027-01-15T00:00Z --to 2027-01-16T00:00Z --dry-run
    """
    from streams.core.words.moments import moment_s
    from streams.operate.rebuild.rebuild import RebuildOptions

    run, now_s = invocation(ctx), time.time()
    options = RebuildOptions(
        from_s=moment_s(start, "--from", now_s),
        to_s=moment_s(stop, "--to", now_s),
        tenant=tenant,
        dry_run=dry_run,
        rate=rate,
        accepted=dict(map(_gap, accept_gap or [])),
    )
    if not (yes or dry_run):
        consent("Replace the rows of these windows that differ from the log?")
    report = asyncio.run(_run(run, options))
    if facts:
        _show_facts(run, asyncio.run(_run_facts(run, dry_run=dry_run)))
    _show(run, report, dry_run=dry_run)


async def _run(run: Invocation, options: RebuildOptions) -> RebuildReport:
    from streams.connect.coordination.exclusive import exclusively

    def work(check: Callable[[], None]) -> RebuildReport:
        return asyncio.run(rebuilding(run, options, check))

    if options.dry_run:
        return await rebuilding(run, options, lambda: None)
    return await exclusively(run.settings, _LOCK, work)


async def rebuilding(
    run: Invocation,
    options: RebuildOptions,
    check: Callable[[], None],
    *,
    shards: ShardSet | None = None,
    instead: Mapping[int, ReplicaGroup] | None = None,
) -> RebuildReport:
    """``shards``: where rows are written, which is closed in the end; None: those of the settings.
    ``instead``: what is read in the place of some shards."""
    from contextlib import AsyncExitStack

    from streams.cli.clients import broker_of
    from streams.connect.broker.opened import opened
    from streams.connect.sinks.clickhouse import ClickHouseShards
    from streams.core.clock import SystemClock
    from streams.core.errors import UsageError
    from streams.engine.agents.agent import AgentSpec
    from streams.engine.engine_tables import MINUTE_WINDOWS
    from streams.operate.audit.shards import Shards
    from streams.operate.audit.snapshot_reader import SnapshotReader
    from streams.operate.rebuild.rebuild import RebuildMeans, rebuild
    from streams.operate.rebuild.stored_rows import ClickHouseWindows

    settings, clock = run.settings, SystemClock()
    agents = [one for one in run.app.agents.values() if MINUTE_WINDOWS in one.tables]
    if not agents:
        raise UsageError(
            f"no agent of the app {run.app.name} has minute windows: rows of `app.windows` and "
            "facts are not rebuilt."
        )
    broker = broker_of(settings)
    async with AsyncExitStack() as stack:
        store = ClickHouseWindows(settings, instead)
        stack.callback(store.close)
        asked = Shards(settings, instead)
        stack.callback(asked.close)
        tables = run.app.topology.targets.tables
        written = shards or ClickHouseShards.from_settings(settings, clock, tables)
        stack.push_async_callback(written.close)
        reader = await stack.enter_async_context(opened(broker.reader()))
        admin = await stack.enter_async_context(opened(broker.admin()))
        facts = SnapshotReader(settings, clock, asked, reader, admin)
        means = RebuildMeans(
            settings=settings,
            broker=broker,
            shards=written,
            store=store,
            facts=facts.facts,
            clock=clock,
            say=run.printer().say,
            check=check,
        )
        assert isinstance(agents[0], AgentSpec), "minute windows are a table of batch agents"
        return await rebuild(options, agents[0], means)


async def _run_facts(run: Invocation, *, dry_run: bool) -> FactsReport:
    from streams.connect.coordination.exclusive import exclusively

    def work(check: Callable[[], None]) -> FactsReport:
        return asyncio.run(_facts_rebuilt(run, check, dry_run=dry_run))

    return await exclusively(run.settings, _LOCK, work)


async def _facts_rebuilt(
    run: Invocation, check: Callable[[], None], *, dry_run: bool
) -> FactsReport:
    from contextlib import AsyncExitStack

    from streams.cli.clients import broker_of
    from streams.connect.broker.opened import opened
    from streams.connect.sinks.clickhouse import ClickHouseShards
    from streams.core.clock import SystemClock
    from streams.operate.rebuild.facts import FactsRebuild
    from streams.operate.rebuild.stored_facts import ClickHouseFacts
    from streams.operate.replay.journal.control import journals

    settings, clock, topology = run.settings, SystemClock(), run.app.topology
    broker = broker_of(settings)
    async with AsyncExitStack() as stack:
        store = ClickHouseFacts(settings)
        stack.callback(store.close)
        shards = ClickHouseShards.from_settings(settings, clock, topology.targets.tables)
        stack.push_async_callback(shards.close)
        rebuild = FactsRebuild(
            agents=tuple(run.app.agents.values()),
            topology=topology,
            reader=await stack.enter_async_context(opened(broker.reader())),
            admin=await stack.enter_async_context(opened(broker.admin())),
            shards=shards,
            store=store,
            journals=await journals(broker, topology.topics),
            clock=clock,
            check=check,
            dry=dry_run,
        )
        return await rebuild.run()


def _show_facts(run: Invocation, report: FactsReport) -> None:
    printer = run.printer()
    printer.say(f"facts: {report.dead_letters} rows of dead letters, {report.ledger} of the ledger")
    for note in report.notes:
        printer.say(note)


def _gap(text: str) -> tuple[int, int]:
    from streams.core.errors import UsageError

    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise UsageError(f"--accept-gap {text} is not PARTITION:OFFSET, such as 3:120034.")
    return int(partition), int(offset)


def _show(run: Invocation, report: RebuildReport, *, dry_run: bool) -> None:
    from streams.core.errors import PartialResult
    from streams.core.words.moments import iso_s

    printer = run.printer()
    stale = [f"{one.table} {' '.join(one[:3])} {iso_s(one.start_s)}" for one in report.stale]
    rows = [[getattr(one, name) for name in _COLUMNS] for one in report.partitions]
    if run.json:
        fields: dict[str, Any] = {
            "partitions": [dict(zip(_COLUMNS, row, strict=True)) for row in rows],
            "notes": report.notes,
            "refused": report.refused,
            "stale": stale,
        }
        printer.record(fields)
    else:
        printer.rows(_COLUMNS, rows)
    for note in report.notes:
        printer.warn(note)
    if dry_run:
        printer.say(f"{len(stale)} hours and days differ from their minutes. Nothing was written.")
        return
    if report.refused or stale:
        named = "; ".join([*report.refused[:_SHOWN], *stale[:_SHOWN]])
        raise PartialResult(
            f"{len(report.refused)} rows were refused, {len(stale)} hours and days differ from "
            f"their minutes: {named}. `dia audit` compares again."
        )
    printer.say("`dia audit --deep` recounts the windows by other code.")
