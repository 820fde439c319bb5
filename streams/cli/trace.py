"""`dia trace`: what became of one event."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.invocation import invocation

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.cli.invocation import Invocation
    from streams.operate.trace.means import TraceBounds
    from streams.operate.trace.trace_report import TraceReport


def register(app: typer.Typer) -> None:
    app.command()(trace)


def trace(
    ctx: typer.Context,
    asked: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Event id, topic/partition/offset, or id of a dead letter, plan, run or request.",
        ),
    ],
    *,
    topic: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Source topic. Repeatable; default: all."),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Whose event: one partition where it is the key."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Record key: one partition; 0x.. for bytes.")
    ] = None,
    around: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Appended within 10 minutes of it.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Appended since: -2h, or ISO (UTC).")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Appended before: as --since.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="At most so many records.")
    ] = 20,
    timeout: Annotated[str, typer.Option(metavar="SPAN", help="Search at most so long.")] = "60s",
) -> None:
    """What became of an event: verdict, commit, windows, rows, dead letter, replays.

    Searches the source topics for the bytes of ID, then the DLQs. Without --tenant, --key or a time
    it reads every partition. The last lines say which offsets were searched: what lies outside
    them, or was deleted by retention, is not judged. Writes nothing. Exit code 6 when nothing was
    found, 3 when the search ended early.

    Example: dia trace o-4711 --topic orders --around 2026-05-01T12:00
    """
    from streams.core.words.moments import span_s
    from streams.core.words.naming import named
    from streams.core.words.record_key import record_key
    from streams.operate.trace.means import TraceBounds
    from streams.operate.trace.trace_times import trace_times

    run = invocation(ctx)
    bounds = TraceBounds(
        topics=tuple(topic or ()),
        times=trace_times(time.time(), around, since, until, "--"),
        key=None if key is None else record_key(key),
        tenant=None if tenant is None else named(tenant, "--tenant"),
        finds_max=limit,
        deadline_s=float(span_s(timeout, "--timeout")),
    )
    printer = run.printer()

    def found_at(place: str) -> None:
        printer.say(f"found {place}")

    with printer.progress("searched", unit="offsets") as bar:
        report = asyncio.run(_traced(run, asked, bounds, bar.advance, found_at))
    _show(run, report)
    _conclude(report)


async def _traced(
    run: Invocation,
    asked: str,
    bounds: TraceBounds,
    progress: Callable[[int], None],
    found_at: Callable[[str], None],
) -> TraceReport:
    from streams.cli.clients import admin_and_reader
    from streams.core.clock import SystemClock
    from streams.core.process import process_memory
    from streams.operate.trace.means import TraceMeans
    from streams.operate.trace.shown_rows import ShardRows
    from streams.operate.trace.tracer import trace

    process_memory.settle()  # megabytes a fetch, of millions of records
    async with AsyncExitStack() as stack:
        admin, reader = await stack.enter_async_context(admin_and_reader(run.settings))
        shown = (
            ShardRows(run.settings, run.app.clickhouse_tables) if run.settings.shards() else None
        )
        if shown is not None:
            stack.callback(shown.close)
        means = TraceMeans.of(run.app, run.settings, SystemClock(), reader, admin, shown)
        return await trace(means, asked, bounds, progress, found_at)


def _show(run: Invocation, report: TraceReport) -> None:
    from streams.cli.terminal.trace_page import TracePage
    from streams.operate.trace.trace_fields import fields

    if run.json:
        run.printer().record(fields(report))
        return
    page = TracePage(report)
    for line in page.lines():
        print(line)
    for line in page.searched():
        run.printer().say(line)


def _conclude(report: TraceReport) -> None:
    """Raises `PartialResult` and `NotFoundThere`."""
    from streams.core.command_errors import NotFoundThere
    from streams.core.errors import PartialResult

    if report.late:
        raise PartialResult(
            f"the search of {report.asked!r} ended at its time limit: offsets behind those listed "
            "may hold more. Give --tenant, --key, --around or a longer --timeout."
        )
    if not report.whole and not report.found:
        raise PartialResult(
            f"{report.asked!r} was not found, but not every batch could be read: see above."
        )
    if not report.found:
        raise NotFoundThere(
            f"{report.asked!r} is not in the offsets listed above. That is no proof that it never was: "
            f"retention deletes old records, and an edge may still hold it in its spool."
        )
