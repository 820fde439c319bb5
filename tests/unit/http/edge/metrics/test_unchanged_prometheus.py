"""A Prometheus of Debian scrapes itself and writes to an edge that listens. Skipped where there is
none: `ops/prometheus/fetch.sh .venv/bin prometheus`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from streams.core.process.listener import bound

PROMETHEUS = shutil.which("prometheus") or shutil.which(
    "prometheus", path=str(Path(sys.executable).parent)
)
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus on this machine"),
]
CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: itself
    static_configs: [{{targets: ["{address}"]}}]
remote_write:
  - url: {edge}/api/v1/write
    authorization: {{credentials: {token}}}
    queue_config: {{batch_send_deadline: 1s, max_samples_per_send: 500}}
"""
WAIT_S = 60


def _until(found: Callable[[], bool]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not found() and time.monotonic() < until_s:
        time.sleep(0.05)
    assert found()


@pytest.fixture
def prometheus(served: str, tokens: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of one that writes to the edge."""
    with bound("127.0.0.1", 0, "a port of Prometheus") as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(address=address, edge=served, token=tokens["operate"]))
    command = [
        str(PROMETHEUS),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait(WAIT_S)


def test_each_sample_of_prometheus_is_one_event(prometheus, log, tmp_path):
    """What its own query answers for a series is what the edge stored of it, by time and value."""

    def events() -> dict[str, dict[int, float]]:
        found: dict[str, dict[int, float]] = {}
        for _, value in log():
            event = json.loads(value)
            found.setdefault(event["metric"], {})[event["ts"]] = event["value"]
        return found

    name = f'up{{instance="{prometheus.removeprefix("http://")}"}}'
    _until(lambda: len(events().get(name, {})) >= 3)
    said = httpx.get(
        f"{prometheus}/api/v1/query", params={"query": '{job="itself"}[10m]'}, timeout=WAIT_S
    ).json()["data"]["result"]
    held = {
        round(float(at) * 1000): float(value)
        for one in said
        if one["metric"]["__name__"] == "up"
        for at, value in one["values"]
    }
    stored = events()
    common = sorted({*held} & {*stored[name]})
    assert len(common) >= 3
    assert {at: held[at] for at in common} == {at: stored[name][at] for at in common}
    assert len(stored) > 200
    assert "non-recoverable" not in (tmp_path / "prometheus.log").read_text()
