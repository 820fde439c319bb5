"""`dia audit`: compares independent counts of the same records and reports differences."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.invocation import invocation

if TYPE_CHECKING:
    from streams.cli.terminal.output import Printer
    from streams.engine.health.rule import Health
    from streams.operate.audit.audit import AuditReport
    from streams.operate.audit.snapshot import AuditSnapshot, LedgerRow

_SHOWN = ("check", "topic", "partition", "offsets", "window", "expected", "found", "meaning")


def register(app: typer.Typer) -> None:
    app.command()(audit)


def audit(
    ctx: typer.Context,
    *,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read the topic again and recount every window.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="WHEN", help="First window of --deep: -6h, or ISO (UTC)."),
    ] = None,
    stop: Annotated[
        str | None, typer.Option("--to", metavar="WHEN", help="End of the windows of --deep.")
    ] = None,
    wait: Annotated[
        str, typer.Option(metavar="SPAN", help="How long what differs is looked at again; 0: not.")
    ] = "75s",
) -> None:
    """Compare ledger, committed offsets, rows and dead letters; --deep: with the log itself.

    --deep recounts minute windows and those of `app.windows`, and lists what it cannot recount.
    Each difference names its two sources and its place. The health rule of `dia status` applies
    too: unread records without a reader are a finding. Exit code 1 on a difference or red health, 4
    when a dependency does not answer.

    Example: dia audit --deep --from -6h --wait 60s
    """
    from streams.cli import health
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.core.errors import CommandError, UsageError
    from streams.core.words.moments import moment_s, span_s
    from streams.engine.health.live_workers import live_workers
    from streams.operate.audit.audit import AuditOptions, audit

    run = invocation(ctx)
    if not deep and (start or stop):
        raise UsageError("--from and --to choose the windows of --deep: add it, or leave them out.")
    now_s = time.time()
    options = AuditOptions(
        deep=deep,
        from_s=moment_s(start, "--from", now_s) if start else None,
        to_s=moment_s(stop, "--to", now_s) if stop else None,
        wait_s=0.0 if wait.strip() in ("0", "0s") else float(span_s(wait, "--wait")),
    )
    printer = run.printer()
    broker = broker_of(run.settings)
    agents = tuple(run.app.agents.values())
    report = asyncio.run(audit(options, agents, run.settings, broker, SystemClock(), printer.say))
    judged = health.health_of(run.settings, run.topology, live_workers(run.settings.state_path()))
    if run.json:
        printer.record(_report(report, judged))
    else:
        _show(printer, report, judged)
    if not report.clean:
        count = len(report.findings)
        raise CommandError(
            f"{count} difference{'s' if count > 1 else ''}. "
            + ("" if deep else "`dia audit --deep` reads the log again and names the windows.")
        )
    health.conclude(judged)


def _report(report: AuditReport, health: Health) -> dict[str, Any]:
    return {
        "clean": report.clean and _proven(health),
        "health": health.fields(),
        "findings": [finding.fields() for finding in report.findings],
        "partitions": [
            {"group": books.group, "topic": books.topic, **_line(books, row)}
            for books in report.books
            for partition in books.partitions
            for row in partition.ledger
        ],
        "lag": sum(books.lag for books in report.books),
        "records_read_again": report.records_read_again,
        "windows_judged": report.windows_judged,
        "notes": report.notes,
        "not_recounted": report.not_recounted,
    }


def _proven(health: Health) -> bool:
    from streams.engine.health.finding import Severity

    return health.verdict < Severity.UNKNOWN


def _show(printer: Printer, report: AuditReport, health: Health) -> None:
    from streams.cli.health import show
    from streams.core.words.printable import printable

    for books in report.books:
        lines = [_line(books, row) for p in books.partitions for row in p.ledger]
        if lines:
            print(f"{books.topic} ({books.group})")
            printer.rows(list(lines[0]), [list(line.values()) for line in lines])
            print()
    for note in report.notes:
        printer.say(f"note: {note}")
    for what in report.not_recounted:
        print("NOT RECOUNTED  " + printable(what))
    for finding in report.findings:
        print("DIFFERENCE  " + printable(finding.check))
        fields = finding.fields()
        for name in _SHOWN[1:]:
            if fields[name] not in ("", None):
                print(f"  {name:<10}{printable(str(fields[name]))}")
    if health.findings:
        show(printer, health)
    if report.clean and _proven(health):
        print(_verdict(report))


def _verdict(report: AuditReport) -> str:
    rows = [row for books in report.books for p in books.partitions for row in p.ledger]
    shed = sum(row.shed for row in rows)
    lag = sum(books.lag for books in report.books)
    text = (
        f"clean{f' up to the committed offsets, {lag:,} records are unread' if lag else ''}: {sum(row.read for row in rows):,} records read = "
        f"{sum(row.applied for row in rows):,} applied + "
        f"{sum(row.duplicates for row in rows):,} duplicates + "
        f"{sum(row.dead for row in rows):,} dead letters"
        f"{f' + {shed:,} shed by order' if shed else ''}, and every party "
        f"{'that could be heard ' if any(b.moving for b in report.books) else ''}says so."
    )
    if report.records_read_again:
        text += (
            f"\n{report.records_read_again:,} records were read again; "
            f"{report.windows_judged:,} windows hold exactly them."
        )
    if report.not_recounted:
        text += "\nThis proves nothing of what is NOT RECOUNTED above."
    return text


def _line(books: AuditSnapshot, row: LedgerRow) -> dict[str, Any]:
    rows = None
    comparable = not books.expired_events and row.partition not in books.moving
    if books.rows is not None and comparable:
        rows = books.rows.get((row.partition, row.epoch), 0)
    return {
        "partition": row.partition,
        "epoch": row.epoch,
        "from_offset": row.start_offset,
        "next_offset": row.next_offset,
        "read": row.read,
        "applied": row.applied,
        "duplicates": row.duplicates,
        "dead": row.dead,
        "shed": row.shed,
        "gaps": row.gaps,
        "in_rows": rows,
    }
