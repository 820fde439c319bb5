"""`dia doctor`: what is wrong here, and the next command for each of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import typer

from streams.cli.finding import Finding, Level
from streams.cli.invocation import invocation
from streams.errors import DependencyUnreachable, DiaError


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(ctx: typer.Context) -> None:
    """Examine this machine, the settings, and every address in them.

    Exit 4 when an address does not answer, 1 when this machine cannot run dia, else 0.
    """
    from streams.cli import machine, reach

    run = invocation(ctx)
    findings = [*machine.examine(run.settings), *asyncio.run(reach.examine(run.settings))]
    run.printer().rows(
        ["check", "level", "detail", "next"],
        [[found.check, found.level.value, found.detail, found.mend] for found in findings],
    )
    conclude(findings)


def conclude(findings: Sequence[Finding]) -> None:
    """Raise what the worst finding asks for; return when there is nothing to raise."""
    unreachable = [found.check for found in findings if found.level is Level.UNREACHABLE]
    if unreachable:
        raise DependencyUnreachable(
            f"{', '.join(unreachable)} not reachable. The next command stands beside each."
        )
    failed = [found.check for found in findings if found.level is Level.FAILURE]
    if failed:
        raise DiaError(
            f"dia cannot run here: {', '.join(failed)}. The next command stands beside each."
        )
