"""Two processes compete for one lock on a real Redis; one holder is paused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.contract.locks.racing_process import TTL_S

pytestmark = pytest.mark.stack
ROUNDS = 6
PAUSES = 2
PATIENCE_S = 200.0


def _racer(url: str, name: str, path: Path) -> subprocess.Popen[bytes]:
    module = "tests.contract.locks.racing_process"
    return subprocess.Popen([sys.executable, "-m", module, url, name, str(path), str(ROUNDS)])


def _entries(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _last_entry_is_from_a_holder(path: Path, pid: int) -> bool:
    """The process holds the lock, and its rival is there to compete for it."""
    entries = _entries(path)
    both = len({entry["pid"] for entry in entries}) == 2
    return both and entries[-1]["pid"] == pid and entries[-1]["what"] == "enter"


def test_two_processes_never_overlap_even_when_a_holder_is_paused(redis_server, tmp_path):
    """A pause longer than the lease passes the lock on; the target refuses the paused holder's
    later writes."""
    path = tmp_path / "written.jsonl"
    racers = [_racer(redis_server.url, "contested", path) for _ in range(2)]
    victim = racers[0].pid
    deadline = time.monotonic() + PATIENCE_S
    paused = 0
    while any(racer.poll() is None for racer in racers):
        assert time.monotonic() < deadline, "the racing processes do not finish their rounds"
        if (
            paused < PAUSES
            and racers[0].poll() is None
            and _last_entry_is_from_a_holder(path, victim)
        ):
            os.kill(victim, signal.SIGSTOP)
            inside = _last_entry_is_from_a_holder(path, victim)
            time.sleep(2 * TTL_S if inside else 0)
            os.kill(victim, signal.SIGCONT)
            paused += inside
        time.sleep(0.001)
    assert [racer.returncode for racer in racers] == [0, 0]

    entries = _entries(path)
    accepted = [entry for entry in entries if entry["what"] != "refused"]
    fences = [entry["fence"] for entry in accepted]
    assert fences == sorted(fences)
    owners = {entry["fence"]: entry["pid"] for entry in accepted}
    assert all(owners[entry["fence"]] == entry["pid"] for entry in accepted)
    assert sum(entry["what"] == "enter" for entry in accepted) >= 2 * ROUNDS - PAUSES
    late = [entry for entry in entries if entry["what"] == "refused"]
    assert all(entry["late"] < entry["fence"] for entry in late)
    assert paused
    assert late, "a paused holder woke up after its lease and was not refused"
