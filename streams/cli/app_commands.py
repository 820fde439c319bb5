"""`dia run`: the commands that an app declares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.invocation import invocation
from streams.core.errors import UsageError
from streams.core.words.near_names import did_you_mean

if TYPE_CHECKING:
    from streams.core.settings import Settings
    from streams.engine.app.app import App
    from streams.engine.app.app_command import AppCommand


def register(app: typer.Typer) -> None:
    app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
        run
    )


def run(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Of the command; without one, they are listed.")] = "",
) -> None:
    """Run a command of the app: @app.command. Its own arguments follow its name.

    Example: dia -A acme_orders:app run produce --count 10
    """
    asked = invocation(ctx)
    commands = {one.name: one for one in asked.app.commands}
    if not name:
        rows = [(one.name, _first_line(one)) for one in commands.values()]
        asked.printer().rows(["command", "what"], rows)
        return
    if name not in commands:
        raise UsageError(
            f"app {asked.app.name} has no command {name!r}. It has: "
            f"{', '.join(commands) or 'none; declare one with @app.command()'}."
            f"{did_you_mean(name, commands)}"
        )
    inner = typer.Typer(add_completion=False, rich_markup_mode=None)
    inner.command(name)(_program(commands[name], asked.app, asked.settings))
    typer.main.get_command(inner).main(
        args=list(ctx.args), prog_name=f"dia run {name}", standalone_mode=False
    )


def _first_line(command: AppCommand) -> str:
    return (command.run.__doc__ or "").strip().partition("\n")[0]


def _program(command: AppCommand, app: App, settings: Settings) -> Callable[..., None]:
    """As a function that Typer can parse and call."""
    from streams.engine.app.app_command import CommandVoice

    first = (CommandVoice(app, typer.echo),) if command.takes_self else ()

    @wraps(command.run)
    def call(**given: Any) -> None:
        asyncio.run(_sending(settings, partial(command.run, *first, **given)))

    call.__signature__ = command.signature  # type: ignore[attr-defined]  # what inspect reads
    return call


async def _sending(settings: Settings, program: Callable[[], Awaitable[None]]) -> None:
    """Deliver everything at the end."""
    from streams.connect.broker.kafka.broker import KafkaBroker
    from streams.core.clock import SystemClock
    from streams.engine.runtime.background import Background

    background = Background(KafkaBroker.from_settings(settings), SystemClock(), ())
    async with background.open():
        await program()
