"""`dia bench`: measure this machine, exactly, and compare two measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.invocation import invocation

if TYPE_CHECKING:
    from streams.bench.case import Case

SUITE = "suite"


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Measure the pipeline on this machine.")
    group.command("run")(run)
    group.command("compare")(compare)
    app.add_typer(group, name="bench")


def run(
    ctx: typer.Context,
    *,
    workload: Annotated[
        str, typer.Option(help="wide, narrow, hot or dups; suite: the standard set of cases.")
    ] = SUITE,
    events: Annotated[int, typer.Option(min=1000, max=50_000_000)] = 1_000_000,
    processes: Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")] = 1,
    shards: Annotated[int, typer.Option(min=1, max=8, help="ClickHouse shards.")] = 2,
    sink: Annotated[
        str, typer.Option(help="clickhouse, or null: rows are acknowledged and dropped.")
    ] = "clickhouse",
    rate: Annotated[
        int | None, typer.Option(min=100, max=1_000_000, help="Events a second: freshness.")
    ] = None,
    seconds: Annotated[
        int | None, typer.Option(min=1, max=3600, help="How long to keep the rate.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the events.")] = 1,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the results.")
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Profile the workers into FILE.N.pstats.")
    ] = None,
) -> None:
    """Run on a real stack of its own, check every window, and write the figures down.

    Works in HOME/bench, which it empties first; stops all it started. A run that is not exact
    has no speed: exit code 1.
    """
    from streams.bench import results
    from streams.bench.case import Suite, paced, single
    from streams.bench.run import run as measure
    from streams.errors import CommandError

    call = invocation(ctx)
    printer = call.printer()
    cases: list[Case]
    if workload == SUITE:
        cases = Suite(events=events, processes=processes, shards=shards, seed=seed).cases()
    else:
        case = single(workload, events, processes, shards, sink, seed)
        cases = [case if rate is None and seconds is None else paced(case, rate, seconds)]
    home = call.settings.home_path() / "bench"
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
    first: Annotated[Path, typer.Argument(help="A result of `dia bench run` (.json).")],
    second: Annotated[Path, typer.Argument(help="Another one; ratios are second to first.")],
) -> None:
    """Ratios of two results; of different machines only their shares of their own floors."""
    from streams.bench import results
    from streams.bench.comparison import compare as compare_reports

    printer = invocation(ctx).printer()
    rows = compare_reports(results.read(first), results.read(second))
    printer.rows(
        ("case", "figure", "first", "second", "ratio", "verdict"),
        [
            (row.case, row.figure, row.first, row.second, round(row.ratio, 3), _word(row.better))
            for row in rows
        ],
    )


def results_folder(home: Path) -> Path:
    """tests/bench/results in a clone of the repository, else beside the bench's home."""
    clone = Path(__file__).parents[2] / "tests" / "bench"
    return clone / "results" if clone.is_dir() else home.with_name("bench-results")


def _word(better: bool | None) -> str:
    return "equal" if better is None else "better" if better else "worse"
