"""The workers of this host: what they tell of themselves, and what they measure."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx
import structlog
from prometheus_client.parser import text_string_to_metric_families

from streams.local.live_workers import Worker, live_workers
from streams.telemetry.declaring import PREFIX

log = structlog.get_logger(__name__)

_ANSWER_S = 2.0


class Sample(NamedTuple):
    """One number of one worker, its name without the prefix."""

    worker: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Survey:
    """``samples`` by name; a worker that does not answer has none."""

    workers: list[Worker]
    samples: Mapping[str, list[Sample]] = field(default_factory=dict)

    def of(self, name: str, **labels: str) -> Iterator[Sample]:
        """The samples of a metric with these labels."""
        for sample in self.samples.get(name, ()):
            if labels.items() <= sample.labels.items():
                yield sample

    def total(self, name: str, **labels: str) -> float | None:
        """Their sum over all workers; None where nobody has one."""
        found = [sample.value for sample in self.of(name, **labels)]
        return sum(found) if found else None


class Workers:
    """``state`` is the folder the workers write their status to."""

    def __init__(self, state: Path, host: str) -> None:
        self._state = state
        self._host = host

    def live(self) -> list[Worker]:
        return live_workers(self._state)

    async def survey(self) -> Survey:
        """Ask every live worker for its metrics."""
        workers = await asyncio.to_thread(self.live)
        async with httpx.AsyncClient(timeout=_ANSWER_S) as http:
            texts = await asyncio.gather(*(self._text(http, worker) for worker in workers))
        samples: defaultdict[str, list[Sample]] = defaultdict(list)
        for worker, text in zip(workers, texts, strict=True):
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    name = sample.name.removeprefix(PREFIX)
                    samples[name].append(Sample(str(worker.slot), sample.labels, sample.value))
        return Survey(workers, samples)

    async def _text(self, http: httpx.AsyncClient, worker: Worker) -> str:
        if worker.http_port is None:
            return ""
        try:
            answer = await http.get(f"http://{self._host}:{worker.http_port}/metrics")
        except httpx.HTTPError as error:
            log.info("worker_not_measured", slot=worker.slot, why=str(error))
            return ""
        return answer.text
