"""`dia loadtest`: requests of a file at the times that are due, against any stack by its addresses."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import Invocation, invocation

if TYPE_CHECKING:
    from streams.cli.terminal.output import Printer
    from streams.operate.loadtest.record import LoadTestRecord
    from streams.operate.loadtest.run import LoadTestRun

_TOKEN_MS = 2 * 86_400_000
_INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    group = command_group("Load tests of an edge and a console, with thresholds and a report.")
    group.command()(run)
    group.command()(example)
    app.add_typer(group, name="loadtest")


def run(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML; see docs/loadtest.md.")],
    *,
    edge: Annotated[
        str | None, typer.Option(metavar="URL", help="Default: that of DIA_EDGE_HOST and _PORT.")
    ] = None,
    console: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Default: that of DIA_CONSOLE_HOST and _PORT."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="An access token; default: one of this installation, for the run alone.",
        ),
    ] = None,
    duration: Annotated[
        str | None, typer.Option(metavar="SPAN", help="In place of the file's: 90s, 10m ...")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="In place of the file's: factor of all rates.")
    ] = None,
) -> None:
    """Send the requests of FILE to an edge and a console, and judge the answers by its thresholds.

    A request is sent when it is due, whatever became of those before it, and its latency counts from
    then. Ctrl-C ends the test early; the report is written all the same, as HTML and JSON in
    HOME/loadtests. Exit code 1 where a threshold fails (`thresholds_failed`), 4 where the edge or the
    console does not answer, 130 after Ctrl-C.

    Example: dia loadtest run platform.toml --duration 2m
    """
    from streams.core.clock import SystemClock
    from streams.core.command_errors import ThresholdsFailed
    from streams.operate.loadtest.file import read_file
    from streams.operate.loadtest.html_report import html_report
    from streams.operate.loadtest.record import folder_of, keep
    from streams.operate.loadtest.run import Addresses, LoadTestRun

    call = invocation(ctx)
    settings, printer = call.settings, call.printer()
    given = {"duration": duration, "scale": scale}
    test = read_file(file, {name: one for name, one in given.items() if one is not None})
    urls = (
        edge or f"http://{settings.edge_host}:{settings.edge_port}",
        console or f"http://{settings.console_host}:{settings.console_port}",
    )
    with _token(call, token_file) as token:
        record = asyncio.run(
            _watched(LoadTestRun(test, Addresses(*urls, token), SystemClock()), printer)
        )
    data, page = keep(folder_of(settings.home_path()), record, html_report(record))
    _show(printer, record, json=call.json)
    printer.say(f"report: {page}; data: {data}")
    if record.interrupted:
        raise typer.Exit(_INTERRUPTED)
    if not record.held:
        failed = [one for one in record.thresholds if not one.held]
        raise ThresholdsFailed(
            f"{len(failed)} of {len(record.thresholds)} thresholds failed, first {failed[0].what} of "
            f"{failed[0].subject}. {page} shows when."
        )


def example() -> None:
    """Print the file of a load test: metrics, runs and searches of an ML platform, at a scale for a
    small machine.

    Example: dia loadtest example > platform.toml
    """
    from streams.operate.loadtest.file import EXAMPLE

    typer.echo(EXAMPLE.read_text(encoding="utf-8"), nl=False)


@contextmanager
def _token(call: Invocation, file: Path | None) -> Iterator[str]:
    """That of ``file``; else an admin token of the installation, which is revoked at the end."""
    from streams.connect.access.tokens import Role, TokenFile
    from streams.core.clock import SystemClock
    from streams.core.settings import secret_file

    if file is not None:
        yield secret_file.read("--token-file", str(file))
        return
    tokens = TokenFile.of(call.settings.home_path(), call.settings.tokens_file)
    now_ms = SystemClock().now_ms()
    made, text = tokens.create(
        tenant=None, role=Role.ADMIN, now_ms=now_ms, expires_ms=now_ms + _TOKEN_MS
    )
    try:
        yield text
    finally:
        tokens.revoke(made.id)


async def _watched(test: LoadTestRun, printer: Printer) -> LoadTestRecord:
    """The first Ctrl-C or SIGTERM stops the test, the second one the command."""
    from streams.operate.loadtest.run import LoadTestProgress

    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        test.stop()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        with printer.progress("answered", unit="requests") as bar:

            def tell(found: LoadTestProgress) -> None:
                p95 = "" if found.p95_ms is None else f", p95 {found.p95_ms:g} ms"
                said = f"answered ({found.failed:,} failed, {found.open:,} open{p95})"
                bar.update(completed=found.done, total=found.due, description=said)

            return await test.run(tell)
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _show(printer: Printer, record: LoadTestRecord, *, json: bool) -> None:
    import msgspec

    from streams.operate.loadtest.html_report import figure

    if json:
        printer.record({**msgspec.to_builtins(record), "held": record.held})
        return
    printer.rows(
        ("flow", "threshold", "target", "achieved", "result"),
        [
            (
                one.subject,
                one.what,
                f"{'at least' if one.at_least else 'at most'} {figure(one.target, one.unit)}",
                figure(one.achieved, one.unit),
                "held" if one.held else "FAILED",
            )
            for one in record.thresholds
        ],
    )
