"""`dia config`: the settings in force, and the origin of each."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation


def register(app: typer.Typer) -> None:
    group = command_group("Show the settings in force.")
    group.callback()(_config)
    group.command()(show)
    app.add_typer(group, name="config")


def _config() -> None:
    """A callback keeps ``config`` a group although it has one command."""


def show(
    ctx: typer.Context,
    *,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add where each value comes from and what it is for.")
    ] = False,
) -> None:
    """Every setting, its value in force and its environment variable; secrets are masked.

    Order of precedence: command line, environment, running local stack, default.

    Example: dia config show --explain
    """
    run = invocation(ctx)
    columns = ["variable", "value"] + (["source", "meaning"] if explain else [])
    rows = [
        [row.variable, row.value] + ([row.source, row.doc] if explain else [])
        for row in run.provenance
    ]
    run.printer().rows(columns, rows, ("source",))
