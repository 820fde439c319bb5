"""`dia context`: which local stack commands use."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.invocation import invocation

_Name = Annotated[str, typer.Argument(metavar="NAME", help="default, demo, or a folder.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Which local stack commands use without --home.", no_args_is_help=True)
    group.command("list")(list_contexts)
    group.command()(use)
    app.add_typer(group, name="context")


def list_contexts(ctx: typer.Context) -> None:
    """List known contexts; the chosen one has a star.

    Example: dia context list
    """
    from streams.core.settings.contexts import chosen_context, known_contexts

    chosen = chosen_context()
    rows = [
        ("*" if one == chosen else "", one.name, "running" if one.running else "stopped", one.home)
        for one in known_contexts()
    ]
    invocation(ctx).printer().rows(["", "context", "stack", "home"], rows)


def use(ctx: typer.Context, name: _Name) -> None:
    """Use another stack from now on. --home and DIA_HOME take precedence.

    Example: dia context use demo
    """
    from streams.core.settings.contexts import use_context

    found = use_context(name)
    state = "its stack runs" if found.running else "no stack runs there"
    invocation(ctx).printer().say(f"context {found.name}: {found.home}, {state}")
