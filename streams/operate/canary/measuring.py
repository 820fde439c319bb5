"""All workers at one moment: their status, and what they have counted."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

import httpx
import structlog

from streams.core.clock import Clock
from streams.core.process.proxies import DIRECT
from streams.core.settings import Settings
from streams.core.types import TopicPartition
from streams.engine.health.live_workers import LiveWorker, live_workers
from streams.engine.health.remote_workers import RemoteWorker, RemoteWorkers
from streams.operate.canary.comparison import WatchedWorker, WorkerView
from streams.operate.canary.worker_counts import WorkerCounts, read_counts

log = structlog.get_logger(__name__)

_ANSWER_S: Final = 5.0
_LOOKS: Final = 3
_PAUSE_S: Final = 2.0
"""One lost answer does not make a worker one that is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryChoice:
    """Which workers are the canary: those that any of the three names. ``workers``: patterns of their
    names, as of a shell; ``versions``: as `dia --version` says; ``partitions``: held by them."""

    workers: Sequence[str] = ()
    versions: Sequence[str] = ()
    partitions: frozenset[TopicPartition] = field(default_factory=frozenset)

    def takes(self, view: WorkerView) -> bool:
        held = {TopicPartition(topic, number) for _, topic, number in view.partitions()}
        return (
            any(fnmatchcase(view.name, pattern) for pattern in self.workers)
            or (view.counts is not None and view.counts.version in self.versions)
            or not held.isdisjoint(self.partitions)
        )


class WorkerViews:
    """The workers behind ``at`` (host:port, as DIA_WORKERS_AT), else those of this machine."""

    def __init__(self, settings: Settings, at: str, clock: Clock) -> None:
        """Raises `UsageError` unless ``at`` is empty or a list of host:port."""
        self._settings = settings
        self._clock = clock
        self._distant = RemoteWorkers(at, clock) if at else None

    async def look(self, expected: Collection[str] = ()) -> list[WorkerView]:
        """By name. A worker that does not answer is not listed, one without metrics has no counts. Of
        ``expected``, each is asked three times."""
        found = await self._look()
        for _ in range(_LOOKS - 1):
            if {view.name for view in found if view.counts is not None}.issuperset(expected):
                break
            await self._clock.sleep(_PAUSE_S)
            found = await self._look()
        return found

    async def _look(self) -> list[WorkerView]:
        async with httpx.AsyncClient(timeout=_ANSWER_S, mounts=DIRECT) as http:
            found: Sequence[LiveWorker]
            if self._distant is not None:
                found = await self._distant.look(http)
            else:
                found = await asyncio.to_thread(live_workers, self._settings.state_path())
            counts = await asyncio.gather(*(self._counts(http, one) for one in found))
        views = zip(found, counts, strict=True)
        return [WorkerView(worker=worker, counts=counted) for worker, counted in views]

    async def _counts(self, http: httpx.AsyncClient, worker: LiveWorker) -> WorkerCounts | None:
        if worker.http_port is None:
            return None
        host = worker.address if isinstance(worker, RemoteWorker) else self._settings.http_host
        try:
            answer = await http.get(f"http://{host}:{worker.http_port}/metrics")
            return read_counts(answer.raise_for_status().text)
        except (httpx.HTTPError, ValueError) as error:
            log.info("worker_metrics_unavailable", slot=worker.slot, why=str(error))
            return None


def watched(first: Sequence[WorkerView], last: Sequence[WorkerView]) -> list[WatchedWorker]:
    """The workers of ``first``, each with its view at the end of the window."""
    at_the_end = {view.name: view for view in last}
    return [WatchedWorker(first=view, last=at_the_end.get(view.name)) for view in first]
