"""`dia init`: a new project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("init")(init)


def init(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Of the project, its package and its app.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where; default: a folder of that name here.")
    ] = None,
) -> None:
    """Write a new project: an app, its test, an image, values for the chart.

    Example: dia init acme && cd acme && pytest
    """
    from streams.cli.new_project import write_project

    for path in write_project(name, Path(name) if folder is None else folder):
        typer.echo(path)
