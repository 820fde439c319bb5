"""What the worker processes of a host report and use, for `ProcessScale`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from streams.core.process.process import cpu_s_of
from streams.engine.health.live_workers import LiveWorker, live_workers
from streams.engine.runtime.process_scale import HostLoad

LOOK_EVERY_S: Final = 1.0
_OPENING: Final = ("fencing", "restoring")


class HostWatch:
    """Of the workers whose status files are in ``state``."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._cpu_s: dict[int, float] = {}
        self._looked_s: float | None = None

    def look(self, pids: Sequence[int | None], now_s: float) -> HostLoad | None:
        """The load since the last look, of the processes ``pids`` (None: one that does not run); None in
        less than `LOOK_EVERY_S` after it."""
        since_s = self._looked_s
        if since_s is not None and now_s - since_s < LOOK_EVERY_S:
            return None
        self._looked_s = now_s
        used = {pid: cpu_s_of(pid) for pid in pids if pid is not None}
        found = {pid: cpu_s for pid, cpu_s in used.items() if cpu_s is not None}
        spent_s = sum(cpu_s - self._cpu_s.get(pid, cpu_s) for pid, cpu_s in found.items())
        self._cpu_s = found
        told = [worker for worker in live_workers(self._state) if worker.pid in found]
        known = len(told) == len(pids) and since_s is not None
        return HostLoad(
            behind_s=max(map(_behind_s, told), default=0.0),
            busy=spent_s / (now_s - since_s) if since_s is not None else 0.0,
            starting=not known or any(map(_opens, told)),
            idle=any(worker.ready and not worker.partitions for worker in told),
        )


def _behind_s(worker: LiveWorker) -> float:
    """A partition that is stopped, or waits for a dependency, is not one that waits for a processor."""
    return max(
        (
            held.get("behind_s", 0.0)
            for held in worker.partitions
            if not (held.get("stopped_by") or held.get("waits_for"))
        ),
        default=0.0,
    )


def _opens(worker: LiveWorker) -> bool:
    """A silent worker is taken for one that does not work yet."""
    joins = not worker.ready and not worker.partitions
    return (
        worker.silent or joins or any(held.get("phase") in _OPENING for held in worker.partitions)
    )
