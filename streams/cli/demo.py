"""`dia demo`: half a million events through a real stack, reconciled one by one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.invocation import invocation

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation
    from streams.cli.terminal.output import Printer
    from streams.dev.demo.run import DemoOptions, DemoOutcome
    from streams.dev.demo.worker_process import WorkerProcess


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    ctx: typer.Context,
    *,
    events: Annotated[
        int, typer.Option(min=1, max=20_000_000, help="Synthetic events to send.")
    ] = 500_000,
    processes: Annotated[int, typer.Option(min=1, max=4, help="Worker processes.")] = 2,
    shards: Annotated[int, typer.Option(min=1, max=8, help="ClickHouse shards.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the events, and of the chaos.")] = 1,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Kill workers five times and restart a shard.")
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Then keep it up, with the console, until Ctrl-C.")
    ] = False,
) -> None:
    """Start a real stack, feed it, and compare every window with the events sent.

    Runs in HOME/demo, which it empties first; stops everything it started. Exit code 1 on any
    difference.

    Example: dia demo --events 1000000 --chaos
    """
    from streams.core.errors import CommandError
    from streams.dev.demo.run import AGENTS, DemoOptions, run
    from streams.dev.demo.serving import ServedDemo

    call = invocation(ctx)
    printer = call.printer()
    options = DemoOptions(
        home=_home(call) / "demo",
        events=events,
        processes=processes,
        shards=shards,
        seed=seed,
        chaos=chaos,
        agents="all" if serve else AGENTS,
    )

    def tell(outcome: DemoOutcome) -> None:
        if call.json:
            printer.record(_report(outcome))
        else:
            _show(printer, outcome)

    def tell_and_serve(
        outcome: DemoOutcome, environ: Mapping[str, str], worker: WorkerProcess
    ) -> None:
        tell(outcome)
        served.show_compared(outcome.verdict)
        if outcome.verdict.ok:
            served.serve(environ, worker)

    printer.say(f"in another terminal: dia context use {_context(options.home)}")
    with ServedDemo(options.home, seed, printer.say) as served:
        if serve:
            outcome = run(options, printer, served.open_console, tell_and_serve)
        else:
            outcome = run(options, printer)
    if not serve:
        tell(outcome)
    if not outcome.verdict.ok:
        raise CommandError(
            "what came out differs from what was sent. The worker's log is "
            f"{options.home / 'worker.log'}; `dia --home {options.home} up` starts its data again."
        )
    printer.say(_further(options))


def _figures(outcome: DemoOutcome) -> dict[str, Any]:
    """Times in seconds and rates in events a second; None for unobserved ones."""
    produced = outcome.oracle.produced
    committed_s, visible_s = outcome.committed_s, outcome.visible_s
    return {
        "produced_per_s": round(produced / outcome.produced_s),
        "committed_per_s": round(produced / committed_s) if committed_s else None,
        "produced_s": round(outcome.produced_s, 1),
        "queryable_after_s": round(visible_s - outcome.produced_s, 1) if visible_s else None,
        "settled_s": round(outcome.settled_s, 1) if outcome.settled_s else None,
        "workers_killed": outcome.kills,
    }


def _report(outcome: DemoOutcome) -> dict[str, Any]:
    return {
        "ok": outcome.verdict.ok,
        "checks": [{**check._asdict(), "ok": check.ok} for check in outcome.verdict.checks],
        "differences": [difference._asdict() for difference in outcome.verdict.differences],
        **_figures(outcome),
    }


def _show(printer: Printer, outcome: DemoOutcome) -> None:
    verdict = outcome.verdict
    printer.rows(
        ("check", "sent", "found", ""),
        [
            (check.name, f"{check.expected:,}", f"{check.found:,}", "ok" if check.ok else "DIFFERS")
            for check in verdict.checks
        ],
    )
    if verdict.differences:
        printer.say("\nthe first windows that differ, as (count, sum):")
        printer.rows(("window", "sent", "found"), verdict.differences)
    print()
    printer.record(_figures(outcome))
    if verdict.ok:
        print(f"\nexact: {outcome.oracle.applied:,} events, each counted once.")


_LARGEST = "SELECT tenant, sum(n) AS events FROM m1 GROUP BY tenant ORDER BY events DESC LIMIT 5"
_DEAD = "SELECT error_code, count() AS records FROM dead_letters GROUP BY error_code"


def _further(options: DemoOptions) -> str:
    from streams.core.settings import load

    dia = f"  dia --home {_short(options.home)}"
    return "\n".join(
        (
            "to look further, start the demo's data again:",
            f"{dia} up",
            f'{dia} query "{_LARGEST}"',
            f'{dia} query "{_DEAD}"',
            f"{dia} token create --role admin",
            f"{dia} console    # then open http://127.0.0.1:{load()[0].console_port}",
            f"{dia} down",
            "or see it move: dia demo --serve keeps all of it up, and prints the console's address",
        )
    )


def _home(call: Invocation) -> Path:
    """Not the chosen context's: that may be an earlier demo."""
    from streams.core.settings.default_home import default_home

    named = call.home or os.environ.get("DIA_HOME")
    return Path(named) if named else default_home()


def _context(home: Path) -> str:
    """What `dia context use` takes."""
    from streams.core.settings.contexts import DEMO
    from streams.core.settings.default_home import default_home

    return DEMO if home == default_home() / DEMO else str(home)


def _short(home: Path) -> str:
    try:
        return f"~/{home.relative_to(Path.home())}"
    except ValueError:
        return str(home)
