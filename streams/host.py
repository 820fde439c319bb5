"""Running an `App` as this process: Faust's worker, our logs, an end that waits for nobody."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import NoReturn

import faust

from streams.app import App
from streams.errors import WorkerStopped

_ABORTED = 130
_CRASHED = 1
_GOODBYE_S = 2.0
"""How long Faust's own clients may take to leave once ours are gone."""


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
        app.on_drained = self._leave_soon

    def _setup_logging(self) -> None:
        """Logs are configured already (streams.telemetry.logs)."""

    def _schedule_shutdown(self, signal: signal.Signals) -> None:
        if self._signal_stop_time is not None:
            os._exit(_ABORTED)
        super()._schedule_shutdown(signal)

    def _leave_soon(self) -> None:
        """Do not wait for Faust's goodbyes: its consumer joins a group of its own, which after
        somebody else's crash answers only when that one's session, a minute, has run out."""
        timer = threading.Timer(_GOODBYE_S, self._leave)
        timer.daemon = True
        timer.start()

    def _leave(self) -> None:
        reason = self.crash_reason
        _exit(0 if reason is None else getattr(reason, "exit_code", _CRASHED))


def run(app: App) -> NoReturn:
    """Run until a signal, then end the process with Faust's exit code. Raises `SlotInUse`."""
    app.take_slot()
    code: str | int | None = 0
    try:
        Host(app).execute_from_commandline()
    except SystemExit as end:
        code = end.code
    except WorkerStopped as error:
        sys.stderr.write(f"error: {error} [{error.code}]\n")
        code = error.exit_code
    # Not sys.exit: it would wait for sink threads, which may hang on a dead server for as long
    # as their timeout. All that matters is committed, and closed, by now.
    _exit(code if isinstance(code, int) else _CRASHED)


def _exit(code: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
