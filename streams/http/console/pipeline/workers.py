"""Local and configured remote workers: their status and metrics."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import structlog
from prometheus_client.parser import text_string_to_metric_families

from streams.connect.cache.cached_value import CachedValue
from streams.core.clock import Clock
from streams.core.process.proxies import DIRECT
from streams.core.telemetry.declaring import PREFIX
from streams.engine.health.live_workers import LiveWorker, live_workers
from streams.engine.health.remote_workers import RemoteWorker, RemoteWorkers

log = structlog.get_logger(__name__)

FRESH_S: Final = 2.0
"""The figures are the same for every tenant: one read serves all within this time."""
_ANSWER_S = 2.0
READ: Final = frozenset(
    {
        "breaker_state",
        "build_info",
        "event_time_lag_seconds",
        "freshness_seconds_bucket",
        "jobs_processes",
        "jobs_running",
        "jobs_waiting",
        "state_bytes",
        "live_windows",
        "process_cpu_seconds_total",
        "unacked_rows",
        "restore_records_total",
        "changelog_live_bytes",
        "changelog_log_bytes",
    }
)
"""The samples in use. A worker exposes ten times as many; parsing all would delay every request."""


class Sample(NamedTuple):
    """Its name without the prefix."""

    worker: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class WorkerSamples:
    """``samples`` by name, of `READ`."""

    workers: list[LiveWorker]
    samples: Mapping[str, list[Sample]] = field(default_factory=dict)

    def of(self, name: str, **labels: str) -> Iterator[Sample]:
        assert name in READ, "only what is in READ is read"
        for sample in self.samples.get(name, ()):
            if labels.items() <= sample.labels.items():
                yield sample

    def total(self, name: str, **labels: str) -> float | None:
        """The sum over all workers; None when no worker has it."""
        found = [sample.value for sample in self.of(name, **labels)]
        return sum(found) if found else None


class Workers:
    """``state`` is the folder of the local workers' status files, ``host`` the address of their
    ports."""

    def __init__(
        self, state: Path, host: str, clock: Clock, distant: RemoteWorkers | None = None
    ) -> None:
        self._state = state
        self._host = host
        self._distant = distant
        self._http: httpx.AsyncClient | None = None
        self._recent = CachedValue(self._ask, FRESH_S, clock)

    def live(self) -> list[LiveWorker]:
        here = live_workers(self._state)
        return here if self._distant is None else [*here, *self._distant.live]

    async def survey(self) -> WorkerSamples:
        """Of every live worker, at most `FRESH_S` old."""
        return await self._recent.get()

    async def close(self) -> None:
        await self._recent.close()
        if self._http is not None:
            await self._http.aclose()

    async def _ask(self) -> WorkerSamples:
        workers = await asyncio.to_thread(self.live)
        if self._http is None:
            # Creating a client reads the system's certificates, which takes tens of ms.
            self._http = httpx.AsyncClient(timeout=_ANSWER_S, mounts=DIRECT)
        http = self._http
        texts = await asyncio.gather(*(self._text(http, worker) for worker in workers))
        samples: defaultdict[str, list[Sample]] = defaultdict(list)
        for worker, text in zip(workers, texts, strict=True):
            for family in text_string_to_metric_families(_wanted(text)):
                for sample in family.samples:
                    name = sample.name.removeprefix(PREFIX)
                    samples[name].append(Sample(str(worker.slot), sample.labels, sample.value))
        return WorkerSamples(workers, samples)

    async def _text(self, http: httpx.AsyncClient, worker: LiveWorker) -> str:
        if worker.http_port is None:
            return ""
        try:
            host = worker.address if isinstance(worker, RemoteWorker) else self._host
            answer = await http.get(f"http://{host}:{worker.http_port}/metrics")
        except httpx.HTTPError as error:
            log.info("worker_metrics_unavailable", slot=worker.slot, why=str(error))
            return ""
        return answer.text


def _wanted(text: str) -> str:
    """The lines of the samples in `READ`."""
    return "".join(
        line
        for line in text.splitlines(keepends=True)
        if line.partition("{")[0].partition(" ")[0].removeprefix(PREFIX) in READ
    )
