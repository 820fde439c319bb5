"""Identifies a process by its pid, start time (clock ticks since boot) and boot, since pids are
reused."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_FIELD = 19
"""of ``starttime`` in /proc/PID/stat after the command name; proc(5), field 22"""
_CPU_FIELDS = slice(11, 13)
"""``utime`` and ``stime``, fields 14 and 15"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    pid: int
    start_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """None when the process is dead or a zombie."""
        start_ticks = _start_ticks(pid)
        if start_ticks is None:
            return None
        return cls(pid=pid, start_ticks=start_ticks, boot_id=_BOOT_ID.read_text().strip())

    def alive(self) -> bool:
        return ProcessIdentity.of(self.pid) == self

    def age_s(self) -> float:
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
        return uptime_s - self.start_ticks / os.sysconf("SC_CLK_TCK")

    def send(self, number: signal.Signals) -> bool:
        """False when the process is gone. Uses a pidfd: the pid could be reused between check and
        kill."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def wait_gone(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True


def cpu_s_of(pid: int) -> float | None:
    """Processor seconds of a process since its start, without its children; None when it is dead."""
    fields = _stat(pid)
    if fields is None:
        return None
    return sum(map(int, fields[_CPU_FIELDS])) / os.sysconf("SC_CLK_TCK")


def _start_ticks(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None else int(fields[_START_FIELD])


def _stat(pid: int) -> list[str] | None:
    """The fields after the command name; None of a dead process and of a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name may hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields
