"""Sums of the /metrics of a run's workers."""

from __future__ import annotations

import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping

from prometheus_client.parser import text_string_to_metric_families

from streams.core.telemetry.declaring import PREFIX
from streams.engine.health.live_workers import LiveWorker

_TIMEOUT_S = 10.0
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class WorkerMetrics:
    """Sums by metric name without its prefix."""

    def __init__(self, samples: Mapping[str, float], minutes: float) -> None:
        self._samples = samples
        self.minute_rows = int(minutes)
        """acknowledged rows of m1, repeats included"""

    def total(self, name: str) -> float:
        """Over all label values of ``name`` (a counter's with its _total)."""
        return self._samples.get(name, 0.0)


def scrape(workers: Iterable[LiveWorker]) -> WorkerMetrics:
    """Raises `OSError` when a worker does not answer."""
    samples: defaultdict[str, float] = defaultdict(float)
    minutes = 0.0
    for worker in workers:
        url = f"http://127.0.0.1:{worker.http_port}/metrics"
        with _direct.open(url, timeout=_TIMEOUT_S) as reply:
            text = reply.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name.removeprefix(PREFIX)] += sample.value
                if sample.name == f"{PREFIX}sink_rows_total" and sample.labels["table"] == "m1":
                    minutes += sample.value
    return WorkerMetrics(samples, minutes)
