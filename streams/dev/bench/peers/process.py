"""Runs one peer as a child and reads its rate and counts.

Time runs from its first record to its last, without start-up, join and the final commit. At
``limit_s`` the peer is stopped with its rate so far, which favours peers that slow down as state
grows."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from streams.core.process import tether
from streams.dev.bench.peers.affinity import born_on
from streams.dev.bench.processes import CpuReading, WatchedProcesses, peak_rss_mib

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 10.0
LINE_BYTES_MAX = 1 << 20
MARK = b"@@ "
_TETHER = str(Path(tether.__file__).resolve())


class PeerMark(NamedTuple):
    """Records done at ``at_s`` (Unix time), and CPU used until the bench read it."""

    read: int
    at_s: float
    cpu: CpuReading


class PeerCount(NamedTuple):
    applied: int
    duplicates: int


@dataclass(slots=True)
class Course:
    """The marks of a run, in order. Other lines are the peer's log."""

    marks: list[PeerMark] = field(default_factory=list)
    counted: PeerCount | None = None

    def take(self, line: bytes, cpu: CpuReading) -> None:
        """Raises `ValueError` for an invalid mark."""
        if not line.startswith(MARK):
            return
        match line.split()[1:]:
            case [b"done", applied, duplicates]:
                self.counted = PeerCount(int(applied), int(duplicates))
            case [read, at_s]:
                if int(read) == 0:
                    # a peer that asks for records in steps begins anew until a step has some
                    self.marks.clear()
                self.marks.append(PeerMark(int(read), float(at_s), cpu))
            case _:
                raise ValueError(f"not a mark: {line[:80]!r}")

    @property
    def read(self) -> int:
        return self.marks[-1].read if self.marks else 0

    @property
    def seconds(self) -> float:
        """From the first record to the last mark."""
        return self.marks[-1].at_s - self.marks[0].at_s if self.marks else 0.0


class PeerRun(NamedTuple):
    """``ended`` is the reason of an early end, or ""."""

    course: Course
    peak_rss_mib: int
    ended: str = ""


async def run_peer(
    command: Sequence[str],
    environ: Mapping[str, str],
    log: Path,
    *,
    core: int,
    broker_pid: int,
    limit_s: float,
) -> PeerRun:
    guard = [sys.executable, "-I", "-S", _TETHER, str(os.getpid())]
    with log.open("ab") as stderr, born_on(core):
        child = await asyncio.create_subprocess_exec(
            *guard,
            *command,
            env=dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            limit=LINE_BYTES_MAX,
        )
    watched = WatchedProcesses({"peer": child.pid, "kafka": broker_pid})
    course = Course()
    try:
        ended = await _follow(child, course, watched, limit_s)
        # peak memory can be read only while the process exists
        return PeerRun(course, peak_rss_mib(child.pid), ended)
    finally:
        await _end(child)


async def _follow(
    child: asyncio.subprocess.Process, course: Course, watched: WatchedProcesses, limit_s: float
) -> str:
    assert child.stdout is not None
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_TIMEOUT_S
    while course.counted is None:
        try:
            async with asyncio.timeout_at(deadline):
                line = await child.stdout.readline()
        except TimeoutError:
            return "" if course.marks else f"read nothing within {START_TIMEOUT_S:g} s"
        if not line:
            return f"ended by itself after {course.read:,} records"
        before = len(course.marks)
        course.take(line, watched.read())
        if before == 0 and course.marks:
            deadline = loop.time() + limit_s
    return ""


async def _end(child: asyncio.subprocess.Process) -> None:
    """SIGTERM, then SIGKILL, to its own session."""
    if child.returncode is not None:
        return
    child.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            # it could block on a full pipe
            await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
