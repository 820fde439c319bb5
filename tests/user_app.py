"""An app in its own folder: `dia` as its user runs it, and workers that a test may kill."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from streams.dev.local.preparation import environment

PATIENCE_S = 120.0


class UserApp:
    """``app`` is the value of DIA_APP; its module is in ``site``."""

    def __init__(
        self, stack, folder: Path, app: str, site: Path, settings: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.environ = {
            **environment(stack.home, stack.settings()),
            "PYTHONPATH": str(site),
            "DIA_APP": app,
            "DIA_STATE_DIR": str(folder / "state"),
            "DIA_COMMIT_INTERVAL_S": "0.1",
            "DIA_SESSION_TIMEOUT_S": "6",
            "DIA_COMMIT_TIMEOUT_S": "5",
            **settings,
        }
        self.workers: subprocess.Popen[bytes] | None = None

    def dia(self, *words: str, code: int = 0, timeout_s: float = 120) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "streams", *words], env=self.environ, cwd=self.folder,
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        with (self.folder / "workers.log").open("ab") as log:
            self.workers = subprocess.Popen(
                [sys.executable, "-m", "streams", "worker", "--processes", "2"],
                env=self.environ, cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip

    def kill_one(self, rng: random.Random) -> None:
        """kill -9 of a worker process, once there is one; its supervisor starts another."""
        assert self.workers is not None
        children = Path(f"/proc/{self.workers.pid}/task/{self.workers.pid}/children")
        deadline_s = time.monotonic() + PATIENCE_S
        while not (found := children.read_text().split()):
            assert self.workers.poll() is None, "the supervisor ended"
            assert time.monotonic() < deadline_s, "no worker was started"
            time.sleep(0.05)
        os.kill(int(rng.choice(found)), signal.SIGKILL)

    def stop(self) -> None:
        if self.workers is not None:
            self.workers.terminate()
            assert self.workers.wait(60) == 0
            self.workers = None

    def settle(self) -> None:
        """Wait until every record is read and every row acknowledged; fails after `PATIENCE_S`."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            done = subprocess.run(
                [sys.executable, "-m", "streams", "status", "--json"], env=self.environ,
                cwd=self.folder, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            if done.returncode == 0 and json.loads(done.stdout)["settled"]:
                return
            time.sleep(1)
        raise AssertionError(f"the app did not settle: {done.stdout}{done.stderr}")

    def letters(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.dia("dlq", "list", "--json").splitlines()]

    def end(self) -> None:
        """Kill the processes that still run."""
        if self.workers is not None:
            self.workers.kill()
            self.workers.wait(30)
