"""One process of `dia` that listens, on a port that stays the same over restarts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.core.process import tether
from streams.dev.local.ports import free_ports

PATIENCE_S = 200.0
_LISTENING = re.compile(r"listening on (http://\S+?);?\s")


class WebProcess:
    """It ends with the test's process."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        """``words``: the command that takes ``--port``."""
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self._command = [sys.executable, "-m", "streams", *words, "--port", str(port)]
        self._environ = environ
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once it listens."""
        guard = [sys.executable, "-I", "-S", str(Path(tether.__file__).resolve()), str(os.getpid())]
        told = len(_LISTENING.findall(self._said()))
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                [*guard, *self._command], env=self._environ, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while len(_LISTENING.findall(self._said())) == told:
            assert self._child.poll() is None, self._said()
            assert time.monotonic() < deadline, self._said()
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        child, self._child = self._child, None
        if child is None:
            return 0
        child.send_signal(number)
        return child.wait(PATIENCE_S)

    def _said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""
