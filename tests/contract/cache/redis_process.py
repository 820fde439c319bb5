"""A Redis server that a test can kill, pause and restart; each start is empty."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from streams.dev.local import wheels
from streams.dev.local.ports import LOOPBACK, free_ports
from streams.dev.local.probes import redis_serves

_PATIENCE_S = 200.0


class RedisProcess:
    """One Redis server process on one port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once the server accepts connections."""
        argv = [str(wheels.locate().redis_server), "--port", str(self.port), "--bind", LOOPBACK]
        argv += ["--save", "", "--dir", str(self._folder), "--logfile", "redis.log"]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _PATIENCE_S
        while not redis_serves(self.port):
            assert time.monotonic() < deadline, "redis-server does not accept connections"
            assert self._process.poll() is None, "redis ended"
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill the server; its data is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop the process with its connections open: it answers no request."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)
