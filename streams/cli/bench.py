"""`dia bench`: measures this machine, and compares two measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import Invocation, invocation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streams.dev.bench.cases.case import Case
    from streams.dev.bench.report.comparison import ComparedPairs
    from streams.dev.bench.report.results import BenchReport

SUITE = "suite"
_CLONE = Path(__file__).parents[2] / "tests" / "bench"

_Workload = Annotated[str, typer.Option(help="As of `dia bench run`.")]
_Events = Annotated[
    int, typer.Option(min=1000, max=50_000_000, help="Synthetic events to process.")
]
_Processes = Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")]
_Shards = Annotated[int, typer.Option(min=1, max=8, help="ClickHouse shards.")]
_Output = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the results.")]


def register(app: typer.Typer) -> None:
    group = command_group("Measure the pipeline on this machine.")
    group.command("run")(run)
    group.command("agents")(agents)
    group.command("compare")(compare)
    group.command("capacity")(capacity)
    group.command("curves")(curves)
    group.command("peers")(peers)
    group.command("readers")(readers)
    group.command("report")(report)
    app.add_typer(group, name="bench")


def run(
    ctx: typer.Context,
    *,
    workload: Annotated[
        str,
        typer.Option(
            help="wide, narrow, hot, dups, single, spaced, escaped or utf8; suite: the standard set of cases."
        ),
    ] = SUITE,
    events: _Events = 1_000_000,
    processes: _Processes = 1,
    shards: _Shards = 2,
    sink: Annotated[
        str, typer.Option(help="clickhouse, or null: rows are acknowledged and dropped.")
    ] = "clickhouse",
    rate: Annotated[
        int | None, typer.Option(min=100, max=1_000_000, help="Events a second: freshness.")
    ] = None,
    seconds: Annotated[
        int | None, typer.Option(min=1, max=3600, help="How long to keep the rate.")
    ] = None,
    rebalance: Annotated[
        bool, typer.Option("--rebalance", help="With --rate: another worker joins on the way.")
    ] = False,
    commit_interval: Annotated[
        float | None, typer.Option(min=0.01, max=60, help="With --rate: seconds between commits.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the events.")] = 1,
    output: _Output = None,
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Profile the workers into FILE.N.pstats.")
    ] = None,
) -> None:
    """Run on a real stack of its own, check every window, and write the figures down.

    Works in HOME/bench, which it empties first; stops everything it started. A run with wrong
    results has no speed: exit code 1.

    Example: dia bench run --workload narrow --events 1000000 --sink null
    """
    from streams.core.errors import CommandError
    from streams.dev.bench.cases.case import Suite, paced, single
    from streams.dev.bench.report import results
    from streams.dev.bench.run import run as measure

    call = invocation(ctx)
    printer = call.printer()
    cases: list[Case]
    if workload == SUITE:
        cases = Suite(events=events, processes=processes, shards=shards, seed=seed).cases()
    else:
        case = single(workload, events, processes, shards, sink, seed)
        if rate is not None or seconds is not None or rebalance or commit_interval is not None:
            case = paced(
                case, rate, seconds, rebalance=rebalance, commit_interval_s=commit_interval
            )
        cases = [case]
    home = _home(call)
    report = measure(cases, home, printer, profile)
    as_json, as_text = results.write(report, output or results_folder(home))
    if call.json:
        printer.record(results.plain(report))
    else:
        print(results.markdown(report))
    printer.say(f"results: {as_json} and {as_text}")
    if not report.exact:
        raise CommandError(
            "a run was not exact, so its speed means nothing. What differs stands in the results; "
            f"the last worker's log is {home / 'worker.log'}."
        )


def compare(
    ctx: typer.Context,
    first: Annotated[
        Path, typer.Argument(help="A result of `dia bench run` (.json), or a folder of results.")
    ],
    second: Annotated[Path, typer.Argument(help="Another one; ratios are second to first.")],
) -> None:
    """Ratios of two results; of different machines only their shares of their own floors.

    Of two folders, run i of one is compared with run i of the other: median, least and greatest
    ratio.

    Example: dia bench compare before.json after.json
    """
    from streams.dev.bench.report import results
    from streams.dev.bench.report.comparison import compare_pairs

    printer = invocation(ctx).printer()
    runs = results.read_runs(first), results.read_runs(second)
    compared = compare_pairs(*runs)
    for path, reports in zip((first, second), runs, strict=True):
        printer.say(f"{path}: {_made_with(reports)}")
    printer.rows(
        ("case", "figure", "first", "second", "ratio", "least", "greatest", "pairs", "verdict"),
        [
            (*row[:4], *(round(ratio, 3) for ratio in row[4:7]), row.pairs, _verdict(row))
            for row in compared
        ],
    )


def _made_with(reports: Sequence[BenchReport]) -> str:
    commits = sorted({report.commit[:12] + report.commit[40:] or "unknown" for report in reports})
    others = [outcome.others_cores for report in reports for outcome in report.outcomes]
    return f"commit {', '.join(commits)}; others used {min(others)} to {max(others)} cores"


def capacity(
    ctx: typer.Context,
    *,
    workload: _Workload = "narrow",
    processes: _Processes = 1,
    shards: _Shards = 2,
    seconds: Annotated[
        float, typer.Option(min=5, max=3600, help="For the search, before the rate is confirmed.")
    ] = 70.0,
    output: _Output = None,
) -> None:
    """The highest rate that this machine sustains, end to end: about two minutes.

    Exit code 1 when no rate held, or when the results were not exact.

    Example: dia bench capacity --processes 2 --seconds 60
    """
    from streams.core.errors import CommandError
    from streams.dev.bench.cases import capacity as search
    from streams.dev.bench.cases.case import Case

    call = invocation(ctx)
    printer = call.printer()
    home = _home(call)
    case = Case(workload=workload, processes=processes, shards=shards)
    found = search.measure_capacity(case, seconds, home, printer)
    columns = ("events/s", "seconds", "behind s", "sender late s", "held")
    tries = [
        (one.rate_per_s, one.seconds, one.behind_s, one.sender_late_s, one.held)
        for one in found.tries
    ]
    _keep(call, "capacity", found, lambda: printer.rows(columns, tries), output)
    if found.safe_per_s is None:
        raise CommandError(
            "no rate held. " + ("; ".join(found.differences) or "The tries say how far behind.")
        )
    printer.say(f"safe rate of this machine: {found.safe_per_s:,} events/s ({found.case})")


def peers(
    ctx: typer.Context,
    *,
    names: Annotated[
        str, typer.Option("--peers", help="Comma-separated folders of tests/bench/peers, or all.")
    ] = "all",
    workload: _Workload = "wide",
    events: _Events = 1_000_000,
    limit: Annotated[
        float, typer.Option(min=5, max=3600, help="Seconds a peer may take; then it is stopped.")
    ] = 60.0,
    output: _Output = None,
) -> None:
    """Send one topic through dia and alternatives, one core each: the ratios.

    Peers are installed into folders of their own in the user's cache, the first time.

    Example: dia bench peers --peers faust_streaming --events 100000
    """
    from streams.dev.bench.cases.case import Case
    from streams.dev.bench.peers import run as peer_run
    from streams.dev.bench.peers.results import ratio_table

    call = invocation(ctx)
    printer = call.printer()
    home = _home(call)
    case = Case(workload=workload, events=events, shards=1, sink="null")
    report = peer_run.run_peers(
        peer_run.chosen(names), case, limit, clone_folder() / "peers", home, printer
    )
    _keep(call, "peers", report, lambda: print("\n".join(ratio_table(report))), output)


def agents(
    ctx: typer.Context,
    *,
    engines: Annotated[str, typer.Option(help="dia, faust, or both.")] = "dia,faust",
    events: _Events = 1_000_000,
    limit: Annotated[
        float, typer.Option(min=5, max=3600, help="Seconds an engine may take; then it is stopped.")
    ] = 20.0,
    output: _Output = None,
) -> None:
    """Agents that handle one event at a time, on dia and on Faust: only the import differs.

    One core each: an agent that does nothing, one that updates a table, one that updates two and sends.

    Example: dia bench agents --engines dia --events 100000
    """
    from streams.dev.bench.peers import agents as bench

    call = invocation(ctx)
    printer = call.printer()
    home = _home(call)
    chosen = bench.chosen_engines(engines)
    found = bench.run_agents(chosen, events, limit, clone_folder(), home, printer)
    _keep(call, "agents", found, lambda: print("\n".join(bench.agent_table(found))), output)


def readers(
    ctx: typer.Context,
    *,
    count: Annotated[int, typer.Option("--readers", min=1, max=400, help="People at once.")] = 200,
    rate: Annotated[
        int,
        typer.Option(min=100, max=1_000_000, help="Events a second; half of its safe rate, say."),
    ] = 40_000,
    seconds: Annotated[int, typer.Option(min=5, max=3600, help="How long readers ask.")] = 60,
    processes: _Processes = 1,
    shards: _Shards = 2,
    output: _Output = None,
) -> None:
    """Simulated users read the console while events flow: response times, and the lag.

    Each holds a live stream and requests a page, or its data, every 1 to 2 seconds. Exit code 1
    when p95 is 200 ms or more, a response was an error, the lag grew, or the results were not
    exact.

    Example: dia bench readers --readers 50 --rate 10000
    """
    from streams.core.errors import CommandError
    from streams.dev.bench.cases.case import Case, paced
    from streams.dev.bench.console_load.measure import measure_console_load
    from streams.dev.bench.console_load.record import markdown

    call = invocation(ctx)
    printer = call.printer()
    home = _home(call)
    case = Case(workload="narrow", processes=processes, shards=shards)
    found = measure_console_load(paced(case, rate, seconds), count, home, printer)
    _keep(call, "readers", found, lambda: print("\n".join(markdown(found))), output)
    if not found.held:
        raise CommandError("the console or the pipeline did not hold under these readers.")


def curves(
    ctx: typer.Context,
    *,
    seconds: Annotated[
        float, typer.Option(min=1, max=86_400, help="For all; a curve ends where its share does.")
    ] = 360.0,
    output: _Output = None,
) -> None:
    """The cost of an event by live windows, live ids, partitions, tenants and processes.

    The engine alone, without a stack. The ends of each curve come first: 5 million windows, 100
    million ids.

    Example: dia bench curves --seconds 20
    """
    import asyncio

    from streams.dev.bench.curves import curves as law

    call = invocation(ctx)
    printer = call.printer()
    found = asyncio.run(law.measure_curves(law.AXES, seconds, printer))
    _keep(call, "curves", found, lambda: print("\n".join(law.markdown(found))), output)


def report(
    ctx: typer.Context,
    *,
    parts: Annotated[str, typer.Option(help="Comma-separated names, or all.")] = "all",
    again: Annotated[
        bool, typer.Option("--again", help="Also what was measured before with this source.")
    ] = False,
    curve_seconds: Annotated[
        float, typer.Option(min=1, max=86_400, help="For the part `curves`.")
    ] = 360.0,
    minutes: Annotated[
        float, typer.Option(min=1, max=1440, help="A part that would end later is not begun.")
    ] = 30.0,
) -> None:
    """Run the missing measurements and write tests/bench/REPORT.md.

    Records go to tests/bench/results/report, the ratios into README.md. It can be interrupted: the
    next run continues. Exit code 1 when a part failed, had no time or was not exact.

    Example: dia bench report
    """
    from streams.dev.bench.report.parts import Bench, measure_parts, refuse_failures, wanted
    from streams.dev.bench.report.records import read_all
    from streams.dev.bench.report.text import compose, headline, with_headline

    call = invocation(ctx)
    printer = call.printer()
    clone = clone_folder()
    bench = Bench(
        home=_home(call),
        clone=clone,
        folder=clone / "results" / "report",
        talk=printer,
        curves_s=curve_seconds,
        limit_s=minutes * 60,
    )
    failed = measure_parts(wanted(parts), bench, again=again)
    found = read_all(bench.folder)
    written = clone / "REPORT.md"
    written.write_text(compose(found))
    if lines := headline(found):
        readme = clone.parents[1] / "README.md"
        readme.write_text(with_headline(readme.read_text(), lines))
    printer.say(f"report: {written}")
    refuse_failures([*failed, *(name for name, run in found.runs.items() if not run.exact)])


def _keep(
    call: Invocation, kind: str, found: Any, show: Callable[[], None], output: Path | None
) -> None:
    """Show the record of a measurement, and write it down."""
    import msgspec

    from streams.dev.bench.report import files as records

    printer = call.printer()
    if call.json:
        printer.record(msgspec.to_builtins(found))
    else:
        show()
    name = f"{kind}-{records.stem(found.started_at, found.machine)}"
    folder = output or results_folder(_home(call))
    printer.say(f"results: {records.save(found, folder, name)}")


def _home(call: Invocation) -> Path:
    return call.settings.home_path() / "bench"


def results_folder(home: Path) -> Path:
    """tests/bench/results in a clone, else beside the bench's home."""
    return _CLONE / "results" if _CLONE.is_dir() else home.with_name("bench-results")


def clone_folder() -> Path:
    """Raises `UsageError` outside a clone."""
    from streams.core.errors import UsageError

    if not _CLONE.is_dir():
        raise UsageError(
            "the peers' programs are in tests/bench/peers of the repository, which an installed "
            "package does not have. Run it from a clone: make setup, then .venv/bin/dia."
        )
    return _CLONE


def _verdict(row: ComparedPairs) -> str:
    if row.better is None:
        return "equal" if row.least == row.greatest else "undecided"
    return "better" if row.better else "worse"
