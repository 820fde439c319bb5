"""The `dia` command: one file per command group, composed here.

A group is a module with ``register(app: typer.Typer) -> None``. Modules import at their top only
what ``--help`` needs. Data goes to stdout, progress and errors to stderr. Exit codes: 0 ok, 1
failure, 2 usage, 3 partial, 4 dependency unreachable, 5 refused by a safety check, 6 not found where
it looked, 130 interrupted, 141 the reader of stdout closed it."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Annotated, Any, ClassVar, Final

import typer

from streams.cli.command_group import CommandGroup
from streams.cli.invocation import Invocation, accept_everywhere, forbid_color
from streams.cli.operating import log_operations
from streams.cli.terminal.output import Printer, show_error
from streams.cli.terminal.output_form import OutputForm
from streams.core.errors import DependencyUnreachable, DiaError, UsageError

__all__ = ["GROUPS", "build", "command", "command_of", "main", "run"]

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "produce": ("produce",),
    "demo": ("demo",),
    "bench": ("bench",),
    "stack": ("up", "down", "status"),
    "context": ("context",),
    "query": ("query",),
    "trace": ("trace",),
    "topics": ("topics",),
    "migrate": ("migrate",),
    "upgrade": ("upgrade",),
    "canary": ("canary",),
    "schemas": ("schemas",),
    "events": ("events",),
    "worker": ("worker",),
    "app_commands": ("run",),
    "simulate": ("simulate",),
    "init": ("init",),
    "edge": ("edge",),
    "console": ("console",),
    "tokens": ("token",),
    "operations": ("operations",),
    "tables.tables": ("tables",),
    "dead_letters.dlq": ("dlq",),
    "cache": ("cache",),
    "policy": ("policy",),
    "replay.replay": ("replay",),
    "shed": ("shed",),
    "audit": ("audit",),
    "rebuild": ("rebuild",),
    "config": ("config",),
    "shards": ("shards",),
    "backup": ("backup",),
    "region": ("region",),
    "drill": ("drill",),
    "capacity": ("capacity",),
    "loadtest": ("loadtest",),
    "doctor.doctor": ("doctor",),
    "explain": ("explain",),
}
"""Modules, and the names of the commands that each registers."""


class _Root(CommandGroup):
    tasks: ClassVar = {
        "Begin": ("demo", "up", "down", "init", "doctor"),
        "Send and read": ("events", "produce", "query", "edge", "console"),
        "Run": (
            "worker",
            "run",
            "topics",
            "migrate",
            "upgrade",
            "canary",
            "shards",
            "schemas",
            "config",
            "context",
            "token",
        ),
        "Watch": ("status", "trace", "audit", "operations", "capacity", "explain"),
        "Repair": (
            "dlq",
            "replay",
            "shed",
            "rebuild",
            "tables",
            "backup",
            "region",
            "cache",
            "policy",
        ),
        "Prove": ("simulate", "drill", "bench", "loadtest"),
    }


_WITH_A_VALUE: Final = frozenset({"--home", "--app", "-A", "--output", "-o"})
_VALUES: Final = tuple(f"{option}=" for option in _WITH_A_VALUE if option.startswith("--"))
_FLAGS: Final = frozenset({"--json", "--quiet", "-q", "--no-color"})
"""Options of the root that may stand before a command. Any other makes all groups be built, as for ``--help``."""
EXIT_FAILURE = 1
EXIT_UNREACHABLE = 4
EXIT_READER_LEFT = 141
"""as a shell shows SIGPIPE"""
_OF_A_FILE = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
"""Errors of a user's file or folder; others are faults of dia."""
_SURROGATES = re.compile("[\ud800-\udfff]")


def _version(asked: bool) -> None:
    from streams.core.process.version import app_version

    if asked:
        print(f"dia {app_version()}")
        raise typer.Exit


def _root(
    ctx: typer.Context,
    *,
    home: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of the local stack and of state.")
    ] = None,
    app: Annotated[
        str | None,
        typer.Option(
            "--app",
            "-A",
            metavar="MODULE:NAME",
            help="The app; default: DIA_APP, pyproject.toml, the built-in one.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Which dia this is.")
    ] = False,
    form: Annotated[
        OutputForm | None,
        typer.Option("-o", "--output", help="Form of the data; wide: every column, a row a line."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as -o json: JSON Lines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only data and errors.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours (or NO_COLOR).")] = False,
) -> None:
    """Exactly-once stream pipeline: Kafka topics, batch agents, ClickHouse shards."""
    from streams.core.telemetry.logs import keep_off_stdout

    del version  # its callback has ended the run
    keep_off_stdout(os.environ.get("DIA_LOG_LEVEL") or "warning")
    chosen = OutputForm.JSON if json else form or OutputForm.TABLE
    ctx.obj = Invocation(home=home, app_name=app, form=chosen, quiet=quiet)
    if no_color:
        forbid_color()


def build(groups: Iterable[str] = GROUPS) -> typer.Typer:
    app = typer.Typer(
        name="dia",
        cls=_Root,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # its import costs twice the rest of `dia --help`
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in groups:
        import_module(f"{__name__}.{name}").register(app)
    return app


@cache
def command() -> Any:
    """Built once for all commands that a process runs, because it takes 0.1 s of CPU."""
    return _built(GROUPS)


def command_of(argv: Sequence[str]) -> Any:
    """The `dia` of a process that runs only ``argv``: with the group of its command alone, because to import and build
    all of them takes 0.25 s of CPU. With all groups where the arguments lead to no command, such as ``--help``."""
    words = iter(argv)
    for word in words:
        if word in _WITH_A_VALUE:
            next(words, None)
        elif word not in _FLAGS and not word.startswith(_VALUES):
            found = [module for module, names in GROUPS.items() if word in names]
            return _built(found) if found else command()
    return command()


def _built(groups: Iterable[str]) -> Any:
    return log_operations(accept_everywhere(typer.main.get_command(build(groups))))


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; raises nothing."""
    return run(command(), argv)


def run(command: Any, argv: Sequence[str] | None = None) -> int:
    """``argv`` None takes the process's arguments."""
    try:
        command.main(args=argv, prog_name="dia")
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            return EXIT_READER_LEFT
        return stop.code if isinstance(stop.code, int) else EXIT_FAILURE if stop.code else 0
    except DiaError as error:
        if error.exit_code == EXIT_UNREACHABLE:
            _name_context(error, sys.argv[1:] if argv is None else argv)
        show_error(error)
        return error.exit_code
    except OSError as error:
        return _unusable(error) if error.errno in _OF_A_FILE else _unexpected(error)
    except Exception as error:  # noqa: BLE001 - the last line of defence: one sentence, no traceback
        return _unforeseen(error, sys.argv[1:] if argv is None else argv)
    return 0


def _name_context(error: DiaError, argv: Sequence[str]) -> None:
    """Say in which context something is unreachable, and where a stack runs instead."""
    if os.environ.get("DIA_HOME") or any(one.partition("=")[0] == "--home" for one in argv):
        return
    from streams.core.settings.contexts import chosen_context, elsewhere

    try:
        chosen = chosen_context()
        error.add_note(f"context {chosen.name}, {chosen.home}.{elsewhere(chosen.home)}")
    except UsageError:
        return


def _is_left_out(error: Exception) -> bool:
    """A worker's image and the published wheel have no generator, bench, demo or simulation."""
    return isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("streams.dev.")


def _left_out(error: Exception) -> int:
    module = getattr(error, "name", "")
    refused = UsageError(
        f"{module} is not part of a worker's image, nor of the published package. Run this command from a checkout of dia."
    )
    show_error(refused)
    return refused.exit_code


def _unforeseen(error: Exception, argv: Sequence[str]) -> int:
    if isinstance(error, UnicodeEncodeError):
        return _untextual(error, argv)
    return _left_out(error) if _is_left_out(error) else _unexpected(error)


def _untextual(error: UnicodeEncodeError, argv: Sequence[str]) -> int:
    """Python reads bytes of an argument that are no text in its encoding as lone surrogates."""
    for number, given in enumerate(argv, 1):
        if not _SURROGATES.search(given):
            continue
        refused = UsageError(
            f"argument {number}, {given!a}, has bytes that are no text in the encoding "
            f"{sys.getfilesystemencoding()}. Write it in UTF-8, with LC_ALL=C.UTF-8."
        )
        show_error(refused)
        return refused.exit_code
    return _unexpected(error)


def _unusable(error: OSError) -> int:
    refused = DependencyUnreachable(
        f"{error.filename} cannot be used: {error.strerror}. Correct that, or name another folder "
        "with --home or DIA_HOME."
        if error.filename
        else f"the output, or a file, cannot be written: {error.strerror}. What was written is not "
        "whole: correct that, and run the command again."
    )
    show_error(refused)
    return refused.exit_code


def _unexpected(error: Exception) -> int:
    """One sentence; the traceback on request only."""
    printer = Printer()
    if os.environ.get("DIA_LOG_LEVEL", "").lower() == "debug":
        traceback.print_exception(error, file=sys.stderr)
    printer.warn(
        f"error: unexpected {type(error).__name__}: {error}\n"
        "Run the same command with DIA_LOG_LEVEL=debug to see where it happened."
    )
    return EXIT_FAILURE
