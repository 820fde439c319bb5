"""``--watch``: its options, and the repetition of what a command shows."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from streams.core.errors import DiaError, UsageError

EVERY_S: Final = 2

_OPTIONS: Final = ("watch", "every")
_HOME_AND_CLEAR: Final = "\x1b[H\x1b[2J"


def is_watchable(command: Any) -> bool:
    return getattr(command, "watchable", False)


def watch_options() -> list[Any]:
    """Parameters of a command; they set `Invocation.watch_s`."""
    template = typer.Typer(rich_markup_mode=None)
    template.command()(_template)
    return [one for one in typer.main.get_command(template).params if one.name in _OPTIONS]


def _template(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Repeat it until you interrupt.")
    ] = False,
    every: Annotated[
        str, typer.Option(metavar="SPAN", help="Time between two outputs; implies --watch.")
    ] = "",
) -> None:
    raise AssertionError("only its options are used")


def repeat(
    show: Callable[[], None],
    every_s: float,
    title: str,
    pause: Callable[[float], None] | None = None,
) -> None:
    """Until the user interrupts it. On a terminal each output replaces the last one.

    An outage is shown and waited out, as is every error but a wrong usage, which raises `UsageError`."""
    from streams.cli.terminal.output import show_error

    try:
        while True:
            failed = None
            output, terminal = _Page(sys.stdout), sys.stdout
            sys.stdout = output
            try:
                show()
            except UsageError:
                raise
            except DiaError as error:
                failed = error
            finally:
                sys.stdout = terminal
            if terminal.isatty():
                at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                terminal.write(f"{_HOME_AND_CLEAR}{title}, {at}. ^C ends it.\n\n")
            terminal.write(output.getvalue())
            terminal.flush()
            if failed is not None:
                show_error(failed)
            (pause or time.sleep)(every_s)
    except KeyboardInterrupt:
        return


class _Page(io.StringIO):
    """Holds the output of one round, so that the screen changes at once."""

    def __init__(self, terminal: Any) -> None:
        super().__init__()
        self._terminal = terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]  # that of the terminal
        return str(self._terminal.encoding)

    def isatty(self) -> bool:
        return bool(self._terminal.isatty())

    def fileno(self) -> int:
        return int(self._terminal.fileno())
