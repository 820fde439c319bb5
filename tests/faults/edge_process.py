"""One process of `dia edge serve`, with a home of its own, that a test kills and restarts."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from streams.connect.access.tokens import Role, TokenFile
from streams.core.clock import SystemClock
from streams.core.process import tether
from streams.dev.local.ports import free_ports

PATIENCE_S = 200.0
_LISTENING = re.compile(r"listening on (http://\S+);")


class EdgeUnderTest:
    """Its port stays the same over restarts. It ends with the test's process."""

    def __init__(self, home: Path, environ: Mapping[str, str]) -> None:
        self.home = home
        (self._port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}"
        self._environ = {**environ, "DIA_HOME": str(home), "DIA_EDGE_REQUESTS": "1000000"}
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / "edge.log"
        _, self.token = TokenFile.of(home).create(
            tenant=None, role=Role.ADMIN, now_ms=SystemClock().now_ms()
        )
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once it listens."""
        guard = [sys.executable, "-I", "-S", str(Path(tether.__file__).resolve()), str(os.getpid())]
        command = [sys.executable, "-m", "streams", "edge", "serve", "--port", str(self._port)]
        told = len(_LISTENING.findall(self._said()))
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                [*guard, *command], env=self._environ, stdin=subprocess.DEVNULL,
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

    async def direct(self) -> None:
        """Wait until every event posted so far is in the log."""
        async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient(base_url=self.url) as client:
            while not await _is_direct(client):  # noqa: ASYNC110 - another process notifies no waiter
                await asyncio.sleep(0.1)

    def _end(self, number: signal.Signals) -> int:
        child, self._child = self._child, None
        if child is None:
            return 0
        child.send_signal(number)
        return child.wait(PATIENCE_S)

    def _said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


async def _is_direct(client: httpx.AsyncClient) -> bool:
    return all((await client.get("/healthz")).json()["direct"].values())
