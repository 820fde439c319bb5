"""A `dia` command as a child process, with its log in a file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from streams.core.errors import CommandError
from streams.core.process import tether

DIA = (sys.executable, "-m", "streams")
STOP_WAIT_S = 40.0
"""above a worker's drain deadline and its parent's slack"""


class CommandProcess:
    """Dies with this process. ``name`` is for messages."""

    def __init__(
        self, name: str, command: Sequence[str], *, environ: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        guard = [sys.executable, "-I", "-S", str(Path(tether.__file__).resolve())]
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [*guard, str(os.getpid()), *command],
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C reaches the parent only, which stops its children in order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def ended(self) -> bool:
        return self._child.poll() is not None

    @property
    def failed(self) -> bool:
        """It has ended by itself, with an error."""
        return self._child.poll() not in (None, 0)

    def check(self) -> None:
        """Raises `CommandError` when it has ended by itself."""
        code = self._child.poll()
        if code is not None:
            raise CommandError(f"the {self.name} ended with exit code {code}. Its log: {self.log}.")

    def stop(self) -> None:
        """Drain and end; kill it after `STOP_WAIT_S`."""
        if self._child.poll() is not None:
            return
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """kill -9."""
        self._child.kill()
        self._child.wait()


WAIT_S = 60.0
_LISTENING = re.compile(r"listening on (https?://\S+);")


def address_of(
    server: CommandProcess, stopped: Callable[[], bool] = lambda: False, *, wait_s: float = WAIT_S
) -> str:
    """ "" when ``stopped``. Raises `CommandError` when it ends or takes too long."""
    deadline = time.monotonic() + wait_s
    while not stopped():
        if found := _LISTENING.search(server.log.read_text()):
            return found[1]
        server.check()
        if time.monotonic() >= deadline:
            raise CommandError(f"the {server.name} does not listen. Its log: {server.log}.")
        time.sleep(0.05)
    return ""
