"""How busy each worker process is: its share of one processor, by its own counter of CPU seconds."""

from __future__ import annotations

from typing import NamedTuple

from streams.core.clock import Clock
from streams.http.console.pipeline.workers import WorkerSamples


class _Sample(NamedTuple):
    at_s: float
    pid: int
    cpu_s: float


class BusyShares:
    """Between the last two samples of a worker. A survey is up to two seconds old, so a share of ten seconds is
    rough. A process that began since the last sample has none yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[str, _Sample] = {}
        self._shares: dict[str, float] = {}

    def take(self, survey: WorkerSamples) -> None:
        now_s = self._clock.monotonic()
        pids = {str(one.slot): one.pid for one in survey.workers}
        found = {
            one.worker: _Sample(now_s, pids[one.worker], one.value)
            for one in survey.of("process_cpu_seconds_total")
        }
        self._shares = {
            slot: (after.cpu_s - before.cpu_s) / (after.at_s - before.at_s)
            for slot, after in found.items()
            if (before := self._last.get(slot)) is not None and _follows(before, after)
        }
        self._last = found

    def of(self, slot: str) -> float | None:
        """1 is one whole processor; None: unknown."""
        return self._shares.get(slot)


def _follows(before: _Sample, after: _Sample) -> bool:
    same = before.pid == after.pid and before.cpu_s <= after.cpu_s
    return same and before.at_s < after.at_s
