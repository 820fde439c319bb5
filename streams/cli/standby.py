"""A standby worker process: all modules are imported, and it waits for its arguments.

Importing takes 1.6 s of a free core, and three times that beside busy workers. ``python -m
streams.cli.standby APP`` imports the app, MODULE:NAME, reads one line, the arguments of ``python
-m`` as a JSON array, and continues as that command; end of input ends it."""

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
"""With the command line, they import all of a worker's modules; typer imports pydantic late."""


def command_of(app: str) -> list[str]:
    """The arguments of ``python -m``; ``app`` is MODULE:NAME."""
    return ["streams.cli.standby", app]


def main() -> None:
    # Ctrl-C reaches the whole process group; the parent decides when a standby ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in NEEDED:
        import_module(name)
    cli.command()
    # In parallel: a worker that needs them earlier waits for them.
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
    """The worker itself reports an import error."""
    with suppress(UsageError):
        load_app(app)


def _close_input() -> None:
    """A worker reads no input, as when started without a standby."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


if __name__ == "__main__":
    main()
