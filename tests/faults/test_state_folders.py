"""State folders that are deleted, damaged, locked, or on a full disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

DISK_BYTES = 6 << 20


def rot(path: Path, rng) -> None:
    """Overwrite parts of every file with random bytes."""
    for file in (file for file in path.rglob("*") if file.is_file() and file.stat().st_size):
        with file.open("r+b") as content:
            for _ in range(4):
                content.seek(rng.randrange(file.stat().st_size))
                content.write(rng.randbytes(32))


@pytest.mark.parametrize("harm", ["removed", "corrupted"])
async def test_a_harmed_state_folder_is_rebuilt_from_the_changelog(trial, report, harm):
    """The folder is a copy of the log's state; where they differ, the log applies."""
    first = trial.worker()
    await first.ready()
    trial.feed(100_000)
    await trial.until_read(30_000)
    first.kill()
    folder = first.state / "dia-group"
    if harm == "removed":
        shutil.rmtree(folder)
    else:
        rot(folder, trial.rng)
    second = trial.worker()
    await second.ready()
    await trial.recovered()
    report(await trial.exact(f"state folder {harm}"))


async def test_a_state_locked_by_a_stopped_process_is_left_to_it(trial, report):
    """Two processes on one host: the suspended one keeps its databases, the other creates new ones."""
    frozen = trial.worker(0)
    await frozen.ready()
    trial.feed(120_000)
    await trial.until_read(20_000)
    frozen.send(signal.SIGSTOP)
    successor = trial.worker(1)
    await successor.until(lambda told: told.ready and len(told.partitions) == 4)
    frozen.send(signal.SIGCONT)
    await trial.recovered()
    report(await trial.exact("state locked by a stopped process"))


async def test_a_full_disk_holds_partitions_back_until_there_is_room(trial, report):
    """No state can be written: nothing may be lost, and no operator should have to restart a
    worker. One partition gets enough events to make its store flush."""
    disk = trial.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or _run(mount) != 0:
        pytest.skip("a small file system can be mounted by root alone")
    try:
        trial.feed(1_100_000, rate_per_s=40_000, hot=0.9, step_ms=0.15)
        worker = trial.worker(state="disk", state_free_min_bytes=0)
        await worker.ready()
        await worker.until(lambda _: worker.said("No space left") > 0)
        await asyncio.sleep(3.0)
        assert _run(["mount", "-o", "remount,size=1g", str(disk)]) == 0
        await trial.recovered()
        report(await trial.exact("state folder on a full disk"))
        assert worker.exit_code is None, worker.tail()
    finally:
        for started in trial.workers:
            started.end()
        assert _run(["umount", "--lazy", str(disk)]) == 0


def _run(command: list[str]) -> int:
    return subprocess.run(command, capture_output=True, check=False).returncode
