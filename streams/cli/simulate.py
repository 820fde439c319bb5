"""`dia simulate`: an app on a simulated cluster, with and without faults, a seed at a time."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from streams.cli.invocation import Invocation


def register(app: typer.Typer) -> None:
    app.command("simulate")(simulate)


def simulate(
    ctx: typer.Context,
    *,
    seeds: Annotated[int, typer.Option(min=1, max=1_000_000, help="Histories to run.")] = 100,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes; default: one a processor.")
    ] = None,
) -> None:
    """Run the app under crashes, zombies, rebalances and failing brokers, shards and disks; what comes
    out must be what comes out without. Needs no service.

    Records are made up from the topics' types. Exit code 1 when a history differs; it is named with
    the command that runs it again.

    Example: dia -A acme.orders:app simulate --seeds 300
    """
    from streams.dev.simulation.app_seeds import failures

    invocation: Invocation = ctx.obj
    invocation.app.check()
    name = invocation.app_meant
    found = []
    for seed, why in failures(name, range(first, first + seeds), jobs or os.cpu_count() or 1):
        found.append(seed)
        typer.echo(f"seed {seed}: {why}")
        typer.echo(f"  again: dia -A {name} simulate --first {seed} --seeds 1")
    if found:
        typer.echo(f"{seeds} histories, {len(found)} differ")
        raise typer.Exit(1)
    typer.echo(f"{seeds} histories, all exact")
