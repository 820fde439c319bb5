"""`dia simulate`: runs an app on a simulated cluster, with and without faults, a seed at a time."""

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
    """Run the app under crashes, zombies, rebalances and failing brokers, shards and disks; the
    results must equal those without faults. Needs no service.

    Records are generated from the topics' types. Exit code 1 when a run differs, with the command
    that repeats it. Windows by append time in a topic that agents write are not compared: give the
    topic a time_field.

    Example: dia -A acme.orders:app simulate --seeds 300"""
    from streams.dev.simulation.seeds import outcomes

    invocation: Invocation = ctx.obj
    invocation.app.check()
    name = invocation.app_meant
    differing = 0
    left_out: set[str] = set()
    for seed, why, windows in outcomes(
        name, range(first, first + seeds), jobs or os.cpu_count() or 1
    ):
        left_out |= windows
        if why:
            differing += 1
            typer.echo(f"seed {seed}: {why}")
            typer.echo(f"  again: dia -A {name} simulate --first {seed} --seeds 1")
    if left_out:
        typer.echo(
            f"not compared, windows by append time in a topic that agents write: "
            f"{', '.join(sorted(left_out))}"
        )
    if differing:
        typer.echo(f"{seeds} histories, {differing} differ")
        raise typer.Exit(1)
    typer.echo(f"{seeds} histories, all exact")
