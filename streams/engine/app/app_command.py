"""`@app.command`: a program of an app, run by ``dia run NAME``; the API is Faust's.

    @app.command()
    async def produce(self, count: int = 10) -> None:
        "Send some orders."
        for number in range(count):
            await orders.send(value=Order(account=f"a{number}"))
        self.say(f"sent {count}")

Typer makes arguments and options of its signature. The broker acknowledges its sends before the
command ends; they are part of no transaction. Commands have no tables.
"""

from __future__ import annotations

import inspect
import os
import runpy
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from streams.core.errors import UnsupportedByDia, UsageError

Program = Callable[..., Awaitable[None]]


class AppCommand(NamedTuple):
    """``run`` is a coroutine function; its first parameter may be ``self``."""

    name: str
    run: Program

    @property
    def signature(self) -> inspect.Signature:
        """The parameters of the command line: all but ``self``."""
        found = inspect.signature(self.run)
        given = [one for one in found.parameters.values() if one.name != "self"]
        return found.replace(parameters=given)

    @property
    def takes_self(self) -> bool:
        return "self" in inspect.signature(self.run).parameters


class CommandVoice:
    """The ``self`` of a command."""

    def __init__(self, app: Any, say: Callable[[str], None]) -> None:
        self.app = app
        self._say = say

    def say(self, message: object) -> None:
        self._say(str(message))


class CommandDeclarations:
    _commands: tuple[AppCommand, ...] = ()

    @property
    def commands(self) -> tuple[AppCommand, ...]:
        return self._commands

    def command(self, *options: Any, name: str | None = None, **faust: Any) -> Any:
        """Declare the decorated coroutine function as a command. ``name``: default the function's,
        with - for _. Raises `UsageError` for a name that is taken, and `UnsupportedByDia` for
        options of click."""
        if options or faust:
            raise UnsupportedByDia(
                "@app.command takes no options of click: declare them as parameters of the function, "
                "`count: int = 10` for --count."
            )

        def register(run: Program) -> Program:
            called = name or getattr(run, "__name__", "").replace("_", "-")
            if not inspect.iscoroutinefunction(run):
                raise UsageError(f"command {called} is no `async def`.")
            if any(one.name == called for one in self._commands):
                raise UsageError(f"the app declares two commands named {called}.")
            self._commands = (*self._commands, AppCommand(called, run))
            return run

        return register

    def main(self) -> NoReturn:
        """Run `dia` with this app and the arguments of the process: ``python acme_orders.py
        worker``. Raises `UsageError` if the running module has no name for the app."""
        os.environ["DIA_APP"] = _name_of(self)
        runpy.run_module("streams", run_name="__main__")
        raise AssertionError("dia ends the process")


def _name_of(app: object) -> str:
    """MODULE:NAME of an app in the running module, which child processes can import too."""
    module = sys.modules["__main__"]
    names = [name for name, value in vars(module).items() if value is app]
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None) or ""
    if not names or (spec is None and not file):
        raise UsageError(
            "app.main() must run in the module that defines the app: write `if __name__ == "
            "'__main__': app.main()` there, or use dia --app MODULE:NAME."
        )
    if spec is not None:
        return f"{spec.name}:{names[0]}"
    folder = str(Path(file).resolve().parent)
    paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    return f"{Path(file).stem}:{names[0]}"
