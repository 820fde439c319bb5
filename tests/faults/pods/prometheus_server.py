"""A Prometheus of Debian that scrapes the pods of a trial, as a PodMonitor of the chart has it do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from streams.core.process import tether
from streams.core.process.atomic_file import write_atomically
from streams.dev.local.ports import free_ports

PATIENCE_S = 60.0
SCRAPE_S = 1
_CONFIG = f"""
global: {{{{scrape_interval: {SCRAPE_S}s}}}}
scrape_configs:
  - job_name: pods
    file_sd_configs: [{{{{files: ["{{targets}}"], refresh_interval: 1s}}}}]
"""


class PrometheusServer:
    """It ends with the test's process."""

    def __init__(self, folder: Path) -> None:
        """Skips the test where there is no Prometheus."""
        beside = Path(sys.executable).with_name("prometheus")
        found = shutil.which("prometheus") or (str(beside) if beside.exists() else None)
        if found is None:
            pytest.skip("prometheus is missing: run ops/prometheus/fetch.sh .venv/bin prometheus")
        folder.mkdir(parents=True)
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._targets = folder / "targets.json"
        self.targets({})
        config = folder / "prometheus.yml"
        config.write_text(_CONFIG.format(targets=self._targets))
        guard = [sys.executable, "-I", "-S", str(Path(tether.__file__).resolve()), str(os.getpid())]
        command = [
            *(found, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"),
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "log").open("ab") as log:
            self._child = subprocess.Popen(
                [*guard, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._http = httpx.Client(base_url=self.url, timeout=PATIENCE_S, trust_env=False)
        self._until_ready(folder / "log")

    def close(self) -> None:
        self._http.close()
        self._child.kill()
        self._child.wait(PATIENCE_S)

    def targets(self, ports: Mapping[str, int]) -> None:
        """Scrape these pods from now on: their ports by their names."""
        told = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "prod", "pod": pod}}
            for pod, port in ports.items()
        ]
        write_atomically(self._targets, json.dumps(told).encode())

    def answer(self, query: str) -> float:
        """Of a query that gives one value, as KEDA asks it."""
        answer = self._http.get("/api/v1/query", params={"query": query})
        assert answer.status_code == 200, answer.text
        [found] = answer.json()["data"]["result"]
        return float(found["value"][1])

    def _until_ready(self, log: Path) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if self._http.get("/-/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self._child.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
