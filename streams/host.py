"""Running an `App` as this process: Faust's worker, our logs, a second signal that aborts."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import NoReturn

import faust

from streams.app import App

_ABORTED = 130


class Host(faust.Worker):  # type: ignore[misc]  # follow_imports=skip: faust's types do not check
    """Faust's worker without its log set-up and spinner.

    The first SIGTERM or SIGINT drains; a second one ends the process at once, committing
    nothing: whoever comes next goes on from the last commit.
    """

    def __init__(self, app: App) -> None:
        super().__init__(
            app, quiet=True, redirect_stdouts=False, override_logging=False, daemon=True
        )
        self.spinner = None

    def _setup_logging(self) -> None:
        """Logs are configured already (streams.telemetry.logs)."""

    def _schedule_shutdown(self, signal: signal.Signals) -> None:
        if self._signal_stop_time is not None:
            os._exit(_ABORTED)
        super()._schedule_shutdown(signal)


def run(app: App) -> NoReturn:
    """Run until a signal, then end the process with Faust's exit code. Raises `SlotInUse`."""
    app.take_slot()
    code: str | int | None = 0
    try:
        Host(app).execute_from_commandline()
    except SystemExit as end:
        code = end.code
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: it would wait for sink threads, which may hang on a dead server for as long
    # as their timeout. All that matters is committed, and closed, by now.
    os._exit(code if isinstance(code, int) else 1)
