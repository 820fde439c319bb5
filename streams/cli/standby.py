"""A worker process kept ready: all is imported, and it waits to be told which worker it is.

Importing takes a worker 1.6 s of a free core, and three times that on a host whose other workers
read what the dead one left. A spare has that behind it: it becomes the next worker at once.

``python -m streams.cli.standby APP`` imports the app, MODULE:NAME, and reads one line, the arguments of
``python -m`` as a JSON array, and goes on as that; the end of its input ends it.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module

from streams import cli
from streams.core import kernels
from streams.core.errors import UsageError
from streams.engine.app.loading import load_app

NEEDED = ("streams.engine.host.host", "pydantic")
"""Modules that, with those of the command line, bring all of a worker's; typer reads arguments with
pydantic, which it imports late."""


def command_of(app: str) -> list[str]:
    """The arguments of ``python -m`` that start one for ``app``, MODULE:NAME."""
    return ["streams.cli.standby", app]


def main() -> None:
    # Ctrl-C reaches the whole process group; the parent decides what becomes of a spare.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in NEEDED:
        import_module(name)
    cli.build()
    # Beside the wait: a worker that is needed before has them loaded by then, or waits for them.
    threading.Thread(target=kernels.prepare, daemon=True).start()
    _import_app(sys.argv[1])
    line = sys.stdin.readline()
    if not line:
        return
    module, *arguments = json.loads(line)
    _close_input()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _import_app(app: str) -> None:
    """The app of the worker that it will be. One that cannot be imported is that worker's to
    report."""
    with suppress(UsageError):
        load_app(app)


def _close_input() -> None:
    """A worker reads nothing: as when it is started without a spare."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


if __name__ == "__main__":
    main()
