"""CPU seconds and memory (MiB) of processes, from proc(5)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12
"""of ``utime`` and ``stime`` in /proc/PID/stat after the command name"""
_IDLE_FIELDS = (3, 4)
"""of ``idle`` and ``iowait`` in the first line of /proc/stat"""
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class ProcessCost(msgspec.Struct, frozen=True, kw_only=True):
    """``cpu_s_per_million`` is per million events."""

    name: str
    cpu_s: float
    cpu_s_per_million: float
    peak_rss_mib: int


class CpuReading(NamedTuple):
    """CPU seconds so far: of each process, and of the machine."""

    by_process: Mapping[str, float]
    machine_s: float


class Moment(NamedTuple):
    """CPU seconds so far: of every process, and of the machine. For a start at which not all workers
    are known yet."""

    by_pid: Mapping[int, float]
    machine_s: float

    @classmethod
    def now(cls) -> Moment:
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return cls({pid: cpu_s(pid) for pid in pids}, machine_cpu_s())


class WatchedProcesses:
    """An ended process keeps its last reading."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)

    def also(self, pids: Mapping[str, int]) -> WatchedProcesses:
        return WatchedProcesses({**self._pids, **pids})

    def at(self, moment: Moment) -> CpuReading:
        """What these processes had used by then; 0 for one that had not begun."""
        used = {name: moment.by_pid.get(pid, 0.0) for name, pid in self._pids.items()}
        return CpuReading(used, moment.machine_s)

    def read(self) -> CpuReading:
        used = {name: cpu_s(pid) for name, pid in self._pids.items()}
        return CpuReading(used, machine_cpu_s())

    def costs(self, before: CpuReading, after: CpuReading, events: int) -> list[ProcessCost]:
        costs = []
        for name, pid in self._pids.items():
            spent_s = after.by_process[name] - before.by_process[name]
            costs.append(
                ProcessCost(
                    name=name,
                    cpu_s=round(spent_s, 2),
                    cpu_s_per_million=round(spent_s / events * 1e6, 3),
                    peak_rss_mib=peak_rss_mib(pid),
                )
            )
        return costs


def others_cores(before: CpuReading, after: CpuReading, seconds: float) -> float:
    ours = sum(after.by_process.values()) - sum(before.by_process.values())
    return max(0.0, (after.machine_s - before.machine_s - ours) / seconds)


def cpu_s(pid: int) -> float:
    """With all its threads; 0 when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # the command name may hold spaces and brackets
    fields = stat.rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS_PER_S


def machine_cpu_s() -> float:
    """Busy time of all cores since boot."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    ticks = [int(field) for field in fields]
    return (sum(ticks) - sum(ticks[index] for index in _IDLE_FIELDS)) / _TICKS_PER_S


def peak_rss_mib(pid: int) -> int:
    """0 when it has ended."""
    try:
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found.group(1)) // 1024 if found else 0
